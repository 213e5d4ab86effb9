"""What the stack is made of: ports, keys, settings, configuration files, the state of a home."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from control.jobs import beat
from local import external, keys, livekit, postgres, state
from local.keys import Keys
from local.part import PartFailed
from local.ports import Ports
from local.serve import prepare_home
from local.stack import Stack, build
from local.state import AlreadyRunning, PartStatus, Status, Urls
from switchboard.settings import OUR_PREFIXES, Settings, SettingsError


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Reads the settings of an empty environment with these on top."""
    for name in os.environ:
        if name.startswith((*OUR_PREFIXES, "PORT", "CONTROL_", "AGENT_", "REDIS_", "DATABASE_", "OPENAI_")):
            monkeypatch.delenv(name)

    def read(**given: str) -> Settings:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        return Settings.read(tmp_path / "no.env")

    return read


def a_stack(settings: Settings, home: Path, **more: Any) -> Stack:
    ports = Ports()
    try:
        return build(settings, Keys(), ports, home=home, any_port=True, environ={"PATH": "/bin"}, **more)
    finally:
        ports.close()


def test_a_port_in_use_is_replaced_by_one_that_no_connection_is_given_and_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        ports = Ports()
        chosen = ports.choose("webhook", wanted)
        ports.close()
    assert chosen != wanted
    assert chosen < 32_768
    assert ports.moved == {"webhook": (wanted, chosen)}


def test_a_chosen_port_is_held_until_its_part_starts() -> None:
    ports = Ports()
    chosen = ports.choose("phone", 0, "udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", chosen))
        ports.release(chosen)
        other.bind(("127.0.0.1", chosen))


def test_keys_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    made = keys.load_or_make(tmp_path)
    assert keys.load_or_make(tmp_path) == made
    assert len(made.livekit_api_secret) >= 32
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"livekit_api_secret": "short"}', "\xff"])
def test_a_file_that_holds_no_keys_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(SettingsError, match=r"keys\.json is no key file: move it away"):
        keys.load_or_make(tmp_path)


def test_the_whole_stack_runs_when_nothing_is_set(settings: Any, tmp_path: Path) -> None:
    stack = a_stack(settings(), tmp_path)
    assert [part.name for part in stack.parts] == [
        *("livekit", "redis", "postgres", "models", "control", "webhook", "agent", "phone", "jobs"),
    ]
    assert stack.outside == {}
    assert stack.environment["SWITCHBOARD_HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ({"LIVEKIT_URL": "ws://h:1", "LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s" * 32}, "livekit"),
        ({"REDIS_URL": "redis://h:1"}, "redis"),
        ({"DATABASE_URL": "postgresql+asyncpg://h/db"}, "postgres"),
        ({"OPENAI_API_KEY": "k"}, "models"),
        ({f"{part}_BASE_URL": "http://h:1/v1" for part in ("STT", "LLM", "TTS")}, "models"),
    ],
)
def test_a_server_that_a_setting_names_is_not_started(
    settings: Any, tmp_path: Path, given: dict[str, str], replaced: str
) -> None:
    stack = a_stack(settings(**given), tmp_path)
    assert replaced in stack.outside
    assert replaced not in [part.name for part in stack.parts]
    assert not any(replaced in part.needs for part in stack.parts)


def test_one_model_elsewhere_leaves_the_local_ones_for_the_rest(settings: Any, tmp_path: Path) -> None:
    stack = a_stack(settings(LLM_BASE_URL="http://h:1/v1"), tmp_path)
    assert "models" in [part.name for part in stack.parts]


