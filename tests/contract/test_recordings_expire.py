"""How recordings go: by their time, by whoever forgets a call, and after a death in the middle of it."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agent import spool
from agent.spool import Head, Writer
from control.access import Actor, Role
from control.conversations.log import append_in
from control.forgetting import receipt
from control.forgetting.forgetting import Forgetting
from control.forgetting.ledger import Ledger
from control.jobs.engine import PostgresJobs
from control.recorder import Recorder
from control.recordings import recordings
from control.recordings.deletion import mark_deleted
from control.recordings.recordings import Filter, Recording
from switchboard import fact, stream
from switchboard.fact import Fact, Source
from switchboard.recording_store import RecordingStore
from switchboard.recordings import RATE, Piece, microseconds, recording_id
from switchboard.settings import Settings
from tests.deployment import ROOT
from tests.facts import until
from tests.job_worker import JobWorker, Workshop, workshop
from tests.promises import promise

SECOND = bytes(RATE * 4)


class House:
    """A database, and a home with recordings."""

    def __init__(self, shop: Workshop, home: Path) -> None:
        self.shop, self.home = shop, home
        self.settings = Settings.model_validate(
            {**shop.settings(home), "SWITCHBOARD_RECORDINGS_DAYS": 30, "LIVEKIT_URL": ""}
        )
        self.store = RecordingStore.of(self.settings)
        self.jobs = PostgresJobs(shop.database, shop.redis)

    async def call(
        self, days_ago: float, *, keep_days: int | None = None, conversation: str = "", told: bool = True
    ) -> UUID:
        """An ended call that was recorded. `told`: its sound is on record."""
        call = uuid4()
        at = datetime.now(UTC) - timedelta(days=days_ago)
        piece = Piece(recording_id(call), microseconds(at), RATE)
        size = await self.store.put(piece, SECOND)
        self.aged(call, days_ago)
        stored = [fact.RecordingStored(start=at, seconds=1.0, bytes=size)] if told else []
        started = fact.RecordingStarted(attempt=1, began_at=at, keep_days=keep_days)
        bodies = (started, *stored, fact.RecordingEnded(seconds=1.5))
        await self.record(call, *bodies, conversation=conversation, at=at)
        return call

    async def nobodys(self, days_ago: float) -> UUID:
        """Sound of a call that is not on record."""
        call = uuid4()
        await self.store.put(Piece(recording_id(call), 1, RATE), SECOND)
        self.aged(call, days_ago)
        return call

    def aged(self, call: UUID, days: float) -> None:
        at = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        for path in (self.home / "recordings" / str(recording_id(call))).iterdir():
            os.utime(path, (at, at))

    async def record(
        self, call: UUID, *bodies: fact.Body, conversation: str = "", at: datetime | None = None
    ) -> None:
        facts = [
            Fact(
                conversation_id=conversation or str(call),
                call_id=call,
                at=at or datetime.now(UTC),
                source=Source.AGENT,
                body=body,
            )
            for body in bodies
        ]
        async with self.shop.database.transaction() as connection:
            await append_in(connection, facts)

    async def shown(self, call: UUID) -> Recording:
        async with self.shop.database.session() as connection:
            [found] = await recordings.listed(connection, Filter(call_id=call), 30, 2)
        return found

    async def sounds(self, *calls: UUID) -> list[int]:
        """How many pieces there are of each."""
        return [len(await self.store.pieces(recording_id(call))) for call in calls]

    def worker(self) -> JobWorker:
        more = {"SWITCHBOARD_RECORDINGS_DAYS": "30"}
        return JobWorker(self.home, {**self.shop.settings(self.home), **more}, "control.worker")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with workshop() as shop:
        home = tmp_path / "home"
        home.mkdir()
        yield House(shop, home)


@promise("recording.expired")
async def test_recordings_go_when_their_time_is_over_and_no_other_one(house: House) -> None:
    old, young = await house.call(30.1), await house.call(29.9)
    short, long = await house.call(3.1, keep_days=3), await house.call(31, keep_days=60)
    live = uuid4()
    await house.record(live, fact.RecordingStarted(attempt=1, began_at=datetime.now(UTC) - timedelta(days=1.5)))
    # Marked before a death that left its sound, and sound that comes after.
    dead = await house.call(1)
    async with house.shop.database.transaction() as connection:
        assert await mark_deleted(connection, "deleted", [dead]) == [recording_id(dead)]
    assert await house.sounds(dead) == [1]
    # Sound that is of no row: a fresh one waits for its facts, an old one is a leftover.
    nobody, fresh = await house.nobodys(31), await house.nobodys(0)
    worker = house.worker()
    await worker.start()
    try:
        # The tick of the day that this test falls into; and begun again it ends the same.
        await until(lambda: _gone(house, old, short, dead, nobody))
        assert await house.sounds(young, long, fresh) == [1, 1, 1]
        states = {name: (await house.shown(call)).state for name, call in (("old", old), ("young", young))}
        assert states == {"old": "deleted", "young": "complete"}
        told = await house.shop.rows("SELECT call_id, body FROM events WHERE kind = 'recording_deleted'")
        assert {row["call_id"] for row in told if row["body"]["reason"] == "expired"} == {old, short}
    finally:
        await worker.end()


async def _is_forgotten(house: House, request: UUID) -> bool:
    async with house.shop.database.session() as connection:
        return (await receipt.read(connection, request)).finished_at is not None


async def _gone(house: House, *calls: UUID) -> bool:
    return not any(await house.sounds(*calls))


@promise("recording.expired")
async def test_a_job_that_is_killed_in_the_middle_ends_the_same_when_it_runs_again(house: House) -> None:
    calls = [await house.call(40) for _ in range(120)]
    kept = await house.call(2)
    worker = house.worker()
    await worker.start()

    async def begun() -> bool:
        return sum(await house.sounds(*calls)) < len(calls)

    await until(begun)
    await worker.end(signal.SIGKILL)
    await worker.start()
    try:
        await until(lambda: _gone(house, *calls))
        assert {(await house.shown(call)).state for call in calls} == {"deleted"}
        assert await house.sounds(kept) == [1]
        rows = await house.shop.rows("SELECT count(*) AS n FROM events WHERE kind = 'recording_deleted'")
        assert rows[0]["n"] == len(calls)
    finally:
        await worker.end()


@promise("recording.mended")
async def test_sound_whose_facts_were_lost_is_on_record_the_next_day(house: House) -> None:
    call, under_way = await house.call(1, told=False), await house.call(0, told=False)
    assert ((await house.shown(call)).state, (await house.shown(call)).bytes) == ("storing", 0)
    worker = house.worker()
    await worker.start()

    async def mended() -> bool:
        return (await house.shown(call)).state == "complete"

    try:
        await until(mended)
        shown = await house.shown(call)
        [path] = (house.home / "recordings" / str(shown.id)).iterdir()
        assert (shown.duration_s, shown.bytes) == (1.0, path.stat().st_size)
        # Its facts may be on their way.
        assert (await house.shown(under_way)).state == "storing"
    finally:
        await worker.end()


@promise("recording.mended")
async def test_a_recording_whose_end_or_sound_never_comes_is_not_waited_for_for_ever(house: House) -> None:
    for days_ago, live in ((1.5, True), (2.1, False)):
        call, began = uuid4(), datetime.now(UTC) - timedelta(days=days_ago)
        await house.record(call, fact.RecordingStarted(attempt=1, began_at=began))
        assert (await house.shown(call)).live == live
    # A host was lost with its disk.
    for days_ago, state in ((6.9, "storing"), (7.1, "incomplete")):
        assert (await house.shown(await house.call(days_ago, told=False))).state == state


@promise("recording.shared")
async def test_two_installations_in_one_place_leave_each_others_sound(house: House) -> None:
    theirs, deleted = await house.nobodys(400), await house.call(1)
    other = uuid4()
    await house.store.mark(other)
    async with house.shop.database.transaction() as connection:
        await mark_deleted(connection, "deleted", [deleted])
    worker = house.worker()
    await worker.start()
    try:
        await worker.says("recordings_shared")
        await until(lambda: _gone(house, deleted))
        assert await house.sounds(theirs) == [1]
        assert str(other) in worker.log()
        # The other one is no more, as an admin says.
        (house.home / "recordings" / "installations" / str(other)).unlink()
        async with house.shop.database.transaction() as connection:
            await house.jobs.enqueue(connection, "expire_recordings")
        await until(lambda: _gone(house, theirs))
    finally:
        await worker.end()


@promise("recording.late")
async def test_sound_that_comes_after_its_recording_was_deleted_goes_at_once(house: House) -> None:
    call, stays = await house.call(1), await house.call(1)
    worker = house.worker()
    await worker.start()
    await until(lambda: _housekept(house))
    async with house.shop.database.transaction() as connection:
        await mark_deleted(connection, "deleted", [call])
    await house.store.erase(recording_id(call))
    forgetting = Forgetting(house.jobs, Ledger(house.home))
    recorder = Recorder(house.shop.redis, house.shop.database, forgetting, house.jobs)
    recording = asyncio.create_task(recorder.run())
    try:
        for late in (call, stays):
            piece = Piece(recording_id(late), microseconds(datetime.now(UTC)), RATE)
            size = await house.store.put(piece, SECOND)
            stored = fact.RecordingStored(start=piece.start, seconds=1.0, bytes=size)
            told = Fact(conversation_id=str(late), call_id=late, source=Source.AGENT, body=stored)
            await stream.add(house.shop.redis, [told])
        await until(lambda: _gone(house, call))
        assert await house.sounds(stays) == [2]
    finally:
        recording.cancel()
        await asyncio.wait([recording])
        await worker.end()


async def _housekept(house: House) -> bool:
    """The day's tick is over, which would erase it all the same."""
    rows = await house.shop.rows("SELECT FROM tasks WHERE kind = 'expire_recordings' AND state = 'completed'")
    return bool(rows)


