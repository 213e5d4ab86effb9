"""Conversations as sessions of the OpenAI Agents SDK, with a real Postgres and real runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import aiohttp
import pytest
import structlog
from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, SQLiteSession, TResponseInputItem
from agents.memory import Session, SessionSettings
from openai import AsyncOpenAI

from control.conversations import turn as turns
from control.conversations.log import PostgresLog
from control.conversations.session import DatabaseSession
from control.db.migrate import migrate
from control.db.pool import Database, DatabaseAway, open_database
from tests.facts import a_call
from tests.models_process import running
from tests.postgres_server import fresh_database, server
from tests.promises import promise

Opened = Callable[[str], Session]
UNICODE = "Grüße 👩‍👩‍👧 שלום \u2028 \\ \" ' \t"


@asynccontextmanager
async def migrated(size: int = 10) -> AsyncIterator[Database]:
    async with fresh_database() as url, open_database(url, size=size) as opened:
        async with opened.session() as connection:
            await migrate(connection)
        yield opened


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with migrated() as opened:
        yield opened


@asynccontextmanager
async def ours() -> AsyncIterator[Opened]:
    async with migrated() as opened:
        yield lambda name: DatabaseSession(name, opened)


@asynccontextmanager
async def the_sdks() -> AsyncIterator[Opened]:
    """One history for each name, as in one file."""
    made: dict[str, SQLiteSession] = {}
    try:
        yield lambda name: made.setdefault(name, SQLiteSession(name))
    finally:
        for one in made.values():
            one.close()


@pytest.fixture(params=[ours, the_sdks])
async def session(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    """The SDK's own session beside ours: what it does is what is expected."""
    make = cast(Callable[[], AbstractAsyncContextManager[Opened]], request.param)
    async with make() as opened:
        yield opened


def message(text: str, role: str = "user") -> TResponseInputItem:
    return cast(TResponseInputItem, {"role": role, "content": text})


def texts(items: list[TResponseInputItem]) -> list[Any]:
    return [cast(dict[str, Any], one)["content"] for one in items]


@promise("sessions.protocol")
async def test_the_latest_items_come_oldest_first(session: Opened) -> None:
    one = session("limits")
    assert await one.get_items() == []
    await one.add_items([message(str(at)) for at in range(5)])
    await one.add_items([message(str(at)) for at in range(5, 8)])
    assert texts(await one.get_items()) == [str(at) for at in range(8)]
    assert texts(await one.get_items(limit=3)) == ["5", "6", "7"]
    assert texts(await one.get_items(limit=100)) == [str(at) for at in range(8)]
    assert await one.get_items(limit=0) == []
    one.session_settings = SessionSettings(limit=2)
    assert texts(await one.get_items()) == ["6", "7"]
    assert len(await one.get_items(limit=4)) == 4


@promise("sessions.protocol")
async def test_the_newest_item_is_taken_back_until_there_is_none(session: Opened) -> None:
    one = session("pops")
    assert await one.pop_item() is None
    await one.add_items([message("a"), message("b", "assistant")])
    assert await one.pop_item() == message("b", "assistant")
    await one.add_items([message("c")])
    assert texts(await one.get_items()) == ["a", "c"]
    assert [await one.pop_item() for _ in range(3)] == [message("c"), message("a"), None]
    assert await one.get_items() == []


@promise("sessions.protocol")
async def test_who_takes_back_from_what_never_was_makes_nothing(database: Database) -> None:
    session = DatabaseSession("never", database)
    assert await session.pop_item() is None
    await session.clear_session()
    async with database.session() as connection:
        assert await connection.fetch("SELECT 1 FROM conversations") == []


@promise("sessions.protocol")
async def test_a_session_is_cleared_and_goes_on_and_others_see_nothing_of_it(session: Opened) -> None:
    one, other = session("one"), session("other")
    await one.add_items([message("a"), message("b")])
    await other.add_items([message("x")])
    await one.add_items([])
    await one.clear_session()
    await one.clear_session()
    assert await one.get_items() == []
    assert texts(await other.get_items()) == ["x"]
    await one.add_items([message("c")])
    assert texts(await one.get_items()) == ["c"]


