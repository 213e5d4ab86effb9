"""What users type: taken as meant, or refused in one sentence that says how to mend it."""

import os
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from livekit.protocol import sip

from cli import calling, checks, main, persona, trunk
from cli.fault import CommandFailed
from switchboard.settings import OUR_PREFIXES, Settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(OUR_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SWITCHBOARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def status_of(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["switchboard", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


Captured = pytest.CaptureFixture[str]


def asked(number: str, **more: Any) -> calling.Asked:
    given: dict[str, Any] = {"caller": "+15550109999", "texts": [], "play": None, "record": None, **more}
    return calling.asked(Settings.read(), number, **given)


@pytest.mark.parametrize("number", ["+15550100001", "+1 (555) 010-0001", " +1555.010.0001"])
def test_a_number_rings_the_line_here_in_any_spelling(number: str) -> None:
    assert asked(number).line.address == "sip:+15550100001@127.0.0.1:5060"


def test_an_address_rings_any_line() -> None:
    line = asked("sip:reception@pbx.example.com").line
    assert (line.address, line.port, line.ours) == ("sip:reception@pbx.example.com", 5060, False)
    assert line.listen_on == "0.0.0.0"


@pytest.mark.parametrize(
    "number", ["", "abc", "+1555\r\nVia: x", "sip:", "sip:a@b:99999", "sip:a@b c", "sip:a@b\r\n", "1" * 33]
)
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(CommandFailed, match=r"is no (phone number|SIP address): write"):
        asked(number)


def test_a_callers_number_that_is_none_is_refused() -> None:
    with pytest.raises(CommandFailed, match=r"--from 'anna' is no phone number"):
        asked("+15550100001", caller="anna")


def test_empty_words_are_refused() -> None:
    with pytest.raises(CommandFailed, match="--say is empty"):
        asked("+15550100001", texts=["hello", " "])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match=r"--record .*file/in cannot be made \(Not a directory\)"):
        asked("+15550100001", record=tmp_path / "file" / "in")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["call", "+15550100001", "--play", "none.wav"], "--play: none.wav does not exist"),
        (["call", "+15550100001", "--play", "text.wav"], "--play: text.wav is no PCM WAV file"),
        (["call", "+15550100001"], "gives no answer: start it with `switchboard up`"),
        (["persona", "add", "none.yaml"], "none.yaml cannot be read"),
        (["persona", "list"], "admin.key is not there"),
        (["number", "add", "x", "default"], "'x' is no phone number"),
        (["trunk", "list"], "LIVEKIT_URL is not set"),
        (["trunk", "add", "carrier", "--number", "+1555"], "a trunk that anybody may call is refused"),
        (["trunk", "add", "carrier", "--allow", "0.0.0.0/0"], "a trunk that anybody may call is refused"),
        (["trunk", "add", "carrier", "--allow", "everyone"], "--allow 'everyone' is no address or network"),
        (["trunk", "add", "carrier", "--user", "u"], "belong together"),
        (["up", "--only", "nothing"], "there is no part nothing"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_status_2(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    unused_udp_port_factory: Any,
) -> None:
    monkeypatch.setenv("SIP_PORT", str(unused_udp_port_factory()))
    Path("text.wav").write_text("no sound")
    assert status_of(*words, monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SWITCHBOARD_HOM", "x", "SWITCHBOARD_HOM is no known setting: did you mean SWITCHBOARD_HOME?"),
        ("REDIS_URL", "localhost", "REDIS_URL must be a URL that starts with redis://"),
        ("PORT", "99999", "PORT"),
        ("SIP_MAX_CALLS", "many", "SIP_MAX_CALLS"),
    ],
)
@pytest.mark.parametrize("command", ["up", "status", "doctor"])
def test_a_wrong_setting_ends_every_command_with_one_sentence(
    command: str,
    name: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setenv(name, value)
    assert status_of(command, monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_status_without_a_stack_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert status_of("status", "--json", monkeypatch=monkeypatch) == 1
    assert '"ready": false' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.yaml", "voice: [1, 2", r"p\.yaml is no YAML \(line 1: .*\): mend that line"),
        ("p.json", "{", r"p\.json is no persona .*: mend it"),
        ("p.yaml", "- a\n- b\n", r"p\.yaml holds no persona: its top level must be names and values"),
        ("p.yaml", "holidays: 2026-12-24\n", r"p\.yaml is no persona .*date.*: mend it"),
        ("p.yaml", "\x00", r"p\.yaml is no"),
    ],
)
def test_a_persona_file_that_is_none_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CommandFailed, match=said):
        persona.read(tmp_path / name)


def test_a_trunk_is_open_unless_an_address_or_a_password_closes_it() -> None:
    assert trunk.is_open(sip.SIPInboundTrunkInfo(numbers=["+1555"]))
    assert trunk.is_open(sip.SIPInboundTrunkInfo(allowed_addresses=["203.0.113.7", "::/0"]))
    assert not trunk.is_open(sip.SIPInboundTrunkInfo(allowed_addresses=["203.0.113.0/24"]))
    assert not trunk.is_open(sip.SIPInboundTrunkInfo(auth_username="u"))


def test_the_doctor_signs_as_livekit_does() -> None:
    claims = jwt.decode(checks.signature("key", "s" * 32, b"{}"), "s" * 32, algorithms=["HS256"])
    assert claims["iss"] == "key"
    assert claims["sha256"] == "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="
