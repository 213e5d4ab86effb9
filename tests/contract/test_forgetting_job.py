"""The job that forgets and whoever records meanwhile, each held where it matters: a real Postgres, a real Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from control.access import Actor, Role
from control.conversations.log import PostgresLog
from control.db.pool import Connection
from control.forgetting import job, tables
from control.forgetting.forgetting import Forgetting
from control.forgetting.job import KIND, forget
from control.forgetting.ledger import FILE, Ledger
from control.forgetting.receipt import Receipt, read
from control.jobs.job import QUERIES as JOBS
from control.jobs.job import Passing, Run
from control.recorder import Recorder
from switchboard import fact, stream
from switchboard.fact import Fact, Source
from switchboard.recording_store import RecordingStore
from switchboard.recordings import RATE, Piece, recording_id
from switchboard.settings import Settings, SettingsError
from tests.facts import a_call, until
from tests.job_worker import Workshop, workshop
from tests.postgres_server import query
from tests.promises import promise

NUMBER = "+491711234567"
ADMIN = Actor("test", Role.ADMIN, uuid4())


@dataclass
class Desk:
    """A database of calls, and what forgets them, without a process that would do it by itself."""

    shop: Workshop
    home: Path
    forgetting: Forgetting = field(init=False)

    def __post_init__(self) -> None:
        self.forgetting = Forgetting(self.shop.jobs, Ledger(self.home))

    async def call(self, conversation: str = "", *, number: str = NUMBER) -> list[Fact]:
        """An ended call that is on record."""
        arrived, *others = a_call(call := uuid4())
        body = arrived.body.model_copy(update={"caller": number})
        facts = [arrived.model_copy(update={"body": body}), *others]
        facts = [one.model_copy(update={"conversation_id": conversation or str(call)}) for one in facts]
        await PostgresLog(self.shop.database).append(facts)
        return facts

    async def asked(self, conversation: str) -> UUID:
        """A request to forget a conversation; its receipt."""
        async with self.shop.database.transaction() as connection:
            return (await self.forgetting.conversation(connection, ADMIN, conversation)).id

    async def came_again(self, connection: Connection, facts: Sequence[Fact]) -> None:
        """Facts are refused, as the recorder does it."""
        receipts = await self.forgetting.refused(connection, facts)
        assert receipts
        await self.forgetting.came_again(connection, facts, receipts)
        for receipt in set(receipts.values()):
            await tables.count(connection, receipt, {"refused": len(facts)})

    async def works(self, **more: str) -> None:
        """One attempt at the job, with `more` settings."""
        task = await self.shop.enqueue(KIND)
        async with self.shop.database.session() as connection:
            row = await connection.fetchrow(JOBS["begin_attempt"], task)
        assert row is not None
        settings = Settings.model_validate({**self.shop.settings(self.home), "LIVEKIT_URL": "", **more})
        run = Run(row, self.shop.database, self.shop.redis, settings, self.shop.jobs, _nobody)
        result = await forget(run)
        if not run.completed:
            async with run.completing(result):
                pass

    async def receipt(self, id: UUID) -> Receipt:
        async with self.shop.database.session() as connection:
            return await read(connection, id)

    async def rows(self, table: str) -> int:
        return len(await query(self.shop.url, f"SELECT 1 FROM {table}"))  # noqa: S608 - our own names

    async def waits(self) -> bool:
        """Whether somebody waits for a lock."""
        return bool(await query(self.shop.url, "SELECT 1 FROM pg_locks WHERE NOT granted"))

    async def rewritten(self) -> int:
        """How often Redis was told to write its file anew."""
        told: Any = await self.shop.redis.info("commandstats")
        return int(told.get("cmdstat_bgrewriteaof", {}).get("calls", 0))


async def _nobody(_task: Any) -> None:
    return None


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with workshop() as shop:
        yield Desk(shop, tmp_path)


@asynccontextmanager
async def locked(desk: Desk, what: str) -> AsyncIterator[None]:
    async with desk.shop.database.transaction() as connection:
        await connection.execute(f"LOCK TABLE {what} MODE")
        yield


@promise("forget.whole")
async def test_a_receipt_that_is_finished_while_facts_come_again_is_not_whole(desk: Desk) -> None:
    facts = await desk.call()
    receipt = await desk.asked(facts[0].conversation_id)
    await query(desk.shop.url, "DELETE FROM erasures")

    async def finish() -> None:
        async with desk.shop.database.transaction() as connection:
            await job._finish(connection, [receipt])

    async with asyncio.TaskGroup() as tasks:
        async with desk.shop.database.transaction() as recording:
            await desk.came_again(recording, facts[:1])
            # Its time is over by then: what is to be erased must be enough.
            await recording.execute("UPDATE receipts SET again_at = NULL")
            finishing = tasks.create_task(finish())
            await until(desk.waits)
        await finishing
    assert (await desk.receipt(receipt)).finished_at is None
    await desk.works()
    assert (await desk.receipt(receipt)).finished_at is not None
    assert await desk.rows("erasures") == 0


@promise("forget.whole")
async def test_an_erasure_of_a_receipt_that_says_it_is_whole_is_still_made(desk: Desk) -> None:
    facts = await desk.call()
    await desk.asked(facts[0].conversation_id)
    await query(desk.shop.url, "UPDATE receipts SET finished_at = now()")
    await desk.works()
    assert (await desk.rows("erasures"), await desk.rows("events")) == (0, 0)


@promise("forget.at_once")
async def test_who_records_that_facts_came_again_and_who_erases_do_not_stop_each_other(desk: Desk) -> None:
    facts = await desk.call()
    receipt = await desk.asked(facts[0].conversation_id)

    async def record() -> None:
        async with desk.shop.database.transaction() as connection:
            await desk.came_again(connection, facts[:1])

    async with asyncio.TaskGroup() as tasks, locked(desk, "events IN SHARE"):
        tasks.create_task(tables.erase(desk.shop.database, facts[0].conversation_id, [], whole=True))
        await until(desk.waits)
        tasks.create_task(record())

        async def both() -> bool:
            return len(await query(desk.shop.url, "SELECT 1 FROM pg_locks WHERE NOT granted")) >= 2

        await until(both)
    went = (await desk.receipt(receipt)).went
    assert (went["events"], went["refused"]) == (len(facts), 1)


@promise("forget.live")
async def test_of_a_live_call_redis_and_postgres_are_cleaned_once_when_no_facts_come_any_more(desk: Desk) -> None:
    facts = await desk.call()
    receipt = await desk.asked(facts[0].conversation_id)
    for one in facts[:3]:
        async with desk.shop.database.transaction() as connection:
            await desk.came_again(connection, [one])
        await desk.works()
        assert (await desk.rows("erasures"), await desk.rewritten()) == (0, 0)
        assert (await desk.receipt(receipt)).finished_at is None
    await query(desk.shop.url, "UPDATE receipts SET again_at = now()")
    await desk.works()
    assert await desk.rewritten() == 1
    found = await desk.receipt(receipt)
    assert found.finished_at is not None
    assert (found.went["refused"], found.went["events"]) == (3, len(facts))
    # The task of what came again comes after all of it.
    times = await query(
        desk.shop.url,
        "SELECT scheduled_at - now() AS later FROM procrastinate_jobs WHERE scheduled_at IS NOT NULL",
    )
    assert times and all(15 <= row["later"].total_seconds() + 14 <= 45 for row in times)


@promise("forget.away")
async def test_sound_that_is_away_holds_back_no_words_and_goes_when_it_is_back(desk: Desk) -> None:
    facts = await desk.call("ann")
    call = facts[0].call_id
    assert call is not None
    began = fact.RecordingStarted(attempt=1, began_at=facts[0].at)
    told = Fact(conversation_id="ann", call_id=call, source=Source.AGENT, body=began)
    await PostgresLog(desk.shop.database).append([told])
    store = RecordingStore.of(Settings.model_validate({"SWITCHBOARD_HOME": desk.home, "LIVEKIT_URL": ""}))
    await store.put(Piece(recording_id(call), 1, RATE), bytes(RATE * 4))
    receipt = await desk.asked("ann")
    bucket = {
        "SWITCHBOARD_RECORDINGS_S3_BUCKET": "b",
        "SWITCHBOARD_RECORDINGS_S3_ENDPOINT": "http://127.0.0.1:9",
        "SWITCHBOARD_RECORDINGS_S3_KEY": "k",
        "SWITCHBOARD_RECORDINGS_S3_SECRET": "s",
    }
    for _ in range(2):
        with pytest.raises(Passing, match="What keeps recordings is away"):
            await desk.works(**bucket)
        left = [await desk.rows(table) for table in ("events", "calls", "recordings", "conversations")]
        assert left == [0, 0, 0, 0]
        assert (await desk.receipt(receipt)).finished_at is None
        assert len(await store.pieces(recording_id(call))) == 1
    await desk.works()
    assert await store.pieces(recording_id(call)) == []
    found = await desk.receipt(receipt)
    assert found.finished_at is not None
    one = {"calls": 1, "conversations": 1, "recordings": 1, "sound": 1}
    assert found.went == {"events": len(facts) + 1, **one}


@promise("forget.many")
async def test_what_names_many_is_looked_through_at_once_and_counted_for_each(desk: Desk) -> None:
    calls = [await desk.call() for _ in range(3)]
    for facts in calls:
        name = facts[0].conversation_id
        await desk.shop.enqueue("clean_up", {"call": name, "say": ["x", name]})
        await desk.shop.enqueue("clean_up", {"call": f"{name}-not"})
        entry = f'{{"call_id": "{name}", "said": "x"}}'.encode()
        await query(desk.shop.url, "INSERT INTO refused_facts (why, entry) VALUES ('garbage', $1)", entry)
    receipts = [await desk.asked(facts[0].conversation_id) for facts in calls[:2]]
    await desk.works()
    for receipt in receipts:
        went = (await desk.receipt(receipt)).went
        assert (went["tasks"], went["refused_facts"], went["calls"]) == (1, 1, 1)
    assert await desk.rows("refused_facts") == 1
    assert await desk.rows("tasks WHERE state = 'cancelled'") == 2


@promise("forget.many")
async def test_names_with_quotes_and_letters_of_any_kind_are_found_and_those_alike_stay(desk: Desk) -> None:
    receipt = await desk.asked((await desk.call())[0].conversation_id)
    names = ['sip:"Ann" <+49 171>', "ü\\x", "tab\t👋", "plain", '"']
    for name in (*names, "plainer", "xplain", "Ann"):
        await desk.shop.enqueue("clean_up", {"deep": [{"who": name}], name: 1})
        entry = json.dumps({"b": "a\\", "who": name}, ensure_ascii=False).encode()
        await query(desk.shop.url, "INSERT INTO refused_facts (why, entry) VALUES ('garbage', $1)", entry)
    for entry in (b"\xff\x00\\", b'plain "ann', b""):
        await query(desk.shop.url, "INSERT INTO refused_facts (why, entry) VALUES ('garbage', $1)", entry)
    await tables.look_through(desk.shop.database, dict.fromkeys(names, receipt))
    assert (await desk.receipt(receipt)).went == {"tasks": len(names), "refused_facts": len(names)}
    assert await desk.rows("refused_facts") == 6


@promise("forget.many")
async def test_a_request_looks_through_nothing_itself(desk: Desk) -> None:
    facts = await desk.call()
    entry = b'{"caller": "+491711234567"}'
    await query(desk.shop.url, "INSERT INTO refused_facts (why, entry) VALUES ('garbage', $1)", entry)
    async with (
        locked(desk, "refused_facts IN ACCESS EXCLUSIVE"),
        asyncio.timeout(10),
        desk.shop.database.transaction() as connection,
    ):
        made = await desk.forgetting.caller(connection, ADMIN, NUMBER)
    await desk.works()
    went = (await desk.receipt(made.id)).went
    assert (went["refused_facts"], went["calls"], went["events"]) == (1, 1, len(facts))
    assert await query(desk.shop.url, "SELECT 1 FROM receipts WHERE spellings <> '{}'") == []
    shown = await query(
        desk.shop.url, "SELECT indexdef FROM pg_indexes WHERE tablename = 'audit' AND indexdef LIKE '%(subject)'"
    )
    assert len(shown) == 1


@promise("forget.caller")
async def test_a_call_whose_host_has_a_clock_that_is_ahead_is_forgotten_too(desk: Desk) -> None:
    facts = await desk.call()
    await query(desk.shop.url, "UPDATE calls SET started_at = now() + interval '1 minute'")
    async with desk.shop.database.transaction() as connection:
        made = await desk.forgetting.caller(connection, ADMIN, NUMBER)
    await desk.works()
    assert (await desk.receipt(made.id)).went["events"] == len(facts)


@promise("forget.key")
async def test_a_home_without_the_key_of_forgotten_numbers_is_refused(desk: Desk, tmp_path: Path) -> None:
    async with desk.shop.database.transaction() as connection:
        await desk.forgetting.caller(connection, ADMIN, NUMBER)
    other = tmp_path / "other"

    async def begins() -> None:
        await Forgetting(desk.shop.jobs, Ledger(other)).again(desk.shop.database)

    await desk.forgetting.again(desk.shop.database)
    with pytest.raises(SettingsError, match="lacks a key under which callers were forgotten: add to it") as refused:
        await begins()
    alone = (other / FILE).read_text()
    assert len(alone.splitlines()) == 1
    line = str(refused.value).partition("add the line ")[2].partition("; late")[0]
    (other / FILE).write_text(f"{alone}{line}\n")
    await begins()
    (other / FILE).write_text(alone + (desk.home / FILE).read_text())
    await begins()
    arrived = (await desk.call())[0].model_copy(update={"id": uuid4(), "conversation_id": "late"})
    async with desk.shop.database.transaction() as connection:
        assert list(await Forgetting(desk.shop.jobs, Ledger(other)).refused(connection, [arrived])) == ["late"]


@promise("forget.unread")
@pytest.mark.parametrize(
    "told",
    [
        {"conversation_id": "ann", "body": {"kind": "of_a_newer_version", "text": "canary"}},
        {"call_id": "ann", "said": "canary"},
        {"conversation_id": "ann", "body": {"kind": "item", "item": {"content": "canary" * 20_000}}},
        {"body": {"kind": "call_arrived", "caller": "0049 171 1234567", "headers": "canary"}},
        {"at": "2026-03-02T12:00:00Z", "body": {"caller": f"sip:{NUMBER}@host", "kind": "x"}, "x": "canary"},
    ],
)
async def test_of_what_cannot_be_read_and_is_of_a_forgotten_one_nothing_is_kept(
    desk: Desk, told: dict[str, Any]
) -> None:
    await desk.call("ann")
    async with desk.shop.database.transaction() as connection:
        made = await desk.forgetting.caller(connection, ADMIN, NUMBER)
    await desk.works()
    others = [
        {**told, "conversation_id": "ben", "call_id": "ben", "body": {"caller": "+4930123456"}},
        {"at": "2126-03-02T12:00:00Z", "body": {"caller": NUMBER, "kind": "of_a_new_caller"}},
        ["canary of nobody"],
    ]
    redis = desk.shop.redis
    async with recording(desk):
        for one in (told, *others):
            await redis.xadd(stream.STREAM, {stream.FIELD: json.dumps(one)})
        await until(lambda: _is_empty(desk))
    rows = await query(desk.shop.url, "SELECT why, entry FROM refused_facts ORDER BY id")
    assert [(row["why"], len(row["entry"]) > 0) for row in rows] == [("forgotten", False)] + [("garbage", True)] * 3
    assert (await desk.receipt(made.id)).finished_at is None


async def _is_empty(desk: Desk) -> bool:
    return int(await desk.shop.redis.xlen(stream.STREAM)) == 0


@asynccontextmanager
async def recording(desk: Desk) -> AsyncIterator[None]:
    """A recorder while the body runs."""
    redis = stream.connect(desk.shop.server.url, timeout_s=5)
    recorder = Recorder(redis, desk.shop.database, desk.forgetting, desk.shop.jobs)
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await redis.aclose()