@promise("sessions.protocol")
async def test_content_of_any_shape_comes_back_as_it_was(session: Opened) -> None:
    one = session("shapes")
    items: list[Any] = [
        message(UNICODE),
        {
            "role": "user",
            "content": [{"type": "input_text", "text": UNICODE}, {"type": "input_image", "image_url": "u"}],
        },
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": [1, 2.5, null, true]}'},
        {"type": "function_call_output", "call_id": "1", "output": "{}"},
        {"role": "assistant", "content": "x" * 300_000, "extra": {"deep": [{"er": [[]]}], "none": None}},
    ]
    await one.add_items(items)
    assert await one.get_items() == items


@promise("sessions.log")
async def test_what_was_taken_back_stays_in_the_log(database: Database) -> None:
    one = DatabaseSession("kept", database)
    await one.add_items([message("a"), message("b"), message("c")])
    await one.pop_item()
    await one.clear_session()
    events = await PostgresLog(database).read("kept")
    assert [event.fact.kind for event in events] == ["item"] * 3 + ["items_retracted"] * 2
    assert await PostgresLog(database).items("kept") == []


@promise("sessions.corrupt")
async def test_what_cannot_be_read_is_skipped_with_a_line_in_the_log(database: Database) -> None:
    one = DatabaseSession("damaged", database)
    await one.add_items([message(str(at)) for at in range(6)])
    async with database.session() as connection:
        await connection.execute("UPDATE events SET body = '7' WHERE seq IN (3, 5, 6)")
    with structlog.testing.capture_logs() as lines:
        assert texts(await one.get_items(limit=2)) == ["1", "3"]
        assert texts(await one.get_items()) == ["0", "1", "3"]
        assert await one.pop_item() == message("3")
    assert {line["seq"] for line in lines if line["event"] == "event_skipped"} == {3, 5, 6}
    assert texts(await one.get_items()) == ["0", "1"]


@promise("sessions.writers")
async def test_many_writers_get_one_order_and_lose_nothing(database: Database) -> None:
    async def write(writer: int) -> None:
        for at in range(20):
            await DatabaseSession("shared", database).add_items(
                [message(f"{writer}-{at}"), message(f"{writer}-{at}+")]
            )

    await asyncio.gather(*(write(writer) for writer in range(25)))
    found = texts(await DatabaseSession("shared", database).get_items())
    for writer in range(25):
        mine = [text for text in found if text.startswith(f"{writer}-")]
        assert mine == [f"{writer}-{at}{end}" for at in range(20) for end in ("", "+")]
    # What came together stands together.
    assert all(found[at + 1] == found[at] + "+" for at in range(0, len(found), 2))
    assert len(found) == 1_000


@promise("sessions.writers")
async def test_those_who_take_back_at_once_have_an_item_each(database: Database) -> None:
    one = DatabaseSession("popped", database)
    await one.add_items([message(str(at)) for at in range(30)])
    popped = await asyncio.gather(*(DatabaseSession("popped", database).pop_item() for _ in range(33)))
    found = [texts([item])[0] for item in popped if item is not None]
    assert sorted(found, key=int) == [str(at) for at in range(30)]
    assert popped.count(None) == 3


@promise("sessions.calls")
async def test_what_was_said_in_a_call_is_the_history_of_its_conversation(database: Database) -> None:
    call_id = uuid4()
    await PostgresLog(database).append(a_call(call_id))
    async with model() as (language, reply):
        await reply({"text": "From eight."})
        agent = Agent("Desk", instructions="Help.", model=language)
        one = DatabaseSession(str(call_id), database)
        await Runner.run(agent, "And on Sundays?", session=one, run_config=QUIET)
        found = texts(await one.get_items())
    assert found[:4] == ["Good day.", "When is breakfast?", "From half past six.", "And on Sundays?"]
    assert found[4][0]["text"] == "From eight."


