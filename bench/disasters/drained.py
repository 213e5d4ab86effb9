"""SIGTERM of a worker with calls: none is cut, and new calls go to the other worker."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.disasters import ledger
from bench.disasters.jobs import READY_S, Worker, first_worker, ready, second_worker
from bench.disasters.scene import Options, Row, all_of, none_of
from bench.disasters.talking import Ground, Talking, caller_number, ground, kept, waits
from bench.talk import Talk

CALLS, QUICK_CALLS = 5, 2
NEW, QUICK_NEW = 3, 1
TURNS, QUICK_TURNS = 3, 0


@dataclass(slots=True)
class Case:
    """One call: one that ran when the worker was told to end, or a new one."""

    new: bool
    call_id: str | None = None
    by: str = ""
    cut: bool = False
    missed: int = 0
    turns: int = 0
    attempts: int = 0
    reason: str | None = None

    @property
    def whole(self) -> bool:
        """Served by one agent until the caller hung up."""
        return not self.cut and self.attempts == 1 and self.reason == "caller_hung_up"

    def as_json(self) -> Mapping[str, Any]:
        return (
            {"scenario": "drained"} | {name: getattr(self, name) for name in self.__slots__} | {"whole": self.whole}
        )


async def run(options: Options) -> list[Row]:
    """Calls of one worker, which is then told to end; new calls; turns in all of them."""
    count, new = options.count(CALLS, QUICK_CALLS), QUICK_NEW if options.quick else NEW
    async with options.stack() as found, ground(found, options) as place, AsyncExitStack() as owned:
        first = first_worker(found.stack)
        await ready(first)
        running = list(await asyncio.gather(*(place.greeted(caller_number()) for _ in range(count))))
        # A call in which nobody speaks is ended: these go on meanwhile.
        talking = await owned.enter_async_context(Talking.of(place, running))
        second = await owned.enter_async_context(second_worker(found.stack))
        before = first.pid
        os.kill(before, signal.SIGTERM)
        await asyncio.sleep(1.0)
        fresh = list(await asyncio.gather(*(place.greeted(caller_number()) for _ in range(new))))
        cases = [Case(False, one.call.call_id) for one in running] + [Case(True, one.call.call_id) for one in fresh]
        await _where(cases, first, second)
        await asyncio.gather(*(_talk(place, one, QUICK_TURNS if options.quick else TURNS) for one in fresh))
        await talking.stop()
        await asyncio.gather(*(_end(options, place, *one) for one in zip(cases, (*running, *fresh), strict=True)))
        await asyncio.to_thread(found.stack.until_part, "agent", other_than=before, limit_s=READY_S)
    options.cases.extend(case.as_json() for case in cases)
    old, others = [one for one in cases if not one.new], [one for one in cases if one.new]
    return [
        none_of(f"SIGTERM of a worker with {len(old)} calls: cut", sum(not one.whole for one in old)),
        all_of("  new calls served by the other worker", (one.whole and one.by == "second" for one in others)),
        none_of("  turns without a reply", sum(one.missed for one in cases), f" of {sum(c.turns for c in cases)}"),
    ]


async def _where(cases: list[Case], first: Worker, second: Worker) -> None:
    by = {job.call_id: name for name, one in (("first", first), ("second", second)) for job in await one.jobs()}
    for case in cases:
        case.by = by.get(case.call_id or "", "nobody")


async def _talk(place: Ground, talking: Talk, turns: int) -> None:
    for _ in range(turns):
        await talking.turn(place.words.sentence())


async def _end(options: Options, place: Ground, case: Case, talking: Talk) -> None:
    case.cut = talking.call.ended.done()
    await talking.call.hang_up()
    spoken = waits(await kept(options, talking), talking.said)
    case.turns, case.missed = len(spoken), spoken.count(None)
    entry = await ledger.ended(place.found.stack, case.call_id)
    if entry is not None:
        case.attempts, case.reason = entry.attempts, entry.reason
