"""SIGSTOP of the process of a call, then SIGCONT: a short stop is sat out, a longer one is a loss, and two agents
are never heard together. Every process speaks in a tone of its own, so that the recording shows who was heard."""

import asyncio
import os
import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.disasters import ear, ledger
from bench.disasters.jobs import Job, Worker, first_worker
from bench.disasters.scene import Options, Row, all_of, none_of, within
from bench.disasters.talking import Ground, again, caller_number, ground, insist, kept, many, since_start
from bench.stack import BenchFailed
from bench.talk import Talk
from local.models.tones import FREQUENCIES

CALLS, QUICK_CALLS, AT_ONCE = 20, 1, 4
STOPS_S, QUICK_STOPS_S = (1.0, 5.0, 30.0), (1.0, 5.0)
# An agent that was stopped no longer than this goes on.
SAT_OUT_S = 1.0
# After SIGCONT: long enough for a dead agent to come back and talk over the other, as it would without a fence.
AFTERWARDS_S = 4.0
AGAIN_P95_S = 5.0


@dataclass(slots=True)
class Case:
    """One call whose process was stopped for `stopped_s`, while its agent was in `phase`."""

    stopped_s: float
    phase: str
    call_id: str | None = None
    at: float = 0.0
    again_s: float | None = None
    attempts: int = 0
    lost: Sequence[str] = ()
    heard: list[int] = field(default_factory=list)
    together: int = 0
    answered: bool = False
    fault: str = ""

    @property
    def goes_on(self) -> bool:
        """As it should: the same agent after a short stop, another one after a longer."""
        if self.fault or not self.answered:
            return False
        return self.attempts == 1 if self.stopped_s <= SAT_OUT_S else self.attempts == 2

    @property
    def came_back(self) -> bool:
        """An agent is heard again after another one was."""
        return len(self.heard) != len(set(self.heard))

    def as_json(self) -> Mapping[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        return {"scenario": "stopped"} | found | {"goes_on": self.goes_on, "came_back": self.came_back}


async def run(options: Options) -> list[Row]:
    """The stops one length after another."""
    rows: list[Row] = []
    async with options.stack() as found, ground(found, options, tones=True) as place:
        if options.quick:
            for found_rows in await asyncio.gather(*(stops(options, place, one) for one in QUICK_STOPS_S)):
                rows += found_rows
            return rows
        for seconds in STOPS_S:
            rows += await stops(options, place, seconds)
    return rows


async def stops(options: Options, place: Ground, seconds: float) -> list[Row]:
    """Calls whose processes are stopped for so long."""
    count = options.count(CALLS, QUICK_CALLS)
    cases = [Case(seconds, ("agent speaks", "idle")[at % 2]) for at in range(count)]
    worker = first_worker(place.found.stack)

    async def one(at: int) -> None:
        try:
            await _Stopped(options, place, worker, cases[at]).run()
        except BenchFailed as failed:
            cases[at].fault = str(failed)

    await many(count, options.at_once or AT_ONCE, one)
    options.cases.extend(case.as_json() for case in cases)
    what = "the same agent goes on" if seconds <= SAT_OUT_S else "replaced once, and the new one answers"
    rows = [
        all_of(f"stopped for {seconds:g} s: {what}", (case.goes_on for case in cases)),
        none_of("  100 ms in which two agents are audible", sum(case.together for case in cases)),
        none_of("  calls in which an agent is heard again after its successor", sum(c.came_back for c in cases)),
    ]
    if seconds > SAT_OUT_S:
        rows.insert(1, within("  from the stop until heard again", (c.again_s for c in cases), AGAIN_P95_S))
    return rows


@dataclass(frozen=True, slots=True)
class _Stopped:
    """One call."""

    options: Options
    place: Ground
    worker: Worker
    case: Case

    async def run(self) -> None:
        talking = await self.place.greeted(caller_number())
        self.case.call_id = talking.call.call_id
        try:
            await self._stop(talking)
        finally:
            await talking.call.hang_up()
            self._listen(await kept(self.options, talking))
        entry = await ledger.ended(self.place.found.stack, self.case.call_id)
        if entry is not None:
            self.case.attempts = entry.attempts
            self.case.lost = [str(one["reason"]) for one in entry.bodies("agent_lost")]

    async def _stop(self, talking: Talk) -> None:
        if self.case.phase == "agent speaks":
            if not await talking.reply_begins(await talking.say(self.place.words.sentence())):
                raise BenchFailed("no reply to stop in the middle of")
            await asyncio.sleep(random.uniform(0.3, 1.5))
        job = await self.worker.job(talking.call.call_id)
        at = self.worker.signal(job.pid, signal.SIGSTOP)
        self.case.at = since_start(talking, at)
        going = asyncio.create_task(_continue(job, self.case.stopped_s), name="continue")
        try:
            await self._afterwards(talking, at)
        finally:
            await going

    async def _afterwards(self, talking: Talk, at: float) -> None:
        """Hears a successor, or the same agent to its end, until well after the stopped one might be back."""
        stopped = self.case.stopped_s
        if stopped <= SAT_OUT_S:
            # It goes on where it was stopped: heard to its end first.
            await asyncio.sleep(stopped + ear.TAIL_S)
            await talking.reply_ends()
        elif not await again(talking, at + ear.TAIL_S):
            raise BenchFailed("silence after the stop")
        over = at + stopped + AFTERWARDS_S
        loop = asyncio.get_running_loop()
        while loop.time() < over:
            await talking.turn(self.place.words.sentence())
        # After a stop the media stack hurries to catch up, and the scripted ear does not know sound so pressed.
        self.case.answered = await insist(talking, self.place.words.sentence())

    def _listen(self, stereo: Any) -> None:
        agent = stereo[:, 1]
        heard = ear.tones(agent, FREQUENCIES)
        self.case.together, self.case.heard = ear.together(heard), ear.order(heard)
        if self.case.stopped_s > SAT_OUT_S:
            self.case.again_s = ear.heard_again(agent, self.case.at)


async def _continue(job: Job, after_s: float) -> None:
    """SIGCONT after so long, if it is still the same process."""
    began = _began(job.pid)
    await asyncio.sleep(after_s)
    if began is not None and _began(job.pid) == began:
        os.kill(job.pid, signal.SIGCONT)


def _began(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
