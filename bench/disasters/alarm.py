"""Calls on a machine whose cores are all busy: nobody is taken for dead who is only slow."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.disasters import ledger
from bench.disasters.scene import Options, Row, none_of, spread
from bench.disasters.talking import Ground, caller_number, ground, kept, now, waits
from bench.figures import Spread
from bench.stack import BenchFailed

MINUTES, QUICK_MINUTES, AT_ONCE = 120.0, 2.0, 4
TURNS = 8
# The busy processes end by themselves, should nobody do it.
SPARE_S = 60.0
BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@dataclass(slots=True)
class Case:
    """One call: how many agents it had, and why it lost one, if it did."""

    call_id: str | None = None
    attempts: int = 0
    lost: tuple[str, ...] = ()
    reason: str | None = None
    waits: tuple[float | None, ...] = ()
    fault: str = ""

    def as_json(self) -> Mapping[str, Any]:
        return {"scenario": "alarm"} | {name: getattr(self, name) for name in self.__slots__}


async def run(options: Options) -> list[Row]:
    """So many calls at any time until the minutes are over."""
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    cases: list[Case] = []
    async with options.stack() as found, ground(found, options) as place, _busy(minutes * 60 + SPARE_S):
        end = now() + minutes * 60

        async def one_after_another(at: int) -> None:
            await asyncio.sleep(at)
            while now() < end:
                cases.append(await _call(options, place))

        async with asyncio.TaskGroup() as tasks:
            for at in range(options.at_once or AT_ONCE):
                tasks.create_task(one_after_another(at), name=f"caller {at}")
    options.cases.extend(case.as_json() for case in cases)
    return _rows(cases, minutes)


@contextlib.asynccontextmanager
async def _busy(seconds: float) -> AsyncIterator[None]:
    """A process for each core that does nothing else."""
    command = (sys.executable, "-c", BUSY, str(seconds))
    made = [await asyncio.create_subprocess_exec(*command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in made:
            with contextlib.suppress(ProcessLookupError):
                one.kill()
            await one.wait()


async def _call(options: Options, place: Ground) -> Case:
    try:
        talking = await place.greeted(caller_number())
    except BenchFailed as failed:
        return Case(fault=str(failed))
    case = Case(talking.call.call_id)
    try:
        for _ in range(TURNS):
            await talking.turn(place.words.sentence())
    finally:
        await talking.call.hang_up()
    case.waits = tuple(waits(await kept(options, talking), talking.said))
    entry = await ledger.ended(place.found.stack, case.call_id)
    if entry is not None:
        case.attempts, case.reason = entry.attempts, entry.reason
        case.lost = tuple(str(one["reason"]) for one in entry.bodies("agent_lost"))
    return case


def _rows(cases: list[Case], minutes: float) -> list[Row]:
    heard = [wait for one in cases for wait in one.waits]
    found = Spread.of(heard)
    calls = f" of {len(cases)} calls"
    return [
        none_of(f"{minutes:g} min with all cores busy: agents lost", sum(len(one.lost) for one in cases), calls),
        none_of("  calls that had more than one agent", sum(one.attempts > 1 for one in cases), calls),
        none_of("  calls that were not answered", sum(bool(one.fault) for one in cases), calls),
        none_of("  calls not ended by the caller", sum(one.reason != "caller_hung_up" for one in cases), calls),
        Row("  turns without a reply", f"{heard.count(None)} of {len(heard)}", "", met=True),
        Row("  voice to voice", spread(found) if found else "none", "", met=True),
    ]