@promise("recording.forgotten")
async def test_a_forgotten_conversation_leaves_no_sound_and_none_comes_back(house: House) -> None:
    one, other = await house.call(1, conversation="ann"), await house.call(2, conversation="ann")
    stays = await house.call(1)
    head = Head(recording=recording_id(one), call_id=one, conversation_id="ann", start_us=1)
    writer = Writer(house.home, head)
    writer.write(0, SECOND)
    writer.close()
    forgetting = Forgetting(house.jobs, Ledger(house.home))
    async with house.shop.database.transaction() as connection:
        made = await forgetting.conversation(connection, Actor("test", Role.ADMIN, uuid4()), "ann")
    worker = house.worker()
    await worker.start()
    try:
        await until(lambda: _is_forgotten(house, made.id), 60)
        assert await house.sounds(one, other, stays) == [0, 0, 1]
        assert list((house.home / "unshipped").iterdir()) == []
        assert {row["call_id"] for row in await house.shop.rows("SELECT call_id FROM recordings")} == {stays}
        async with house.shop.database.session() as connection:
            assert (await receipt.read(connection, made.id)).went["recordings"] == 2
        # A piece that was on its way on another host: its fact is refused, and that has it looked for again.
        late = Piece(recording_id(one), 5, RATE)
        await house.store.put(late, SECOND)
        stored = fact.RecordingStored(start=late.start, seconds=1.0, bytes=9)
        told = Fact(conversation_id="ann", call_id=one, source=Source.AGENT, body=stored)
        async with house.shop.database.transaction() as connection:
            refused = await forgetting.refused(connection, [told])
            await forgetting.came_again(connection, [told], refused)
        await until(lambda: _gone(house, one), 60)
        assert await house.sounds(stays) == [1]
    finally:
        await worker.end()


@promise("recording.backup")
async def test_the_commands_of_the_docs_bring_recordings_back(house: House, tmp_path: Path) -> None:
    call = await house.call(1)
    writer = Writer(house.home, Head(recording=recording_id(call), call_id=call, conversation_id="c", start_us=1))
    writer.write(0, SECOND)
    writer.close()
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.split("\n### Recordings\n")[1].split("\n### ")[0]
    save, restore = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    house.home.rename(before / ".switchboard")
    await _run(save, before)
    (before / "switchboard-recordings.tar").rename(after / "switchboard-recordings.tar")
    (after / ".switchboard").mkdir()
    await _run(restore, after)
    home = after / ".switchboard"
    store = RecordingStore.of(house.settings.model_copy(update={"home": home}))
    [piece] = await store.pieces(recording_id(call))
    assert await store.read(piece) == SECOND
    [file] = spool.waiting(home)
    files = [file.path, home / "recordings" / piece.key]
    assert [one.stat().st_mode & 0o777 for one in files] == [0o600, 0o600]


async def _run(command: str, folder: Path) -> None:
    process = await asyncio.create_subprocess_shell(command, cwd=folder)
    assert await process.wait() == 0
