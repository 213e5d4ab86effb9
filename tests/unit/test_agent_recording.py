"""A recording that runs: who pauses it, what is made silent, what is on disk at its end."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from agent import spool
from agent.recording import _Running
from switchboard import fact
from switchboard.fact import Pauser
from switchboard.recordings import RATE, Wanted

SAMPLES = RATE // 10
LOUD = np.full(SAMPLES, 5_000, "<i2").tobytes()


class Report:
    """What a recording needs of the real one. The call began ten seconds ago."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC) - timedelta(seconds=10)
        self.call_id: UUID = uuid4()
        self.conversation_id = "c"
        self.attempt = 1
        self.told: list[fact.Body] = []

    def add(self, body: fact.Body) -> None:
        self.told.append(body)

    @property
    def kinds(self) -> list[str]:
        return [f"{type(one).__name__} {getattr(one, 'by', getattr(one, 'why', ''))}".strip() for one in self.told]


class Trial:
    def __init__(self, home: Path, paused_by: frozenset[Pauser] = frozenset()) -> None:
        self.home = home
        self.report = Report()
        self.dictating: Callable[[], float | None] = lambda: None
        self.running = _Running(home, self.report, paused_by, lambda: self.dictating())  # type: ignore[arg-type]

    async def hears(self, seconds: float) -> None:
        """As long as it takes to hear it."""
        due = time.monotonic()
        for _step in range(round(seconds * 10)):
            due += 0.1
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self.running.heard(LOUD)

    async def kept(self, *, unread_since: float | None = None, over: bool = True) -> list[bool]:
        """Whether there is sound in each tenth of a second, once it has ended."""
        await self.running.end(unread_since=unread_since, over=over)
        found: list[bool] = []
        for path in spool.waiting(self.home):
            with spool.claimed(path) as piece:
                assert piece is not None
                left = np.frombuffer(piece.sound, "<i2")[0::2]
                found += [bool(left[at : at + SAMPLES].any()) for at in range(0, len(left), SAMPLES)]
        return found


@pytest.fixture
async def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


async def test_all_that_was_heard_is_on_disk_at_the_end(trial: Trial) -> None:
    await trial.hears(0.6)
    kept = await trial.kept()
    assert sum(kept) >= 5
    assert trial.report.kinds == ["RecordingEnded"]


async def test_the_part_of_an_agent_that_gives_way_is_no_end(trial: Trial) -> None:
    await trial.hears(0.3)
    assert any(await trial.kept(over=False))
    assert trial.report.kinds == []


async def test_two_who_pause_have_both_to_resume_but_an_operator_takes_the_ais_pause_back(trial: Trial) -> None:
    running = trial.running
    running.pause("ai")
    running.pause("operator")
    running.pause("operator")
    running.resume("ai")
    assert running.held_by("operator")
    running.pause("ai")
    running.resume("operator")
    assert not running.held_by("operator") and not running.held_by("ai")
    running.resume("ai")
    paused, resumed = "RecordingPaused", "RecordingResumed"
    assert trial.report.kinds == [
        *(f"{paused} ai", f"{paused} operator", f"{resumed} ai", f"{paused} ai"),
        *(f"{resumed} ai", f"{resumed} operator"),
    ]
    await trial.hears(0.4)
    assert sum(await trial.kept()) >= 3


async def test_a_pause_counts_from_when_it_was_asked_for(trial: Trial) -> None:
    await trial.hears(0.3)
    asked = time.time()
    await trial.hears(0.5)
    trial.running._wanted(Wanted(paused=True, at=asked).model_dump_json(), first=True)
    await trial.hears(0.3)
    assert 2 <= sum(await trial.kept()) <= 5
    [told] = [one for one in trial.report.told if isinstance(one, fact.RecordingPaused)]
    assert told.offset_s == pytest.approx(asked - trial.report.began.timestamp(), abs=0.05)


@pytest.mark.parametrize("text", ["", "nonsense", '{"paused": 7, "at": "x"}', '{"paused": true}'])
async def test_a_wish_that_cannot_be_read_changes_nothing(trial: Trial, text: str) -> None:
    trial.running._wanted(text, first=True)
    await trial.hears(0.3)
    assert any(await trial.kept()) and trial.report.kinds == ["RecordingEnded"]


async def test_what_was_resumed_before_an_agent_came_leaves_the_ais_pause(tmp_path: Path) -> None:
    trial = Trial(tmp_path, frozenset({"ai"}))
    trial.running._wanted(Wanted(paused=False, at=time.time()).model_dump_json(), first=True)
    await trial.hears(0.3)
    assert trial.running.held_by("ai")
    assert not any(await trial.kept())


async def test_keys_are_one_silence_around_them(trial: Trial) -> None:
    await trial.hears(0.3)
    trial.running.key()
    await trial.hears(0.2)
    trial.running.key()
    await trial.hears(0.2)
    assert not any(await trial.kept())
    assert trial.report.kinds == ["RecordingRedacted keys", "RecordingEnded"]


@pytest.mark.parametrize(
    ("unread_s", "dictating", "hidden"),
    [(1.0, False, False), (4.0, False, True), (0.2, True, True), (None, True, False)],
)
async def test_what_may_be_a_card_number_when_the_call_ends_is_not_kept(
    trial: Trial, unread_s: float | None, dictating: bool, hidden: bool
) -> None:
    await trial.hears(0.4)
    now = time.time()
    if dictating:
        trial.dictating = lambda: now - 2.0
    kept = await trial.kept(unread_since=None if unread_s is None else now - unread_s)
    redacted = [one for one in trial.report.told if isinstance(one, fact.RecordingRedacted)]
    assert (not any(kept), bool(redacted)) == (hidden, hidden)


async def test_digits_that_are_being_said_wait(trial: Trial) -> None:
    now = time.time()
    trial.dictating = lambda: now - 30.0
    assert trial.running._old_enough() == pytest.approx(trial.running._now() - 30.5, abs=0.1)
    trial.dictating = lambda: None
    assert trial.running._old_enough() == pytest.approx(trial.running._now() - 15.0, abs=0.1)
    await trial.kept()


async def test_a_disk_that_takes_nothing_is_told_once(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LEFT_FREE", 2**62)
    await trial.hears(0.3)
    await trial.running._write(trial.running._now())
    await trial.hears(0.3)
    assert await trial.kept() == []
    assert trial.report.kinds == ["RecordingIncomplete", "RecordingEnded"]
