"""The log, with a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import uuid4

import asyncpg
import pytest

from control.conversations.log import PostgresLog
from control.db.migrate import FOLDER, migrate
from control.db.pool import Database, open_database
from switchboard import fact
from switchboard.fact import Fact, Source
from tests.facts import a_call, conversation, said
from tests.postgres_server import fresh_database
from tests.promises import promise


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with fresh_database() as url, open_database(url) as opened:
        async with opened.session() as connection:
            await migrate(connection)
        yield opened


@promise("control.log.order")
async def test_concurrent_writers_get_one_order_without_gaps(database: Database) -> None:
    log, shared = PostgresLog(database), conversation()

    async def write(writer: int) -> list[Fact]:
        facts = [said(shared, f"{writer}-{at}") for at in range(60)]
        for at in range(0, 60, 3):
            await log.append(facts[at : at + 3])
        return facts

    written = await asyncio.gather(*(write(writer) for writer in range(8)))
    events = await log.read(shared)
    assert [event.seq for event in events] == list(range(1, 481))
    place = {event.fact.id: event.seq for event in events}
    for facts in written:
        assert [place[one.id] for one in facts] == sorted(place[one.id] for one in facts)


@promise("control.log.order")
async def test_writers_of_the_same_conversations_in_other_orders_never_block_each_other(database: Database) -> None:
    log, several = PostgresLog(database), [conversation() for _ in range(6)]

    async def write(writer: int) -> None:
        order = several if writer % 2 else several[::-1]
        for at in range(10):
            await log.append([said(one, f"{writer}-{at}") for one in order])

    async with asyncio.timeout(30):
        await asyncio.gather(*(write(writer) for writer in range(8)))
    for one in several:
        assert [event.seq for event in await log.read(one)] == list(range(1, 81))


@promise("control.log.once")
async def test_a_fact_recorded_twice_is_one_fact(database: Database) -> None:
    log, shared = PostgresLog(database), conversation()
    facts = [said(shared, str(at)) for at in range(20)]
    first = await log.append([*facts[:10], facts[3]])
    again = await log.append(facts)
    assert [event.seq for event in first] == list(range(1, 11))
    assert [event.fact for event in again] == facts[10:]
    assert [event.fact for event in await log.read(shared)] == facts


@promise("control.log.once")
async def test_the_same_facts_from_many_at_once_are_recorded_once(database: Database) -> None:
    log, shared = PostgresLog(database), conversation()
    facts = [said(shared, str(at)) for at in range(10)]
    added = await asyncio.gather(*(log.append(facts) for _ in range(8)))
    assert sum(map(len, added)) == 10
    assert [event.fact for event in await log.read(shared)] == facts


@promise("control.log.once")
async def test_appending_is_all_or_nothing(database: Database) -> None:
    log, good = PostgresLog(database), conversation()
    # What is left of this id, a NUL, is no name that a conversation can have.
    bad = said("\0", "nowhere")
    with pytest.raises(asyncpg.CheckViolationError):
        await log.append([said(good, "before"), bad, said(good, "after")])
    assert not await log.read(good)
    assert [event.seq for event in await log.append([said(good, "later")])] == [1]


@promise("control.log.read")
async def test_reading_gives_back_what_was_written_from_a_place_on(database: Database) -> None:
    log, call_id = PostgresLog(database), uuid4()
    facts = a_call(call_id)
    await log.append(facts)
    assert [event.fact for event in await log.read(str(call_id))] == facts
    assert [event.fact for event in await log.read(str(call_id), after=6)] == facts[6:]
    assert await log.read(conversation()) == []


@promise("control.log.read")
async def test_items_are_the_latest_messages_oldest_first(database: Database) -> None:
    log, call_id = PostgresLog(database), uuid4()
    facts = a_call(call_id)
    await log.append(facts)
    items = [one for one in facts if one.kind == "item"]
    assert [event.fact for event in await log.items(str(call_id))] == items
    assert [event.fact for event in await log.items(str(call_id), limit=2)] == items[-2:]
    assert await log.items(str(call_id), limit=0) == []


@promise("control.log.text")
async def test_text_that_postgres_has_no_place_for_is_recorded_without_it(database: Database) -> None:
    log, shared = PostgresLog(database), conversation()
    text = "nul \0 here, \\u0000 not, 中文 \U0001f600 \u2028"
    body = fact.Item(item={"role": "user", "content": text, "deep\0": [{"er\0": "\0"}], "inf": float("inf")})
    await log.append([Fact(conversation_id=shared, source=Source.AGENT, body=body)])
    (event,) = await log.read(shared)
    assert isinstance(event.fact.body, fact.Item)
    assert event.fact.body.item["content"] == text.replace("\0", "")
    assert event.fact.body.item["deep"] == [{"er": ""}]


@promise("control.log.corrupt")
async def test_a_row_that_cannot_be_read_is_skipped_and_logged(
    database: Database, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    log, shared = PostgresLog(database), conversation()
    facts = [said(shared, str(at)) for at in range(4)]
    await log.append(facts)
    async with database.session() as connection:
        await connection.execute("UPDATE events SET body = '\"broken\"' WHERE id = $1", facts[1].id)
        await connection.execute("UPDATE events SET kind = 'item', body = '{}' WHERE id = $1", facts[2].id)
    assert [event.fact for event in await log.read(shared)] == [facts[0], facts[3]]
    assert [event.fact for event in await log.items(shared, limit=2)] == [facts[0], facts[3]]
    assert "event_skipped" in caplog.text + capsys.readouterr().out


@promise("control.log.calls")
@pytest.mark.parametrize("order", ["as it was", "backwards", "one by one", "by two, backwards"])
async def test_a_calls_row_says_the_same_whatever_order_its_facts_come_in(database: Database, order: str) -> None:
    log, call_id = PostgresLog(database), uuid4()
    facts = a_call(call_id)
    batches = {
        "as it was": [facts],
        "backwards": [[one] for one in facts[::-1]],
        "one by one": [[one] for one in facts],
        "by two, backwards": [facts[at : at + 2] for at in range(0, len(facts), 2)][::-1],
    }[order]
    for batch in batches:
        await log.append(batch)
    async with database.session() as connection:
        row = await connection.fetchrow("SELECT * FROM calls WHERE id = $1", call_id)
    assert row is not None
    assert dict(row) == {
        "id": call_id,
        "conversation_id": str(call_id),
        "channel": "sip",
        "room": "r",
        "dialed": "+15550100001",
        "caller": "+15559",
        "persona": "Harbor Hotel",
        "persona_source": "api",
        "persona_version": "1",
        "started_at": facts[0].at,
        "answered_at": facts[4].at,
        "ended_at": facts[8].at,
        "reason": "caller_hung_up",
        "duration_s": 8.0,
        "turns": 1,
        "status": "ended",
    }


@promise("control.log.calls")
async def test_a_call_is_ringing_then_live_then_ended_once(database: Database) -> None:
    log, call_id = PostgresLog(database), uuid4()
    facts = a_call(call_id)

    async def row() -> tuple[str, str | None, datetime | None]:
        async with database.session() as connection:
            found = await connection.fetchrow("SELECT status, reason, ended_at FROM calls WHERE id = $1", call_id)
        assert found is not None
        return found["status"], found["reason"], found["ended_at"]

    seen = []
    for one in facts:
        await log.append([one])
        seen.append((await row())[0])
    assert seen == ["ringing"] * 4 + ["live"] * 4 + ["ended"]
    other = fact.CallEnded(reason="watcher", duration_s=99)
    await log.append([Fact(conversation_id=str(call_id), call_id=call_id, source=Source.WEBHOOK, body=other)])
    assert await row() == ("ended", "caller_hung_up", facts[-1].at)


@promise("control.migrations")
async def test_any_number_of_processes_migrate_one_database_once() -> None:
    async with fresh_database() as url, open_database(url) as database:

        async def run() -> list[int]:
            async with database.session() as connection:
                return await migrate(connection)

        ran = await asyncio.gather(*(run() for _ in range(6)))
        assert sorted(map(len, ran)) == [0] * 5 + [len(list(FOLDER.glob("*.sql")))]
