"""The recorder, with a real Redis and a real Postgres."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from control import recorder
from control.conversations.log import QUERIES, PostgresLog
from control.db.migrate import migrate
from control.db.pool import Database, DatabaseAway, Row, open_database
from control.forgetting.forgetting import Forgetting
from control.forgetting.ledger import Ledger
from control.jobs.engine import PostgresJobs
from control.recorder import Recorder
from switchboard import stream
from switchboard.fact import Fact
from tests import postgres_server
from tests.facts import a_call, conversation, said, until
from tests.promises import promise
from tests.redis_server import RedisServer, redis_server


@dataclass
class Bench:
    """A stream, a database, and what the log says of conversations."""

    server: RedisServer
    redis: Redis
    url: str
    database: Database
    home: Path

    @property
    def log(self) -> PostgresLog:
        return PostgresLog(self.database)

    @asynccontextmanager
    async def recording(self) -> AsyncIterator["asyncio.Task[None]"]:
        """A recorder with connections of its own, as in a process of its own."""
        redis = stream.connect(self.server.url, timeout_s=5)
        async with open_database(self.url) as database:
            jobs = PostgresJobs(database, redis)
            recorder = Recorder(redis, database, Forgetting(jobs, Ledger(self.home)), jobs)
            task = asyncio.create_task(recorder.run())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.wait([task])
                await redis.aclose()

    async def put(self, facts: Sequence[Fact]) -> None:
        for at in range(0, len(facts), 100):
            await stream.add(self.redis, facts[at : at + 100])

    async def recorded(self, conversation: str) -> list[str]:
        """The ids in the log of a conversation, in order, which has no gaps."""
        events = await self.log.read(conversation)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return [str(event.fact.id) for event in events]

    async def until_recorded(self, conversation: str, facts: Sequence[Fact]) -> None:
        wanted = [str(one.id) for one in facts]

        async def whole() -> bool:
            try:
                return len(await self.recorded(conversation)) >= len(wanted)
            except DatabaseAway:
                return False

        await until(whole)
        assert await self.recorded(conversation) == wanted

    async def set_aside(self) -> Sequence[Row]:
        async with self.database.session() as connection:
            return await connection.fetch("SELECT * FROM refused_facts ORDER BY id")

    async def until_empty(self) -> None:
        async def empty() -> bool:
            return int(await self.redis.xlen(stream.STREAM)) == 0

        await until(empty)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with redis_server() as server, postgres_server.fresh_database() as url, open_database(url) as database:
        async with database.session() as connection:
            await migrate(connection)
        redis = stream.connect(server.url, timeout_s=5)
        try:
            yield Bench(server, redis, url, database, tmp_path)
        finally:
            await redis.aclose()


@promise("control.recorder.order")
async def test_facts_are_recorded_in_the_order_of_the_stream_and_then_leave_it(bench: Bench) -> None:
    one, other, call_id = conversation(), conversation(), uuid4()
    facts = [said(shared, str(at)) for at in range(300) for shared in (one, other)]
    await bench.put(facts[:200])
    async with bench.recording():
        await bench.put([*facts[200:], *a_call(call_id), *facts[:10]])
        await bench.until_recorded(one, facts[0::2])
        await bench.until_recorded(other, facts[1::2])
        await bench.until_empty()
        pending = await bench.redis.xpending(stream.STREAM, stream.GROUP)
    assert pending["pending"] == 0
    assert len(await bench.recorded(str(call_id))) == 9


@promise("control.recorder.flush")
async def test_recording_goes_on_after_redis_was_flushed(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(30)]
    async with bench.recording():
        await bench.put(facts[:10])
        await bench.until_recorded(shared, facts[:10])
        await bench.redis.flushall()
        await bench.put(facts[10:])
        await bench.until_recorded(shared, facts)


@promise("control.recorder.flush")
async def test_recording_goes_on_after_redis_was_away(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(30)]
    async with bench.recording():
        await bench.put(facts[:10])
        await bench.until_recorded(shared, facts[:10])
        await bench.server.stop()
        await bench.server.start()
        await bench.put(facts[10:])
        await bench.until_recorded(shared, facts)


@promise("control.recorder.postgres")
async def test_nothing_is_lost_or_doubled_when_postgres_is_killed_and_comes_back(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(2_000)]
    async with bench.recording():
        await bench.put(facts[:1_000])

        async def under_way() -> bool:
            return len(await bench.recorded(shared)) > 0

        await until(under_way)
        await asyncio.to_thread(postgres_server.server().kill)
        await bench.put(facts[1_000:])
        await asyncio.to_thread(postgres_server.server().start)
        await bench.until_recorded(shared, facts)
        await bench.until_empty()


@promise("control.recorder.garbage")
async def test_entries_that_are_no_facts_are_set_aside(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(6)]
    whole = facts[0].model_dump(mode="json")
    garbage: list[dict[str, str]] = [
        {"other": "field"},
        {stream.FIELD: ""},
        {stream.FIELD: "{"},
        {stream.FIELD: json.dumps(whole | {"body": {"kind": "unheard_of"}})},
        {stream.FIELD: json.dumps(whole | {"conversation_id": "x" * 200})},
        {stream.FIELD: "x" * 100_000},
    ]
    for good, bad in zip(facts, garbage, strict=True):
        await bench.redis.xadd(stream.STREAM, bad)  # type: ignore[arg-type]
        await bench.put([good])
    before = recorder.SET_ASIDE.labels("garbage")._value.get()
    async with bench.recording():
        await bench.until_recorded(shared, facts)
        await bench.until_empty()
    assert recorder.SET_ASIDE.labels("garbage")._value.get() == before + len(garbage)
    assert len(await bench.set_aside()) == len(garbage)


@promise("control.recorder.poison")
async def test_a_fact_that_the_database_refuses_is_set_aside_alone(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(20)]
    poison = [
        said("\0", "belongs nowhere"),
        said(shared, "too early").model_copy(update={"at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}),
    ]
    await bench.put([*facts[:10], *poison, *facts[10:]])
    async with bench.recording():
        await bench.until_recorded(shared, facts)
        await bench.until_empty()
    # One that comes again, as from a file that waits for its facts to be recorded, is kept once.
    await bench.put(poison)
    async with bench.recording():
        await bench.until_empty()
    assert [one["fact_id"] for one in await bench.set_aside()] == [one.id for one in poison]
    async with bench.database.session() as connection:
        assert await connection.fetch(QUERIES["unrecorded"], [one.id for one in poison]) == []


@promise("control.recorder.poison")
async def test_a_time_without_a_zone_is_utc(bench: Bench) -> None:
    call_id = uuid4()
    facts = a_call(call_id)
    facts[3] = facts[3].model_copy(update={"at": facts[3].at.replace(tzinfo=None)})
    await bench.put(facts)
    async with bench.recording():
        await bench.until_recorded(str(call_id), facts)
    assert (await bench.log.read(str(call_id)))[3].fact.at == facts[3].at.replace(tzinfo=UTC)


@promise("control.recorder.dead")
async def test_what_a_dead_recorder_took_is_recorded_before_anything_newer(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(50)]
    await bench.redis.xgroup_create(stream.STREAM, stream.GROUP, id="0", mkstream=True)
    await bench.put(facts)
    await bench.redis.xreadgroup(stream.GROUP, "that died", {stream.STREAM: ">"}, count=20)
    await bench.redis.xreadgroup(stream.GROUP, recorder.CONSUMER, {stream.STREAM: ">"}, count=5)
    # Recorded, but not removed, when it died.
    await bench.log.append(facts[:7])
    async with bench.recording():
        await bench.until_recorded(shared, facts)
        await bench.until_empty()


@promise("control.recorder.two")
async def test_two_recorders_record_each_fact_once_and_one_takes_over(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(1_500)]
    async with bench.recording() as first, bench.recording():
        await bench.put(facts[:500])
        await bench.until_recorded(shared, facts[:500])
        await bench.put(facts[500:1_000])
        first.cancel()
        await asyncio.wait([first])
        await bench.put(facts[1_000:])
        await bench.until_recorded(shared, facts)
        await bench.until_empty()


@promise("control.recorder.two")
async def test_two_recorders_keep_the_order_while_postgres_is_killed(bench: Bench) -> None:
    shared = conversation()
    facts = [said(shared, str(at)) for at in range(1_200)]
    async with bench.recording(), bench.recording():
        await bench.put(facts[:400])
        await bench.until_recorded(shared, facts[:400])
        await asyncio.to_thread(postgres_server.server().kill)
        await bench.put(facts[400:800])
        await asyncio.to_thread(postgres_server.server().start)
        await bench.put(facts[800:])
        await bench.until_recorded(shared, facts)
