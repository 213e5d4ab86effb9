"""The Persona API, Switchboard's Redis, control, Postgres: each away for a time, and all of them together."""

import asyncio
import contextlib
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import aiohttp

from bench.disasters import aftermath
from bench.disasters.aftermath import spoken
from bench.disasters.jobs import first_worker
from bench.disasters.scene import Options, Row, all_of, none_of, within
from bench.disasters.site import PARTS, Kind, Site, back, site
from bench.disasters.talking import Ground, caller_number, ground
from bench.figures import Spread
from bench.stack import BenchFailed
from bench.talk import GREETING_LIMIT_S, Talk
from local.phone.caller import CallFailed

AWAY_S, QUICK_AWAY_S = 60.0, 5.0
REPLY = "We serve breakfast from half past six, and parking is free."
PERSONA = "maple-dental"
KNOWN = "+15550100001"
LINES_A_MINUTE = 60
# An agent's log tells of each call and, from the library, of each sentence.
AGENT_LINES = 240
ADDED_S = 1.0
# How much longer than without an outage a reply may take.
SLOWER_S = 0.5
HEARD_AGAIN_S = 3.0
# Sound that was on its way when a process died.
TAIL_S = 0.5
LOST_S = 20.0
HEALTH_S = 4.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Which parts are away, how, how long; and whether the process of a running call is killed meanwhile."""

    parts: tuple[str, ...]
    kind: Kind
    lasts_s: float
    kill: bool = False

    @property
    def name(self) -> str:
        what = "all of them" if len(self.parts) == len(PARTS) else " and ".join(self.parts)
        how = "away" if self.kind == "gone" else "hung"
        return f"{what} {how} {self.lasts_s:.0f} s" + (", a job killed" if self.kill else "")


@dataclass(slots=True)
class Seen:
    """What came of one outage. `fresh` are the calls that began in it, each with whether its number was known."""

    outage: Outage
    through: Talk
    fresh: list[tuple[Talk, bool]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    again: list[float | None] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)
    lasted_s: float = 0.0
    over_at: float = 0.0
    ready_at: float = 0.0
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Usual:
    """Seconds without an outage."""

    answers: Sequence[float]
    waits: Sequence[float]

    @property
    def answer(self) -> float:
        return sorted(self.answers)[len(self.answers) // 2]


class Numbers:
    """Numbers that lead to a persona and were never called, so that nobody remembers who answers them."""

    def __init__(self) -> None:
        self._made = itertools.count(15550110000)

    async def make(self, found: Site) -> str:
        number = f"+{next(self._made)}"
        headers = {"Authorization": f"Bearer {found.stack.admin_key}"}
        async with (
            aiohttp.ClientSession(found.stack.urls["control"], headers=headers) as http,
            http.put(f"/numbers/{number}", json={"persona": PERSONA}) as answer,
        ):
            if answer.status >= 300:
                raise BenchFailed(f"control answered {answer.status} to a new number: {await answer.text()}")
        return number


async def run(options: Options) -> list[Row]:
    """Every outage on one stack of its own."""
    if options.running is not None:
        raise BenchFailed("outages need a stack of their own, whose servers are reached through doors.")
    lasts = (options.minutes or 0) * 60 or (QUICK_AWAY_S if options.quick else AWAY_S)
    rows: list[Row] = []
    async with prepared() as (where, found):
        usual = await undisturbed(where, options.count(6, 3))
        rows.append(Row("answered without an outage", _spread(usual.answers), "", met=True))
        rows.append(Row("voice to voice without an outage", _spread(usual.waits), "", met=True))
        numbers = Numbers()
        for one in outages(lasts, quick=options.quick):
            seen = await suffer(where, found, one, numbers)
            rows += await rows_of(options, found, seen, usual)
    return rows


@contextlib.asynccontextmanager
async def prepared() -> AsyncIterator[tuple[Ground, Site]]:
    """A stack behind doors, and callers with something to say."""
    owner = site()
    found = await asyncio.to_thread(owner.__enter__)
    try:
        async with ground(found.found) as where:
            await where.script.reply(REPLY)
            yield where, found
    finally:
        await asyncio.to_thread(owner.__exit__, None, None, None)


def outages(lasts_s: float, *, quick: bool) -> list[Outage]:
    """Each part in both ways, then all together, with kills at last. The quick ones: all together alone."""
    together = [Outage(PARTS, "gone", lasts_s), Outage(PARTS, "hangs", lasts_s)]
    killed = [Outage(("redis",), "gone", lasts_s, kill=True), Outage(PARTS, "gone", lasts_s, kill=True)]
    if quick:
        return [*together, killed[-1]]
    kinds: tuple[Kind, ...] = ("gone", "hangs")
    return [*(Outage((part,), kind, lasts_s) for part in PARTS for kind in kinds), *together, *killed]


async def undisturbed(where: Ground, calls: int) -> Usual:
    found = []
    for _ in range(calls):
        talking = await where.greeted()
        await talking.turn(where.words.sentence())
        await talking.call.hang_up()
        found.append(await spoken(talking))
    waits = [wait for one in found for wait in one.waits if wait is not None]
    return Usual([one.talk.call.answered_s for one in found], waits)


async def suffer(where: Ground, found: Site, outage: Outage, numbers: Numbers) -> Seen:
    """One call that goes through the outage and, one after another, calls that begin in it."""
    unknown = [await numbers.make(found) for _ in range(max(1, int(outage.lasts_s / 12)))]
    seen = Seen(outage, await where.greeted())
    await seen.through.turn(where.words.sentence())
    before, began = found.log_lines(), time.monotonic()
    async with found.without(outage.parts, outage.kind):
        over = asyncio.get_running_loop().call_later(outage.lasts_s, (done := asyncio.Event()).set)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_goes_on(where, found, seen, done), name="a call that goes on")
                tasks.create_task(_begin(where, found, seen, unknown, done), name="calls that begin")
                tasks.create_task(_ask_health(found, seen), name="health")
        finally:
            over.cancel()
    seen.over_at, seen.lasted_s = time.monotonic(), time.monotonic() - began
    seen.lines = Counter(found.log_lines()) - Counter(before)
    await asyncio.gather(_last_turn(where, seen), _until_back(found, seen))
    return seen


async def _last_turn(where: Ground, seen: Seen) -> None:
    seen.cut_off = seen.through.call.ended.done()
    if not seen.cut_off:
        await seen.through.turn(where.words.sentence())
    await seen.through.call.hang_up()


async def _until_back(found: Site, seen: Seen) -> None:
    await back(found)
    seen.ready_at = time.monotonic()


async def _goes_on(where: Ground, found: Site, seen: Seen, done: asyncio.Event) -> None:
    talking = seen.through
    if seen.outage.kill:
        await talking.turn(where.words.sentence())
        seen.again.append(await _killed(found, talking))
    while not done.is_set() and not talking.call.ended.done():
        await talking.turn(where.words.sentence())


async def _killed(found: Site, talking: Talk) -> float | None:
    """Kills the process that serves the call, and gives the seconds until the caller hears one again."""
    worker = first_worker(found.stack)
    at = worker.signal((await worker.job(talking.call.call_id)).pid, signal.SIGKILL)
    if not await talking.call.wait_speech(LOST_S, after=at + TAIL_S):
        return None
    heard = time.monotonic() - at
    await talking.reply_ends()
    return heard


async def _begin(where: Ground, found: Site, seen: Seen, unknown: Sequence[str], done: asyncio.Event) -> None:
    fresh = iter(unknown)
    for turn in itertools.count():
        # At least one of each kind, however short the outage is.
        if done.is_set() and turn > 1:
            return
        number = KNOWN if turn % 2 == 0 else next(fresh, KNOWN)
        try:
            call = await where.caller.dial(found.stack.sip(number), from_number=caller_number())
        except CallFailed as failed:
            seen.unanswered.append(str(failed))
            continue
        talking = Talk(call)
        seen.fresh.append((talking, number == KNOWN))
        await call.wait_speech(GREETING_LIMIT_S)
        await talking.reply_ends()
        await talking.turn(where.words.sentence())
        await call.hang_up()


async def _ask_health(found: Site, seen: Seen) -> None:
    """What the webhook service and control say of themselves once the outage has lasted a little."""
    await asyncio.sleep(min(HEALTH_S, seen.outage.lasts_s / 2))
    try:
        await _asked_for_health(found, seen)
    except (aiohttp.ClientError, TimeoutError) as error:
        seen.health.append(f"no answer: {type(error).__name__}")


async def _asked_for_health(found: Site, seen: Seen) -> None:
    away = set(seen.outage.parts)
    timeout = aiohttp.ClientTimeout(total=HEALTH_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        async with http.get(f"{found.stack.urls['webhook']}/health") as answer:
            told = await answer.json()
        wrong = {"redis": "redis" in away}
        if away != {"postgres"}:
            # Asked without a number, it answers without its database.
            wrong["persona_api"] = bool(away & {"persona api", "control"})
        if answer.status != 200:
            seen.health.append(f"the webhook service answers {answer.status}")
        seen.health += [f"{part}: {told[part]}" for part, bad in wrong.items() if (told[part] != "ok") is not bad]
        if "control" not in away and (parts := away & {"redis", "postgres"}):
            async with http.get(f"{found.stack.urls['control']}/health") as answer:
                told = await answer.json()
            if answer.status != 503 or set(told["degraded"]) != parts:
                seen.health.append(f"control: {answer.status} {told['degraded']}")


async def rows_of(options: Options, found: Site, seen: Seen, usual: Usual) -> list[Row]:
    """What one outage came to."""
    through, fresh = await spoken(seen.through), [await spoken(one) for one, _known in seen.fresh]
    calls = [through, *fresh]
    records, entries = await aftermath.on_record(found, calls, seen.ready_at)
    away = seen.outage.parts
    wrong = [
        fault
        for (_talk, known), entry in zip(seen.fresh, entries[1:], strict=True)
        if (fault := aftermath.wrong_persona(away, entry, known=known))
    ]
    options.cases.extend(
        {"outage": seen.outage.name, "call": one.talk.call.call_id, "turns": one.turns}
        | {"answered_s": one.talk.call.answered_s, "faults": aftermath.faults_in(one, entry)}
        for one, entry in zip(calls, entries, strict=True)
    )
    waits = [wait for one in calls for wait in one.waits]
    rows = [
        all_of("calls answered", [True] * len(seen.fresh) + [False] * len(seen.unanswered)),
        _added(seen, usual),
        all_of("turns answered", [wait is not None for wait in waits]),
        within("voice to voice", waits, round(max(usual.waits, default=1.0) + SLOWER_S, 2)),
        none_of("running calls that ended", int(seen.cut_off)),
        Row("who answered", "; ".join(wrong) or "as is right", "", not wrong),
        Row("health", "; ".join(seen.health) or "names what is away", "", not seen.health),
        *_heard_again(seen),
        Row("all parts ready again after its end", f"{seen.ready_at - seen.over_at:.0f} s", "told", met=True),
        *records,
        _log_lines(seen),
    ]
    return [Row(f"{seen.outage.name}: {row.what}", row.figure, row.wanted or "all", row.met) for row in rows]


def _added(seen: Seen, usual: Usual) -> Row:
    added = [one.call.answered_s - usual.answer for one, _known in seen.fresh]
    met = bool(added) and max(added) <= ADDED_S
    return Row("answer time added", _spread(added), f"worst ≤ {ADDED_S:g} s", met)


def _heard_again(seen: Seen) -> list[Row]:
    if not seen.outage.kill:
        return []
    return [
        all_of("killed jobs replaced", [one is not None for one in seen.again]),
        within("heard again after the kill", seen.again, HEARD_AGAIN_S),
    ]


def _log_lines(seen: Seen) -> Row:
    minutes = max(seen.lasted_s / 60, 0.5)
    lines = {part: round(count / minutes) for part, count in seen.lines.items()}
    quiet = all(count <= (AGENT_LINES if part == "agent" else LINES_A_MINUTE) for part, count in lines.items())
    figure = ", ".join(f"{part} {count}" for part, count in sorted(lines.items()))
    return Row("log lines a minute", figure, f"≤ {LINES_A_MINUTE}, agent {AGENT_LINES}", quiet)


def _spread(values: Sequence[float]) -> str:
    found = Spread.of(values)
    return f"p50 {found.p50:.2f}, worst {found.worst:.2f} s ({found.n})" if found else "none measured"
