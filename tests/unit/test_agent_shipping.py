"""Shipping goes on whatever is wrong with one file, and waits for what all of them need."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

import av
import pytest
from structlog.testing import capture_logs

from agent import shipping, spool
from agent.shipping import Shipping
from agent.spool import Head, Writer
from switchboard import stream
from switchboard.fact import Fact
from switchboard.recording_store import StoreAway
from switchboard.recordings import RATE, Piece

SECOND = bytes(RATE * 4)


class Store:
    """Keeps pieces, but for those of the recordings it was given a fault for."""

    def __init__(self) -> None:
        self.faults: dict[UUID, Exception] = {}
        self.kept: asyncio.Queue[UUID] = asyncio.Queue()

    async def put(self, piece: Piece, sound: bytes) -> int:
        if piece.recording in self.faults:
            raise self.faults[piece.recording]
        self.kept.put_nowait(piece.recording)
        return len(sound)

    def all(self) -> set[UUID]:
        return {self.kept.get_nowait() for _ in range(self.kept.qsize())}


class Trial:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store()
        self.shipping = Shipping(home, self.store, None)  # type: ignore[arg-type]

    def waits(self) -> UUID:
        """A new file; its recording."""
        head = Head(recording=uuid4(), call_id=uuid4(), conversation_id="c", start_us=1)
        writer = Writer(self.home, head)
        writer.write(0, SECOND)
        writer.close()
        return head.recording

    def left(self) -> set[str]:
        return {one.path.name[:36] for one in spool.waiting(self.home)}


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    async def add(_redis: object, _facts: Sequence[Fact]) -> None:
        return

    monkeypatch.setattr(stream, "add", add)
    return Trial(tmp_path)


@pytest.mark.parametrize("fault", [av.FFmpegError(1, "no"), ValueError("no"), PermissionError(13, "no"), KeyError()])
async def test_a_file_that_cannot_be_shipped_keeps_no_other_one_and_is_told_once(
    trial: Trial, fault: Exception
) -> None:
    bad = trial.waits()
    good = {trial.waits() for _ in range(2)}
    trial.store.faults[bad] = fault
    with capture_logs() as logs:
        for _sweep in range(2):
            await trial.shipping.sweep()
    assert trial.store.all() == good and trial.left() == {str(bad)}
    assert [one["event"] for one in logs] == ["recording_not_shipped"]
    del trial.store.faults[bad]
    await trial.shipping.sweep()
    assert trial.left() == set()


async def test_a_file_that_cannot_be_read_keeps_no_other_one(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = trial.waits(), trial.waits()
    opened = Path.open

    def refused(path: Path, mode: str) -> object:
        if path.name.startswith(str(bad)):
            raise PermissionError(13, "no", str(path))
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", refused)
    await trial.shipping.sweep()
    assert trial.store.all() == {good}


async def test_with_the_store_away_all_wait(trial: Trial) -> None:
    ids = {trial.waits() for _ in range(3)}
    trial.store.faults = dict.fromkeys(ids, StoreAway("away"))
    with pytest.raises(StoreAway):
        await trial.shipping.sweep()
    assert trial.left() == {str(one) for one in ids}


async def test_a_fault_that_nobody_foresaw_ends_no_shipping(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SWEEP_S", 0.0)
    monkeypatch.setattr(shipping, "LONGEST_PAUSE_S", 0.0)
    sweep, faults = trial.shipping.sweep, iter([RuntimeError("no"), OSError(5, "no"), StoreAway("no")])

    async def faulty() -> None:
        for fault in faults:
            raise fault
        await sweep()

    monkeypatch.setattr(trial.shipping, "sweep", faulty)
    recording = trial.waits()
    running = asyncio.create_task(trial.shipping._run())
    try:
        assert await asyncio.wait_for(trial.store.kept.get(), 5.0) == recording
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_another_reason_for_waiting_is_told_too(trial: Trial) -> None:
    with capture_logs() as logs:
        for why in ("no such bucket", "no such bucket", "access denied"):
            trial.shipping._waits(StoreAway(why))
    assert [one["error"] for one in logs] == ["no such bucket", "access denied"]
