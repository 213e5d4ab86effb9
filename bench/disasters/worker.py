"""kill -9 of a whole worker with calls: with a second worker running, and with none, restarted by the supervisor."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.disasters import ear, ledger
from bench.disasters.jobs import READY_S, Worker, first_worker, ready, second_worker
from bench.disasters.scene import Options, Row, all_of, within
from bench.disasters.talking import ASK, Ground, Talking, again, caller_number, ground, insist, kept, now, since_start
from bench.stack import BenchFailed, Measured
from bench.talk import Talk
from local.phone.caller import CallFailed

CALLS, QUICK_CALLS = 5, 2
AGAIN_P95_S = 6.0
# A call goes to either worker: so often another is dialed until enough are where they shall be.
MOST_DIALS = 60


@dataclass(frozen=True, slots=True)
class Variant:
    """Which worker is killed and how. The supervisor ends what its own worker leaves behind, a bare one's job
    processes have to find out by themselves; `tree`: all of them at once, as a machine that runs out of memory."""

    name: str
    tree: bool
    another: bool
    bare: bool = False


TREE_OF_TWO = Variant("all of it at once, another one running", tree=True, another=True)
ONLY_ONE = Variant("the only one, restarted by the supervisor", tree=False, another=False)
MAIN_OF_TWO = Variant("its main process alone, another one running", tree=False, another=True, bare=True)


@dataclass(slots=True)
class Case:
    """One call of a worker that was killed."""

    variant: str
    code: str
    call_id: str | None = None
    at: float = 0.0
    again_s: float | None = None
    answer: str = ""
    resumed: int = 0
    attempts: int = 0

    @property
    def good(self) -> bool:
        return self.again_s is not None and self.resumed >= 1

    @property
    def remembered(self) -> bool:
        return self.code in ledger.digits(self.answer)

    def as_json(self) -> Mapping[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        return {"scenario": "worker"} | found | {"good": self.good, "remembered": self.remembered}


async def run(options: Options) -> list[Row]:
    """Each variant with calls of its own."""
    rows: list[Row] = []
    count = options.count(CALLS, QUICK_CALLS)
    variants = (ONLY_ONE,) if options.quick else (TREE_OF_TWO, ONLY_ONE, MAIN_OF_TWO)
    async with options.stack() as found:
        for variant in variants:
            rows += await _variant(options, found, count, variant)
    return rows


async def _variant(options: Options, found: Measured, count: int, variant: Variant) -> list[Row]:
    """Calls of one worker, which is then killed."""
    async with AsyncExitStack() as owned:
        place = await owned.enter_async_context(ground(found, options, codes=count))
        first = worker = first_worker(found.stack)
        await ready(first)
        if variant.bare:
            worker = await owned.enter_async_context(second_worker(found.stack))
        cases = [Case(variant.name, code) for code in place.words.codes]
        talks = list(await asyncio.gather(*(_told(place, worker, case) for case in cases)))
        if variant.another and not variant.bare:
            async with Talking.of(place, talks):
                # Started when the calls are there, so that all of them are the other's.
                await owned.enter_async_context(second_worker(found.stack))
        before = first.pid
        at = _kill(worker, variant)
        await asyncio.gather(*(_after(options, place, *one, at) for one in zip(talks, cases, strict=True)))
        if not variant.bare:
            # Before the other one ends: the next variant begins with a worker.
            await asyncio.to_thread(found.stack.until_part, "agent", other_than=before, limit_s=READY_S)
    options.cases.extend(case.as_json() for case in cases)
    return [
        all_of(f"kill -9 of a worker ({variant.name}): resumed", (case.good for case in cases)),
        within("  from the kill until heard again", (case.again_s for case in cases), AGAIN_P95_S),
        all_of("  it repeats the code given before", (case.remembered for case in cases)),
    ]


async def _told(place: Ground, worker: Worker, case: Case) -> Talk:
    """A call of this worker, in which the caller has given the code."""
    for _ in range(MOST_DIALS):
        try:
            talking = await place.dial(caller_number())
        except CallFailed as failed:
            raise BenchFailed(str(failed)) from None
        if any(job.call_id == talking.call.call_id for job in await worker.jobs()):
            break
        await talking.call.hang_up()
    else:
        raise BenchFailed(f"of {MOST_DIALS} calls none went to the worker that is to be killed.")
    case.call_id = talking.call.call_id
    await again(talking, 0.0)
    await insist(talking, place.words.codes[case.code])
    return talking


def _kill(worker: Worker, variant: Variant) -> float:
    at = now()
    for pid in worker.tree() if variant.tree else [worker.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return at


async def _after(options: Options, place: Ground, talking: Talk, case: Case, at: float) -> None:
    case.at = since_start(talking, at)
    try:
        if await again(talking, at + ear.TAIL_S):
            await insist(talking, place.words.ask)
    finally:
        await talking.call.hang_up()
        stereo = await kept(options, talking)
        case.again_s = ear.heard_again(stereo[:, 1], case.at)
    entry = await ledger.ended(place.found.stack, case.call_id)
    if entry is not None:
        case.answer, case.attempts = entry.answer_to(ASK), entry.attempts
        case.resumed = entry.count("call_resumed")