@promise("sessions.id")
@pytest.mark.parametrize("wrong", ["", "a" * 129, "a b", "ä", "a/b", "a\0", "a\n"])
async def test_an_id_that_is_none_is_refused(database: Database, wrong: str) -> None:
    with pytest.raises(ValueError, match="session_id"):
        DatabaseSession(wrong, database)


@promise("sessions.away")
async def test_a_database_that_was_killed_is_named_and_comes_back_with_the_history_whole(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    one = DatabaseSession("away", database)
    await one.add_items([message("a")])
    await asyncio.to_thread(server().kill)
    try:
        with pytest.raises(DatabaseAway):
            await one.add_items([message("b"), message("c")])
        with pytest.raises(DatabaseAway):
            await one.get_items()
    finally:
        await asyncio.to_thread(server().start)
    assert texts(await one.get_items()) == ["a"]
    await one.add_items([message("d")])
    assert texts(await one.get_items()) == ["a", "d"]


@asynccontextmanager
async def model() -> AsyncIterator[tuple[OpenAIChatCompletionsModel, Callable[[dict[str, Any]], Awaitable[None]]]]:
    """A model behind the real protocol, and what makes it say something."""
    async with running("local.models.scripted") as url, aiohttp.ClientSession(url) as http:

        async def reply(told: dict[str, Any]) -> None:
            async with http.post("/scripted/reply", json=told) as answer:
                assert answer.status == 200

        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            yield OpenAIChatCompletionsModel("scripted", client), reply


QUIET = RunConfig(tracing_disabled=True)


@promise("sessions.run")
async def test_an_agent_knows_in_its_second_turn_what_was_said_in_the_first(database: Database) -> None:
    async with model() as (language, reply):
        agent = Agent("Desk", instructions="Help.", model=language)
        await reply({"text": "Hello."})
        await Runner.run(agent, "My code is 4 7 1.", session=DatabaseSession("two", database), run_config=QUIET)
        await reply({"recall": True})
        again = await Runner.run(agent, "What is it?", session=DatabaseSession("two", database), run_config=QUIET)
        assert again.final_output == "The code is 4, 7, 1."
        roles = [cast(dict[str, Any], one)["role"] for one in await DatabaseSession("two", database).get_items()]
        assert roles == ["user", "assistant", "user", "assistant"]


@promise("sessions.run")
async def test_an_agent_that_takes_over_reads_and_adds_to_the_same_history(database: Database) -> None:
    async with model() as (language, reply):
        billing = Agent("Billing", instructions="Bills.", model=language)
        desk = Agent("Desk", instructions="Help.", model=language, handoffs=[billing])
        await reply({"text": "It is paid.", "tool_calls": [{"name": "transfer_to_billing", "arguments": {}}]})
        first = await Runner.run(desk, "My invoice?", session=DatabaseSession("shared", database), run_config=QUIET)
        assert (first.last_agent.name, first.final_output) == ("Billing", "It is paid.")
        await reply({"text": "Since May."})
        await Runner.run(billing, "Since when?", session=DatabaseSession("shared", database), run_config=QUIET)
        found = [cast(dict[str, Any], one) for one in await DatabaseSession("shared", database).get_items()]
        kinds = [one.get("type", one.get("role")) for one in found]
        assert kinds == ["user", "function_call", "function_call_output", "message", "user", "message"]
        assert texts([cast(TResponseInputItem, found[4])]) == ["Since when?"]


@promise("sessions.turn")
async def test_a_turn_that_is_history_is_never_told_as_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "RENEW_S", 0.0)
    session = DatabaseSession("kept", database)
    async with turns.turn(session) as own:
        await own.add_items([cast(TResponseInputItem, {"role": "user", "content": "a"})])
        await own.keep()
        # Long enough for who renews the lease to see that it is gone.
        for _ in range(20):
            assert len(await session.get_items()) == 1