def test_a_server_elsewhere_without_a_key_is_refused(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LIVEKIT_API_KEY is not set"):
        a_stack(settings(LIVEKIT_URL="ws://h:1"), tmp_path)


def test_parts_can_be_started_alone(settings: Any, tmp_path: Path) -> None:
    stack = a_stack(settings(), tmp_path, only=["webhook", "redis"])
    assert [(part.name, part.needs) for part in stack.parts] == [("redis", ()), ("webhook", ("redis",))]
    with pytest.raises(SettingsError, match=r"there is no part webhok: the parts are livekit, .*"):
        a_stack(settings(), tmp_path, only=["webhok"])


def test_only_control_is_told_where_the_database_is(settings: Any, tmp_path: Path) -> None:
    stack = a_stack(settings(), tmp_path)
    told = {}
    for part in stack.parts:
        if part.name in ("models", "control", "webhook", "agent", "phone", "jobs"):
            told[part.name] = "DATABASE_URL" in asyncio.run(part.prepare(print)).env  # type: ignore[arg-type]
    # A job worker is control, in a process of its own.
    assert [name for name, knows in told.items() if knows] == ["control", "jobs"]


async def test_a_job_worker_is_ready_when_it_says_so_itself(settings: Any, tmp_path: Path) -> None:
    [part] = a_stack(settings(), tmp_path, only=["jobs"]).parts
    beat.show(tmp_path)
    assert await part.ready()
    # What one before it left behind says nothing of it.
    await part.prepare(print)
    assert not await part.ready()


def test_secrets_do_not_show_when_a_stack_is_printed(settings: Any, tmp_path: Path) -> None:
    stack = a_stack(settings(), tmp_path)
    assert stack.environment["LIVEKIT_API_SECRET"] not in repr(stack)
    assert stack.environment["INTERNAL_TOKEN"] not in repr(stack)


def test_the_server_is_configured_for_loopback_with_its_keys_and_webhook() -> None:
    found = livekit.configuration(
        port=1, udp_port=2, keys={"key": "secret"}, webhook_url="http://127.0.0.1:3", signed_by="key"
    )
    assert found["bind_addresses"] == ["127.0.0.1"]
    assert found["keys"] == {"key": "secret"}
    assert found["webhook"] == {"api_key": "key", "urls": ["http://127.0.0.1:3/livekit-webhook"]}
    assert found["rtc"]["node_ip"] == "127.0.0.1"
    assert found["rtc"]["interfaces"] == {"includes": ["lo"]}
    assert "redis" not in found
    base = yaml.safe_load(livekit.CONFIGURATION.read_text())
    assert found["room"] == base["room"]
    assert "keys" not in base


def test_a_server_program_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVEKIT_SERVER", str(tmp_path / "missing"))
    with pytest.raises(PartFailed, match=r"LIVEKIT_SERVER=.*missing is no program"):
        livekit.binary()


async def test_without_go_and_uv_the_build_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.delenv("LIVEKIT_SERVER", raising=False)
    with pytest.raises(PartFailed, match=r"needs Go 1\.21 or later, or uv"):
        await livekit.build(tmp_path / "build.log")
    assert livekit.binary() is None


async def test_a_build_that_fails_leaves_no_program_and_names_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\n[ "$1" = version ] && echo "go version go1.26.1 linux/amd64" && exit 0\nexit 1\n')
    go.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("LIVEKIT_SERVER", raising=False)
    with pytest.raises(PartFailed, match=r"building the server .* failed: see .*build\.log"):
        await livekit.build(tmp_path / "build.log")
    assert livekit.binary() is None


def test_a_deep_home_has_its_socket_where_the_path_fits(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100)
    folder = postgres.socket_folder(deep)
    assert len(str(folder / ".s.PGSQL.5432")) < 108
    assert folder != postgres.socket_folder(tmp_path / ("b" * 100))
    shallow = Path("/srv/switchboard")
    assert postgres.socket_folder(shallow) == shallow / "run" / "postgres"


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"SWITCHBOARD_HOME=.*/file/home cannot be written"):
        prepare_home(tmp_path / "file" / "home")


def test_a_second_supervisor_of_a_home_is_refused(tmp_path: Path) -> None:
    with state.only_one(tmp_path), pytest.raises(AlreadyRunning, match="already runs"):
        state.only_one(tmp_path).__enter__()
    with state.only_one(tmp_path):
        pass


def test_the_state_of_a_supervisor_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    state.write(tmp_path, Status(ready=True))
    running = state.current(tmp_path)
    assert running is not None
    assert running.status.ready
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    file = tmp_path / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "supervisor": int(gone.stdout)}))
    assert state.current(tmp_path) is None
    assert state.environment(tmp_path) == {}


def test_the_status_has_the_shape_that_scripts_know() -> None:
    part = PartStatus(state="ready", pid=1, port=2, since="2026-01-01T00:00:00Z")
    found = Status(ready=True, urls=Urls(), parts={"webhook": part}).model_dump(mode="json")
    assert found == {
        "ready": True,
        "urls": {"livekit": None, "webhook": None, "control": None, "sip": None},
        "parts": {"webhook": {"state": "ready", "pid": 1, "port": 2, "since": "2026-01-01T00:00:00Z"}},
    }


def test_what_an_earlier_start_left_running_is_ended(tmp_path: Path) -> None:
    marked = {"PATH": os.environ["PATH"], "_LEFT": str(tmp_path)}
    with subprocess.Popen(["sleep", "1000"], env=marked) as left:
        assert state.sweep(tmp_path, "_LEFT") == 1
        assert left.wait(timeout=5) is not None
    assert state.sweep(tmp_path, "_LEFT") == 0


@pytest.mark.parametrize(
    ("part", "setting", "url"),
    [
        ("livekit", "LIVEKIT_URL", "ws://127.0.0.1:9"),
        ("redis", "REDIS_URL", "redis://:hidden@127.0.0.1:9/0"),
        ("postgres", "DATABASE_URL", "postgresql://user:hidden@127.0.0.1:9/db"),
    ],
)
async def test_a_server_elsewhere_that_is_down_is_named_without_its_password(
    part: str, setting: str, url: str
) -> None:
    told = {setting: url, "LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32}
    with pytest.raises(
        SettingsError, match=rf"^{setting}: 127\.0\.0\.1:9 .*unset {setting} to run one here"
    ) as error:
        await external.check({part: setting}, told)
    assert "hidden" not in str(error.value)
