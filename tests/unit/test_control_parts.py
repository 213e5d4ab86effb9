"""Small parts of control that need no server."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import jwt
import pytest
from pydantic import SecretStr

from control import recorder
from control.__main__ import main
from control.app import Parts, create_app
from control.conversations.calls import latencies, quantile, transcript
from control.conversations.log import Event
from control.conversations.web import web_call
from control.db.pool import dsn
from control.db.queries import load
from control.errors import Unavailable
from control.service import listener
from switchboard import logs, stream
from switchboard.call import DIALED, call_id_of_browser, caller_of
from switchboard.settings import Settings
from tests.facts import a_call


def test_a_database_has_one_address_however_it_is_spelt() -> None:
    whole = "postgresql://me:word@db:5432/name?host=/run/pg"
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        assert dsn(whole.replace("postgresql", scheme, 1)) == whole


def test_queries_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text("-- one: the first\nSELECT 1;\n\n-- two: more\nSELECT 2\n  + 2;\n")
    assert load(tmp_path) == {"one": "SELECT 1", "two": "SELECT 2\n  + 2"}


@pytest.mark.parametrize("text", ["-- one: a\nSELECT 1;\n-- one: b\nSELECT 2;", "-- one: a\n-- two: b\nSELECT 1;"])
def test_a_query_that_is_empty_or_named_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "queries.sql").write_text(text)
    with pytest.raises(ValueError, match="one"):
        load(tmp_path)


def test_every_operation_describes_its_errors_and_none_is_a_422() -> None:
    schema = create_app(cast(Parts, None)).openapi()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            described = set(operation["responses"])
            assert "422" not in described
            if path not in ("/health", "/metrics", "/sign-in"):
                assert described >= {"400", "401", "403", "503"}, (method, path)
                assert operation["security"] == [{"HTTPBearer": []}, {"APIKeyCookie": []}]
            if method in ("post", "put", "patch"):
                assert "413" in described, (method, path)
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert schema["components"]["schemas"]["ErrorBody"]["required"] == ["code", "message"]


def test_the_alarm_sounds_over_80_percent_of_the_streams_cap(capsys: pytest.CaptureFixture[str]) -> None:
    recorder.measured(int(stream.MAX_LENGTH * 0.8))
    assert recorder.ALARM._value.get() == 0
    assert "stream_nearly_full" not in capsys.readouterr().out
    recorder.measured(int(stream.MAX_LENGTH * 0.8) + 1)
    assert recorder.ALARM._value.get() == 1
    assert "stream_nearly_full" in capsys.readouterr().out
    recorder.measured(0)


def events() -> list[Event]:
    call_id = UUID(int=7)
    return [Event(seq, one) for seq, one in enumerate(a_call(call_id), start=1)]


def test_a_transcript_has_what_was_said_in_order() -> None:
    assert [(line["role"], line["text"], line["interrupted"]) for line in transcript(events())] == [
        ("assistant", "Good day.", False),
        ("user", "When is breakfast?", False),
        ("assistant", "From half past six.", True),
    ]


def test_latencies_are_by_turn_and_over_all() -> None:
    found = latencies(events())
    assert found["p50"] == found["p95"] == {"voice_to_voice": 0.9, "llm": 0.3}
    assert [turn["seq"] for turn in found["by_turn"]] == [8]
    assert latencies([]) == {"p50": {}, "p95": {}, "by_turn": []}


def test_quantiles_lie_between_the_nearest_values() -> None:
    assert quantile([1.0, 2.0, 3.0], 50) == 2.0
    assert quantile([float(at) for at in range(101)], 95) == 95.0
    assert quantile([4.0], 95) == 4.0


def settings(**more: Any) -> Settings:
    return Settings(_env_file=None, LIVEKIT_API_KEY="devkey", **more)


def test_a_browsers_token_is_for_one_room_for_a_minute_and_says_who_it_is() -> None:
    secret = "s" * 40
    made = web_call(settings(LIVEKIT_URL="ws://inside:7880", LIVEKIT_API_SECRET=SecretStr(secret)), "+15550100001")
    claims = jwt.decode(made.token, secret, algorithms=["HS256"], options={"verify_nbf": False})
    video = claims["video"]
    assert made.url == "ws://inside:7880"
    assert video["room"] == made.room
    assert video["canPublishSources"] == ["microphone"]
    assert video["canUpdateOwnMetadata"] is False
    assert not {"roomCreate", "roomAdmin", "roomList", "roomRecord"} & video.keys()
    assert 0 < claims["exp"] - time.time() <= 61
    assert made.call_id == call_id_of_browser(made.room, claims["sub"])
    caller = caller_of(
        room=made.room, identity=claims["sub"], sip=False, attributes=claims["attributes"], may_change_itself=False
    )
    assert caller is not None
    assert (caller.call_id, caller.dialed) == (made.call_id, claims["attributes"][DIALED])
    assert web_call(settings(LIVEKIT_URL="ws://x", LIVEKIT_API_SECRET=SecretStr(secret)), "1").room != made.room


def test_a_browser_is_sent_to_the_public_address_where_there_is_one() -> None:
    both = {"LIVEKIT_URL": "ws://inside:7880", "LIVEKIT_PUBLIC_URL": "wss://calls.example.com"}
    assert web_call(settings(LIVEKIT_API_SECRET=SecretStr("s" * 40), **both), "1").url == "wss://calls.example.com"


def test_without_livekit_a_browsers_call_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="LIVEKIT_URL"):
        web_call(settings(), "+15550100001")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://x"),
        ("INTERNAL_TOKEN", ""),
        ("CONTROL_PORT", "http"),
        ("SWITCHBOARD_HOEM", "x"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "configure", lambda *_args, **_more: None)
    whole = {"DATABASE_URL": "postgresql://x/y", "INTERNAL_TOKEN": "t", "CONTROL_PORT": "0", "SWITCHBOARD_HOME": "."}
    for setting, given in (whole | {name: value}).items():
        monkeypatch.setenv(setting, given)
    assert main() == 2
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1


async def test_an_answer_in_two_pieces_does_not_wait_for_the_first_to_be_acknowledged() -> None:
    taken = asyncio.get_running_loop().create_future()

    def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        taken.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    bound = listener("127.0.0.1", 0)
    async with await asyncio.start_server(take, sock=bound):
        _reader, writer = await asyncio.open_connection(*bound.getsockname())
        assert await asyncio.wait_for(taken, 10)
        writer.close()
