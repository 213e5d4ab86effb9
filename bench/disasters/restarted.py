"""The LiveKit server killed, and started by the supervisor: new calls, running calls, calls that end meanwhile."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.disasters import ledger
from bench.disasters.jobs import first_worker
from bench.disasters.scene import Options, Row, all_of, none_of, spread, within
from bench.disasters.talking import NUMBER, Ground, caller_number, ground
from bench.figures import Spread
from bench.stack import BenchFailed
from bench.talk import GREETING_LIMIT_S, Talk
from local import probe
from local.phone.caller import CallFailed
from tests.e2e.stack import LocalStack

REPLY = "We serve breakfast from half past six, and parking is free."
RUNNING = 2
NEW_LIMIT_S = 5.0
# A running call is taken up again, or it is over: nothing stays silent longer.
TAKEN_UP_S = 20.0
CLOSED_S = 30.0
LEFT_S = 30.0
SERVER_S = 60.0
AGAIN_S = 0.1
REASONS = {"caller_hung_up", "agent_lost", "connection_lost", "room_closed"}


@dataclass(slots=True)
class Seen:
    """What came of the restarts. Times are seconds from the first answer of the new server, or from the kill."""

    new_call: list[float | None] = field(default_factory=list)
    taken_up: list[float | None] = field(default_factory=list)
    closed: list[float | None] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    lingering: int = 0


async def run(options: Options) -> list[Row]:
    """Some restarts, each with calls that run and one that hangs up while the server is away."""
    seen = Seen()
    async with options.stack() as found, ground(found) as where:
        await where.script.reply(REPLY)
        for _ in range(options.count(5, 1)):
            await once(where, seen)
    return rows(seen)


def rows(seen: Seen) -> list[Row]:
    return [
        within(
            "LiveKit restarted: a new call is answered, from the server's first answer", seen.new_call, NEW_LIMIT_S
        ),
        all_of("LiveKit restarted: new calls answered", [one is not None for one in seen.new_call]),
        _taken_up(seen.taken_up),
        all_of("LiveKit restarted: calls on record as ended, once, with a reason", [not seen.faults, *_each(seen)]),
        _closed(seen.closed),
        none_of("LiveKit restarted: processes of calls that linger", seen.lingering),
        Row(
            "LiveKit restarted: other parts that had to be started again",
            ", ".join(seen.restarted) or "none",
            "none",
            not seen.restarted,
        ),
    ]


def _each(seen: Seen) -> list[bool]:
    return [one is not None for one in seen.closed]


def _taken_up(found: Sequence[float | None]) -> Row:
    good = Spread.of(found)
    figure = f"{sum(one is not None for one in found)} of {len(found)}" + (f", {spread(good)}" if good else "")
    return Row("LiveKit restarted: running calls go on, from the kill", figure, "", met=True)


def _closed(found: Sequence[float | None]) -> Row:
    times = [one for one in found if one is not None]
    worst = max(times, default=0.0)
    return Row(
        "LiveKit restarted: calls closed on record after their end",
        f"worst {worst:.1f} s" if times else "none",
        f"≤ {CLOSED_S:.0f} s",
        bool(times) and worst <= CLOSED_S,
    )


async def once(where: Ground, seen: Seen) -> None:
    """One restart. What it finds goes into `seen`."""
    stack = where.found.stack
    *running, leaving = await asyncio.gather(*(where.greeted() for _ in range(RUNNING + 1)))
    await asyncio.gather(*(one.turn(where.words.sentence()) for one in running))
    before = _pids(stack)
    killed_at = time.monotonic()
    os.kill(before["livekit"], signal.SIGKILL)
    hung_up = asyncio.create_task(leaving.call.hang_up(), name="hangs up while the server is away")
    news = asyncio.create_task(_new_call(where), name="a new call")
    again = await asyncio.gather(*(_taken_up_after(where, one, killed_at) for one in running))
    seen.taken_up += again
    seen.new_call.append(await news)
    await hung_up
    await asyncio.gather(*(one.call.hang_up() for one in running))
    every = [*running, leaving]
    seen.closed += await asyncio.gather(*(_closed_after(stack, one, seen.faults) for one in every))
    seen.lingering += await _lingering(stack, [one.call.call_id for one in every])
    after = _pids(stack)
    seen.restarted += [part for part, pid in before.items() if part != "livekit" and after.get(part) != pid]


async def _new_call(where: Ground) -> float | None:
    """Seconds from the first answer of the new server to that of a call, tried as a caller would: again and again."""
    stack = where.found.stack
    await asyncio.sleep(AGAIN_S)
    await _answers(int(stack.env["LIVEKIT_URL"].rsplit(":", 1)[1]))
    began = time.monotonic()
    for _ in itertools.takewhile(lambda _: time.monotonic() - began < TAKEN_UP_S, itertools.count()):
        try:
            call = await where.caller.dial(stack.sip(NUMBER), from_number=caller_number(), timeout=TAKEN_UP_S)
        except CallFailed:
            await asyncio.sleep(AGAIN_S)
            continue
        took = time.monotonic() - began
        heard = await call.wait_speech(GREETING_LIMIT_S)
        await call.hang_up()
        return took if heard else None
    return None


async def _answers(port: int) -> None:
    end = time.monotonic() + SERVER_S
    while not await probe.http_ok(port, "/"):
        if time.monotonic() > end:
            raise BenchFailed(f"LiveKit was not there again within {SERVER_S:g} s.")
        await asyncio.sleep(0.02)


async def _taken_up_after(where: Ground, talking: Talk, killed_at: float) -> float | None:
    """Says something again and again until it is answered; the seconds that took, or None when the call ended."""
    while time.monotonic() - killed_at < TAKEN_UP_S and not talking.call.ended.done():
        said = await talking.say(where.words.sentence())
        if await talking.reply_begins(said, timeout=3.0):
            took = time.monotonic() - killed_at
            await talking.reply_ends()
            return took
    return None


async def _closed_after(stack: LocalStack, talking: Talk, faults: list[str]) -> float | None:
    began = time.monotonic()
    entry = await ledger.ended(stack, talking.call.call_id, CLOSED_S)
    if entry is None or entry.status != "ended":
        faults.append(f"{talking.call.call_id}: not on record as ended")
        return None
    if entry.count("call_ended") != 1 or entry.reason not in REASONS:
        faults.append(f"{talking.call.call_id}: {entry.count('call_ended')} ends, {entry.reason}")
    return time.monotonic() - began


async def _lingering(stack: LocalStack, call_ids: Sequence[str | None]) -> int:
    """How many processes still serve these calls some time after their end."""
    end = time.monotonic() + LEFT_S
    while True:
        left = [one for one in await first_worker(stack).jobs() if one.call_id in call_ids]
        if not left or time.monotonic() > end:
            return len(left)
        await asyncio.sleep(0.2)


def _pids(stack: LocalStack) -> dict[str, int]:
    parts = stack.status["parts"]
    return {name: int(one["pid"]) for name, one in parts.items() if one["pid"]}
