"""A recording that runs, without a call: what it hears is a test's, and what it keeps is read from its files."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np

from agent import spool
from agent.recall import Past
from agent.recording import _Running
from switchboard import fact
from switchboard.fact import Fact, Pauser, Source
from switchboard.recordings import RATE

SAMPLES = RATE // 10
LOUD = np.full(SAMPLES, 5_000, "<i2").tobytes()


class Report:
    """What a recording needs of the real one. The call began ten seconds ago."""

    def __init__(self, attempt: int) -> None:
        self.began = datetime.now(UTC) - timedelta(seconds=10)
        self.zero = time.monotonic() - 10
        self.call_id: UUID = uuid4()
        self.conversation_id = "c"
        self.attempt = attempt
        self.told: list[fact.Body] = []

    def add(self, body: fact.Body) -> None:
        self.told.append(body)

    @property
    def kinds(self) -> list[str]:
        return [f"{type(one).__name__} {getattr(one, 'by', getattr(one, 'why', ''))}".strip() for one in self.told]

    def fact(self, body: fact.Body) -> Fact:
        return Fact(conversation_id="c", call_id=self.call_id, source=Source.AGENT, body=body)


class Ears:
    """What a recording needs of the real hearing; all times are of `time.monotonic`."""

    def __init__(self) -> None:
        self.unread_since: float | None = None
        self.digits_since: float | None = None
        self.cards = self

    def dictating(self, _at: float | None = None) -> float | None:
        return self.digits_since

    @property
    def undecided_since(self) -> float | None:
        return min((one for one in (self.unread_since, self.digits_since) if one is not None), default=None)


class Trial:
    """One recording, of an agent that comes after others when `attempt` is more than 1."""

    def __init__(self, home: Path, paused_by: Iterable[Pauser] = (), *, attempt: int = 1, whole: bool = True) -> None:
        self.home = home
        self.report = Report(attempt)
        self.ears = Ears()
        facts = [self.report.fact(fact.RecordingPaused(by=by, offset_s=1.0)) for by in paused_by]
        past = Past(tuple(facts), whole=whole)
        self.running = _Running(home, self.report, past, self.ears)  # type: ignore[arg-type]

    async def hears(self, seconds: float) -> None:
        """As long as it takes to hear it."""
        due = time.monotonic()
        for _step in range(round(seconds * 10)):
            due += 0.1
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self.running.heard(LOUD)

    async def kept(self, *, over: bool = True) -> list[bool]:
        """Whether there is sound in each tenth of a second, once it has ended."""
        await self.running.end(over=over)
        found: list[bool] = []
        for file in spool.waiting(self.home):
            with spool.claimed(file.path) as piece:
                assert piece is not None
                left = np.frombuffer(piece.sound, "<i2")[0::2]
                found += [bool(left[at : at + SAMPLES].any()) for at in range(0, len(left), SAMPLES)]
        return found
