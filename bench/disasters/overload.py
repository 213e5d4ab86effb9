"""Twice the calls offered that fit, all at once: those that fit are served as before, the others hear busy soon."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.disasters import ledger
from bench.disasters.jobs import first_worker
from bench.disasters.scene import Options, Row, none_of, share, spread
from bench.disasters.talking import Ground, caller_number, ground, kept, waits
from bench.figures import Spread
from bench.talk import GREETING_LIMIT_S, LONGEST_REPLY_S, OVER_S, Talk
from local.phone.caller import CallFailed

TURNS = 3
BUSY = 486
# Until calls that were made before are over.
FREE_LIMIT_S = 30.0
BUSY_WITHIN_S = 2.0
WAIT_WORST_S = 1.6


@dataclass(slots=True)
class Case:
    """One call that was offered: refused with `status` after `took_s`, or answered after it and talked with."""

    status: int
    took_s: float
    greeted: bool = False
    waits: tuple[float | None, ...] = ()
    call_id: str | None = None
    reason: str | None = None
    # What is on record of a call in which a turn had no reply.
    lines: Sequence[Mapping[str, Any]] = ()

    @property
    def answered(self) -> bool:
        return self.status == 200

    @property
    def served(self) -> bool:
        return self.greeted and any(self.waits) and self.reason == "caller_hung_up"

    def as_json(self) -> Mapping[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        return {"scenario": "overload"} | found | {"served": self.served}


async def run(options: Options) -> list[Row]:
    """All INVITEs at once."""
    async with options.stack() as found, ground(found, options) as place:
        fit = await _fit(first_worker(found.stack).port)
        offered = options.calls or 2 * fit
        cases = await asyncio.gather(*(_offered(options, place, at) for at in range(offered)))
    options.cases.extend(case.as_json() for case in cases)
    return _rows(list(cases), fit)


async def _fit(port: int) -> int:
    """How many calls the worker takes, as it says itself once it has none."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(FREE_LIMIT_S):
        while True:
            async with http.get(f"http://127.0.0.1:{port}/health") as answer:
                found = await answer.json()
            if not found["calls"]:
                return int(found["most"])
            await asyncio.sleep(0.1)


async def _offered(options: Options, place: Ground, at: int) -> Case:
    began = time.monotonic()
    try:
        talking = await place.dial(caller_number())
    except CallFailed as refused:
        return Case(refused.status, time.monotonic() - began)
    case = Case(200, talking.call.answered_s, call_id=talking.call.call_id)
    try:
        await _talk(place, talking, case, at)
    finally:
        await talking.call.hang_up()
    case.waits = tuple(waits(await kept(options, talking), talking.said))
    entry = await ledger.ended(place.found.stack, case.call_id)
    case.reason = entry.reason if entry else None
    if entry and None in case.waits:
        case.lines = entry.lines
    return case


async def _talk(place: Ground, talking: Talk, case: Case, at: int) -> None:
    case.greeted = await talking.call.wait_speech(GREETING_LIMIT_S)
    await talking.call.wait_silence(LONGEST_REPLY_S, lasting=OVER_S)
    for turn in range(TURNS):
        sentences = place.words.sentences
        await talking.turn(sentences[(at + turn) % len(sentences)])


def _rows(cases: list[Case], fit: int) -> list[Row]:
    answered, others = [one for one in cases if one.answered], [one for one in cases if not one.answered]
    served = sum(one.served for one in cases)
    heard = [wait for one in answered for wait in one.waits]
    found, refused = Spread.of(heard), Spread.of(one.took_s for one in others)
    worst = bool(found and found.worst <= WAIT_WORST_S)
    after = f" (after {spread(refused)})" if refused else ""
    soon = [one.status == BUSY and one.took_s <= BUSY_WITHIN_S for one in others]
    return [
        Row(f"{len(cases)} calls at once where {fit} fit: served", str(served), str(fit), served == fit),
        Row("  their voice to voice", spread(found) if found else "none", f"worst ≤ {WAIT_WORST_S:g} s", worst),
        none_of("  their turns without a reply", heard.count(None), f" of {len(heard)}"),
        Row(
            "  the others hear busy",
            f"{share(sum(soon), len(soon))}{after}",
            f"≤ {BUSY_WITHIN_S:g} s",
            bool(soon) and all(soon),
        ),
        none_of("  lost or silent calls", sum(not one.served and one.status != BUSY for one in cases)),
    ]
