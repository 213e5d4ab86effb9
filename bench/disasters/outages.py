"""The Persona API, Switchboard's Redis, control, Postgres: each away for a time, and all of them together."""

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from bench import talk as talks
from bench.disasters import ledger
from bench.disasters.jobs import first_worker
from bench.disasters.scene import Options, Row, all_of, none_of, within
from bench.disasters.site import PARTS, Kind, Site, back, site
from bench.disasters.talking import Ground, caller_number, ground
from bench.figures import Spread
from bench.stack import BenchFailed
from bench.talk import Talk
from local.phone.caller import CallFailed
from switchboard import outbox

AWAY_S, QUICK_AWAY_S = 60.0, 5.0
REPLY = "We serve breakfast from half past six, and parking is free."
HOTEL, DENTAL = "harbor-hotel", "maple-dental"
KNOWN = "+15550100001"
# Persona API and control are one here: where the one is away, so is who answers for it.
ASKED_FOR_PERSONAS = {"persona api", "control", "postgres"}
RECORDED_S = 60.0
EMPTY_S = 90.0
LINES_A_MINUTE = 60
ADDED_S = 1.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Which parts are away, how, how long; and whether the process of a running call is killed meanwhile."""

    parts: tuple[str, ...]
    kind: Kind
    lasts_s: float
    kill: bool = False

    @property
    def name(self) -> str:
        whole = "all together" if len(self.parts) == len(PARTS) else " and ".join(self.parts)
        return f"{whole} {'away' if self.kind == 'gone' else 'hang' if len(self.parts) > 1 else 'hangs'}" + (
            ", jobs killed" if self.kill else ""
        )


@dataclass(slots=True)
class Seen:
    """What came of one outage. Talks are kept until their records are read."""

    outage: Outage | None
    through: list[Talk] = field(default_factory=list)
    fresh: list[tuple[Talk, bool]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    again: list[float | None] = field(default_factory=list)
    over_at: float = 0.0
    lines: Counter[str] = field(default_factory=Counter)
    lasted_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Numbers:
    """Numbers that lead to a persona and were never called, so that nobody has remembered the answer."""

    def __init__(self) -> None:
        self._made = itertools.count(15550110000)

    async def make(self, found: Site) -> str:
        number = f"+{next(self._made)}"
        headers = {"Authorization": f"Bearer {found.stack.admin_key}"}
        async with (
            aiohttp.ClientSession(found.stack.urls["control"], headers=headers) as http,
            http.put(f"/numbers/{number}", json={"persona": DENTAL}) as answer,
        ):
            if answer.status >= 300:
                raise BenchFailed(f"control answered {answer.status} to a new number: {await answer.text()}")
        return number


async def run(options: Options) -> list[Row]:
    """Every outage on one stack of its own, and what all of them have in common at the end."""
    if options.running is not None:
        raise BenchFailed("outages need a stack of their own, whose servers are reached through doors.")
    lasts = (options.minutes or 0) * 60 or (QUICK_AWAY_S if options.quick else AWAY_S)
    owner = site()
    found = await asyncio.to_thread(owner.__enter__)
    try:
        return await _all(options, found, outages(lasts, quick=options.quick))
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


async def _all(options: Options, found: Site, planned: Sequence[Outage]) -> list[Row]:
    numbers = Numbers()
    async with ground(found.found) as where:
        await where.script.reply(REPLY)
        usual = await undisturbed(where, options.count(6, 3))
        rows = [Row("answer without an outage", _spread(usual.answers), "", met=True)]
        rows.append(Row("voice to voice without an outage", _spread(usual.waits), "", met=True))
        for one in planned:
            seen = await suffer(where, found, one, numbers)
            rows += await _rows(options, found, seen, usual)
    return rows


@dataclass(frozen=True, slots=True)
class Usual:
    """Seconds without an outage."""

    answers: list[float]
    waits: list[float]

    @property
    def answer(self) -> float:
        return sorted(self.answers)[len(self.answers) // 2]


async def undisturbed(where: Ground, calls: int) -> Usual:
    answers, waits = [], []
    for _ in range(calls):
        talking = await where.greeted()
        await talking.turn(where.words.sentence())
        await talking.call.hang_up()
        answers.append(talking.call.answered_s)
        waits += [one for one in await _waits(talking) if one is not None]
    return Usual(answers, waits)


async def suffer(where: Ground, found: Site, outage: Outage, numbers: Numbers) -> Seen:
    """One call that goes through the outage and, one after another, calls that begin in it."""
    seen = Seen(outage)
    unknown = [await numbers.make(found) for _ in range(max(1, int(outage.lasts_s / 12)))]
    through = await where.greeted()
    seen.through.append(through)
    await through.turn(where.words.sentence())
    before, began = found.log_lines(), time.monotonic()
    async with found.without(outage.parts, outage.kind):
        over = asyncio.get_running_loop().call_later(outage.lasts_s, (done := asyncio.Event()).set)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_goes_on(where, found, seen, through, done), name="a call that goes on")
                tasks.create_task(_calls(where, found, seen, unknown, done), name="calls that begin")
        finally:
            over.cancel()
    seen.over_at, seen.lasted_s = time.monotonic(), time.monotonic() - began
    seen.lines = Counter(found.log_lines()) - Counter(before)
    await through.turn(where.words.sentence())
    await through.call.hang_up()
    await back(found)
    return seen


async def _goes_on(where: Ground, found: Site, seen: Seen, talking: Talk, done: asyncio.Event) -> None:
    if seen.outage and seen.outage.kill:
        await talking.turn(where.words.sentence())
        seen.again.append(await _killed(found, talking))
    while not done.is_set():
        if talking.call.ended.done():
            seen.faults.append("a call that was under way ended")
            return
        await talking.turn(where.words.sentence())


async def _killed(found: Site, talking: Talk) -> float | None:
    """Kills the process that serves the call, and gives the seconds until the caller hears one again."""
    worker = first_worker(found.stack)
    at = worker.signal((await worker.job(talking.call.call_id)).pid, signal.SIGKILL)
    if not await talking.call.wait_speech(20, after=at + 0.5):
        return None
    heard = time.monotonic() - at
    await talking.reply_ends()
    return heard


async def _calls(where: Ground, found: Site, seen: Seen, unknown: Sequence[str], done: asyncio.Event) -> None:
    fresh = iter(unknown)
    for turn in itertools.count():
        if done.is_set():
            return
        number = KNOWN if turn % 2 == 0 else next(fresh, KNOWN)
        try:
            call = await where.caller.dial(found.stack.sip(number), from_number=caller_number(), timeout=30)
        except CallFailed as failed:
            seen.unanswered.append(str(failed))
            continue
        talking = Talk(call)
        seen.fresh.append((talking, number == KNOWN))
        await call.wait_speech(talks.GREETING_LIMIT_S)
        await talking.reply_ends()
        await talking.turn(where.words.sentence())
        await call.hang_up()


async def _rows(options: Options, found: Site, seen: Seen, usual: Usual) -> list[Row]:
    outage = seen.outage
    assert outage is not None  # noqa: S101
    every = [*seen.through, *(talking for talking, _known in seen.fresh)]
    waits = [wait for talking in every for wait in await _waits(talking)]
    added = [talking.call.answered_s - usual.answer for talking, _known in seen.fresh]
    rows = [
        all_of("calls answered", [True] * len(seen.fresh) + [False] * len(seen.unanswered)),
        _worst("answer time added", added, ADDED_S),
        all_of("turns answered", [wait is not None for wait in waits]),
        within("voice to voice", waits, max(usual.waits) + 0.5),
    ]
    if seen.again:
        rows.append(within("heard again after a kill", [one if one is not None else 99.0 for one in seen.again], 3.0))
    rows += await _record(options, found, seen, every)
    minute = max(seen.lasted_s / 60, 0.5)
    lines = {part: round(count / minute) for part, count in seen.lines.items()}
    rows.append(
        Row("log lines a minute", str(lines), f"≤ {LINES_A_MINUTE}", max(lines.values(), default=0) <= LINES_A_MINUTE)
    )
    rows.append(none_of("calls that ended by themselves", len(seen.faults)))
    title = f"{outage.name} {outage.lasts_s:.0f} s"
    return [Row(f"{title}: {row.what}", row.figure, row.wanted, row.met) for row in rows]


async def _record(options: Options, found: Site, seen: Seen, every: Sequence[Talk]) -> list[Row]:
    """What Postgres holds of all calls of one outage, once everything is back."""
    entries = [await ledger.ended(found.stack, one.call.call_id, RECORDED_S) for one in every]
    took = time.monotonic() - seen.over_at
    faults = [fault for one, entry in zip(every, entries, strict=True) for fault in faults_in(one, entry)]
    options.cases.extend(
        {"outage": seen.outage.name if seen.outage else "", "call": one.call.call_id, "said": _said(one)}
        | {"fault": faults_in(one, entry), "added": one.call.answered_s}
        for one, entry in zip(every, entries, strict=True)
    )
    rows = [Row("turns and ends on record once, in order", "; ".join(faults) or "yes", "yes", not faults)]
    rows.append(Row("all on record after its end", f"{took:.0f} s", f"≤ {RECORDED_S:.0f} s", took <= RECORDED_S))
    wrong = [
        fault
        for (_talk, known), entry in zip(seen.fresh, entries[len(seen.through) :], strict=True)
        if (fault := wrong_persona(seen.outage, entry, known=known))
    ]
    rows.append(Row("right persona", "; ".join(wrong) or "yes", "yes", not wrong))
    empty = await _until_empty(found, seen.over_at)
    rows.append(Row("no facts wait in files after its end", _after(empty), f"≤ {EMPTY_S:.0f} s", empty is not None))
    return rows


def faults_in(talking: Talk, entry: ledger.Entry | None) -> list[str]:
    """What is missing, doubled or out of order in the record of a call."""
    if entry is None or entry.status != "ended":
        return [f"{talking.call.call_id}: not on record as ended"]
    found = []
    seqs = [one["seq"] for one in entry.events]
    if seqs != list(range(1, len(seqs) + 1)):
        found.append(f"seq {seqs}")
    if len({one["id"] for one in entry.events}) != len(entry.events):
        found.append("a fact twice")
    if entry.count("call_ended") != 1:
        found.append(f"{entry.count('call_ended')} ends")
    recorded = [one["text"] for one in entry.lines if one["role"] == "user"]
    if recorded != _said(talking):
        found.append(f"said {_said(talking)}, on record {recorded}")
    return [f"{talking.call.call_id}: {one}" for one in found]


def wrong_persona(outage: Outage | None, entry: ledger.Entry | None, *, known: bool) -> str | None:
    """A sentence when another persona answered than this outage allows."""
    if entry is None or outage is None:
        return None
    found = [(one["source"], one["persona"]) for one in entry.bodies("persona_resolved")[:1]]
    asked = bool(ASKED_FOR_PERSONAS & set(outage.parts))
    wanted: set[str] = {"cache", "stale", "api"} if known else {"default"} if asked else {"api"}
    if asked and known and "redis" in outage.parts:
        wanted = {"memory", "stale", "cache", "default"}
    if found and found[0][0] in wanted:
        return None
    return f"{'known' if known else 'new'} number: {found}"


async def _until_empty(found: Site, since: float) -> float | None:
    end = time.monotonic() + EMPTY_S
    while time.monotonic() < end:
        if not await asyncio.to_thread(outbox.abandoned, found.stack.home):
            return time.monotonic() - since
        await asyncio.sleep(0.5)
    return None


def _said(talking: Talk) -> list[str]:
    return [one.what.text for one in talking.said]


async def _waits(talking: Talk) -> list[float | None]:
    stereo = await talking.recorded(None)
    return [one.voice_to_voice for one in talks.heard(stereo, talking.said)]


def _after(seconds: float | None) -> str:
    return f"after {seconds:.0f} s" if seconds is not None else f"still after {EMPTY_S:.0f} s"


def _worst(what: str, values: Sequence[float], limit: float) -> Row:
    if not values:
        return Row(what, "none measured", f"≤ {limit:g} s", met=False)
    return Row(what, _spread(values), f"worst ≤ {limit:g} s", max(values) <= limit)


def _spread(values: Sequence[float]) -> str:
    found = Spread.of(values)
    return f"p50 {found.p50:.2f}, worst {found.worst:.2f} s ({found.n})" if found else "none"
