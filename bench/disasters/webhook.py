"""The webhook service killed and kept down, and webhooks that do not arrive: running calls go on, and every caller
who rings meanwhile has an agent soon after it is back."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.disasters import ledger
from bench.disasters.doored import doored
from bench.disasters.scene import Options, Row, all_of, none_of, within
from bench.disasters.talking import Ground, Talking, caller_number, ground, kept, now, waits
from bench.door import Door
from bench.stack import BenchFailed, Measured
from bench.talk import GREETING_LIMIT_S, Talk
from local import probe
from local.phone.caller import CallFailed
from tests.e2e.stack import LocalStack

AWAY_S, QUICK_AWAY_S = 60.0, 5.0
RUNNING, QUICK_RUNNING = 2, 1
# Six new ones beside the running two: a ninth would be one too many for two cores, and hear busy.
NEW_EVERY_S, QUICK_NEW_EVERY_S = 10.0, 2.0
AGENT_WITHIN_S = 10.0
# So long a caller waits who does not give up; the line has to let it ring.
PATIENT_S = 150.0
BACK_LIMIT_S = 60.0


@dataclass(slots=True)
class Case:
    """A caller who rang while the service was away: `after_s` it was back, the phone was answered."""

    outage: str
    rang_at: float
    after_s: float | None = None
    greeted: bool = False
    call_id: str | None = None
    attempts: int = 0

    def as_json(self) -> Mapping[str, Any]:
        return {"scenario": "webhook"} | {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Outage:
    """What takes the service away while `away` is entered. `back` is the time (monotonic) of its return."""

    name: str
    door: Door | None
    back: float = 0.0

    @contextlib.asynccontextmanager
    async def away(self, stack: LocalStack) -> AsyncIterator[None]:
        if self.door is not None:
            await asyncio.to_thread(self.door.set, "gone")
            try:
                yield
            finally:
                await asyncio.to_thread(self.door.set, "open")
                self.back = now()
            return
        killing = asyncio.create_task(_keep_down(stack), name="keep down")
        try:
            yield
        finally:
            killing.cancel()
            await asyncio.wait([killing])
        await _is_back(stack)
        self.back = now()


async def run(options: Options) -> list[Row]:
    """Killed first, then with a door before it that is shut."""
    rows: list[Row] = []
    async with _stack(options) as (found, door), ground(found, options) as place:
        outages = [Outage("webhook service killed", None)]
        if door is not None:
            outages.append(Outage("webhooks dropped", door))
        for outage in outages:
            rows += await _outage(options, place, outage)
    return rows


@contextlib.asynccontextmanager
async def _stack(options: Options) -> AsyncIterator[tuple[Measured, Door | None]]:
    if options.running is not None:
        yield options.running, options.door
        return
    with tempfile.TemporaryDirectory(prefix="switchboard-chaos-") as folder:
        # Starting it waits for a process: in a thread, so that other work of the loop goes on.
        owner = doored(Path(folder))
        server = await asyncio.to_thread(owner.__enter__)
        try:
            async with options.stack(**server.settings, SIP_RINGING_TIMEOUT_S=f"{PATIENT_S:g}") as found:
                server.leads_to(found.stack)
                yield found, server.door
        finally:
            await asyncio.to_thread(owner.__exit__, None, None, None)


async def _outage(options: Options, place: Ground, outage: Outage) -> list[Row]:
    stack = place.found.stack
    seconds = QUICK_AWAY_S if options.quick else AWAY_S
    calls = QUICK_RUNNING if options.quick else RUNNING
    every = QUICK_NEW_EVERY_S if options.quick else NEW_EVERY_S
    running = list(await asyncio.gather(*(place.greeted(caller_number()) for _ in range(calls))))
    cases = [Case(outage.name, 0.0) for _ in range(max(1, int(seconds / every)))]
    async with Talking.of(place, running) as talking, asyncio.TaskGroup() as tasks:
        async with outage.away(stack):
            began = now()
            new = [tasks.create_task(_ring(place, case, at * every)) for at, case in enumerate(cases)]
            await asyncio.sleep(began + seconds - now())
        await asyncio.wait(new)
        await talking.stop()
    for case in cases:
        if case.after_s is not None:
            case.after_s = max(0.0, case.after_s - max(outage.back, case.rang_at))
        entry = await ledger.ended(stack, case.call_id) if case.call_id else None
        case.attempts = entry.attempts if entry else 0
    options.cases.extend(case.as_json() for case in cases)
    return [*await _running_calls(options, place, running, f"{outage.name} for {seconds:g} s"), *_new_calls(cases)]


async def _ring(place: Ground, case: Case, after_s: float) -> None:
    await asyncio.sleep(after_s)
    case.rang_at = now()
    try:
        talking = await place.dial(caller_number(), timeout=PATIENT_S)
    except CallFailed:
        return
    case.after_s, case.call_id = case.rang_at + talking.call.answered_s, talking.call.call_id
    case.greeted = await talking.call.wait_speech(GREETING_LIMIT_S)
    await talking.call.hang_up()


async def _running_calls(options: Options, place: Ground, running: list[Talk], what: str) -> list[Row]:
    missed = turns = harmed = 0
    cuts = [one.call.ended.done() for one in running]
    await asyncio.gather(*(one.call.hang_up() for one in running))
    for talking, cut in zip(running, cuts, strict=True):
        spoken = waits(await kept(options, talking), talking.said)
        turns, missed = turns + len(spoken), missed + spoken.count(None)
        entry = await ledger.ended(place.found.stack, talking.call.call_id)
        attempts, reason = (entry.attempts, entry.reason) if entry else (0, None)
        harmed += cut or attempts != 1
        case = {"scenario": "webhook, running call", "outage": what, "call_id": talking.call.call_id}
        options.cases.append({**case, "cut": cut, "attempts": attempts, "reason": reason})
    return [
        none_of(f"{what}: running calls cut or given another agent", harmed, f" of {len(running)}"),
        none_of("  their turns without a reply", missed, f" of {turns}"),
    ]


def _new_calls(cases: list[Case]) -> list[Row]:
    return [
        all_of("  new callers with an agent that greets", (one.greeted for one in cases)),
        within("  after it is back", (one.after_s for one in cases), AGENT_WITHIN_S),
        none_of("  new callers who had more than one agent", sum(one.attempts > 1 for one in cases)),
    ]


async def _keep_down(stack: LocalStack) -> None:
    """Kills the service, and each one that the supervisor starts in its place."""
    while True:
        pid = stack.pid("webhook")
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.1)


async def _is_back(stack: LocalStack) -> None:
    end = now() + BACK_LIMIT_S
    port = int(stack.env["PORT"])
    while not await probe.http_ok(port, "/health"):
        if now() > end:
            raise BenchFailed(f"the webhook service did not come back within {BACK_LIMIT_S:g} s.")
        await asyncio.sleep(0.05)
