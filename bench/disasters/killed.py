"""kill -9 of the process of a call at a random instant: the caller hears the AI again, and it remembers.

A call that is killed before the caller could say anything is killed once more later, so that every caller gave a
code before a kill and asks for it afterwards.
"""

import asyncio
import contextlib
import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from livekit import api

from bench.disasters import ear, ledger
from bench.disasters.jobs import Worker, first_worker
from bench.disasters.scene import Options, Row, all_of, spread, within
from bench.disasters.talking import ASK, Ground, again, caller_number, ground, insist, kept, many, now, since_start
from bench.figures import Spread
from bench.sounds import Utterance
from bench.stack import BenchFailed
from bench.talk import Talk
from local.phone.caller import CallFailed
from tests.e2e.stack import LocalStack

CALLS, QUICK_CALLS, AT_ONCE = 50, 3, 4
EARLY = ("ringing", "greeting")
LATER = ("caller speaks", "agent thinks", "agent speaks", "idle")
PHASES = (*EARLY, *LATER)
QUICK_PHASES = ("ringing", "caller speaks", "agent speaks")
AGAIN_P95_S = 3.0
# What the agent says first when it has taken over, and the time it takes; afterwards it may have been asked.
SETTLE_S = 0.3
ROOM_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: in which phase, at which second of the recording, which attempt."""

    phase: str
    at: float
    attempt: int


@dataclass(slots=True)
class Case:
    """One call with its kills, and what was seen of them."""

    number: int
    phase: str
    code: str
    call_id: str | None = None
    kills: list[Kill] = field(default_factory=list)
    again_s: list[float | None] = field(default_factory=list)
    answer: str = ""
    lines: list[str] = field(default_factory=list)
    """What is on record, so that an answer that is missing can be looked for."""
    resumed: int = 0
    said_again: int = 0
    lost: int = 0
    personas: set[str] = field(default_factory=set)
    fault: str = ""

    @property
    def good(self) -> bool:
        """Heard again after each kill, and the same persona went on in the same call."""
        whole = bool(self.kills) and not self.fault and None not in self.again_s
        return whole and self.resumed >= self.taken_over and len(self.personas) == 1

    @property
    def taken_over(self) -> int:
        """Kills after the phone was answered: nothing is resumed of a call that only rang."""
        return sum(kill.phase != "ringing" for kill in self.kills)

    @property
    def remembered(self) -> bool:
        return self.code in ledger.digits(self.answer)

    def as_json(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {
            "scenario": "killed",
            "good": self.good,
            "remembered": self.remembered,
            "personas": sorted(self.personas),
            "kills": [(one.phase, round(one.at, 2), one.attempt) for one in self.kills],
        }


async def run(options: Options) -> list[Row]:
    """The calls, the phases in turn in random order."""
    count = options.count(CALLS, QUICK_CALLS)
    some = QUICK_PHASES if options.quick else PHASES
    phases = [some[at % len(some)] for at in range(count)]
    random.shuffle(phases)
    async with options.stack() as found, ground(found, options, codes=count) as place:
        return await kills(options, place, phases)


async def kills(options: Options, place: Ground, phases: Sequence[str]) -> list[Row]:
    """A call for each phase, with a code of the ground's."""
    worker, codes = first_worker(place.found.stack), list(place.words.codes)
    cases = [Case(at, phase, codes[at]) for at, phase in enumerate(phases)]

    async def one(at: int) -> None:
        try:
            await _Killed(options, place, worker, cases[at]).run()
        except (BenchFailed, CallFailed) as failed:
            cases[at].fault = str(failed)

    await many(len(cases), options.at_once or AT_ONCE, one)
    for case in cases:
        await _look_up(place, case)
    options.cases.extend(case.as_json() for case in cases)
    return _rows(cases)


async def _look_up(place: Ground, case: Case) -> None:
    if case.call_id is None:
        return
    entry = await ledger.ended(place.found.stack, case.call_id)
    if entry is not None:
        case.answer = entry.answer_to(ASK)
        case.lines = [f"{one['role']}: {one['text']}" for one in entry.lines]
        case.resumed, case.lost = entry.count("call_resumed"), entry.count("agent_lost")
        case.personas = {str(one["name"]) for one in entry.bodies("persona_applied")}


def _rows(cases: Sequence[Case]) -> list[Row]:
    waits = [wait for case in cases for wait in case.again_s]
    kills = [kill for case in cases for kill in case.kills]
    rows = [
        all_of(f"kill -9 of a call's process ({len(kills)} kills): calls resumed", (case.good for case in cases)),
        within("  from the kill until the caller hears the AI again", waits, AGAIN_P95_S),
    ]
    for phase in PHASES:
        of_phase = Spread.of(
            wait
            for case in cases
            for kill, wait in zip(case.kills, case.again_s, strict=False)
            if kill.phase == phase and wait is not None
        )
        if of_phase is not None:
            rows.append(Row(f"    {phase}", spread(of_phase), "", met=True))
    rows.append(all_of("  it repeats the code given before the kill", (case.remembered for case in cases)))
    rows.append(Row("  turns that had to be said again", str(sum(case.said_again for case in cases)), "", met=True))
    return rows


async def _room_of(stack: LocalStack, number: str) -> str:
    """Where this caller's phone is: a caller who is not answered yet knows no call. Raises BenchFailed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ROOM_LIMIT_S), stack.livekit() as livekit:
            while True:
                for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms:
                    there = await livekit.room.list_participants(api.ListParticipantsRequest(room=room.name))
                    if any(one.attributes.get("sip.phoneNumber") == number for one in there.participants):
                        return str(room.name)
                await asyncio.sleep(0.02)
    raise BenchFailed(f"no phone came within {ROOM_LIMIT_S:g} s.")


@dataclass(frozen=True, slots=True)
class _Killed:
    """One call."""

    options: Options
    place: Ground
    worker: Worker
    case: Case

    async def run(self) -> None:
        number = caller_number()
        talking = await self._begun(number)
        self.case.call_id = talking.call.call_id
        try:
            await self._talk(talking)
        finally:
            await talking.call.hang_up()
            stereo = await kept(self.options, talking)
            self.case.again_s = [ear.heard_again(stereo[:, 1], one.at) for one in self.case.kills]

    async def _begun(self, number: str) -> Talk:
        """The call, answered; killed while it rings when that is its phase."""
        if self.case.phase != "ringing":
            return await self.place.dial(number)
        dialing = asyncio.create_task(self.place.dial(number), name="dial")
        try:
            room = await _room_of(self.place.found.stack, number)
            job = await self.worker.find(lambda one: one.room == room)
            await asyncio.sleep(random.uniform(0.0, 0.2))
            at = self.worker.signal(job.pid, signal.SIGKILL)
            talking = await dialing
        finally:
            dialing.cancel()
        # It may have been answered while the dice were rolled.
        at = since_start(talking, at)
        self.case.kills.append(Kill("greeting" if at > 0 else "ringing", at, job.attempt))
        return talking

    async def _talk(self, talking: Talk) -> None:
        if self.case.phase == "greeting":
            await talking.call.wait_speech(10)
            await asyncio.sleep(random.uniform(0.0, 1.5))
            await self._kill(talking, "greeting")
        await self._again(talking)
        await self._insist(talking, self.place.words.codes[self.case.code])
        phase = self.case.phase if self.case.phase in LATER else random.choice(LATER)
        await self._kill_while(talking, phase)
        await self._again(talking)
        await self._insist(talking, self.place.words.ask)

    async def _insist(self, talking: Talk, what: Utterance) -> None:
        before = len(talking.said)
        await insist(talking, what)
        self.case.said_again += len(talking.said) - before - 1

    async def _again(self, talking: Talk) -> None:
        """The greeting, or what is said after a kill, to its end."""
        kills = self.case.kills
        since = talking.call.recording.started + kills[-1].at + ear.TAIL_S if kills else 0.0
        if not await again(talking, since):
            raise BenchFailed(f"silence after {kills[-1].phase if kills else 'the answer'}")
        await asyncio.sleep(SETTLE_S)

    async def _kill_while(self, talking: Talk, phase: str) -> None:
        sentence = self.place.words.sentence()
        if phase == "idle":
            await asyncio.sleep(random.uniform(0.2, 2.0))
            await self._kill(talking, phase)
        elif phase == "caller speaks":
            await self._kill_within(talking, sentence)
        elif phase == "agent thinks":
            await talking.say(sentence)
            await asyncio.sleep(random.uniform(0.0, 0.5))
            await self._kill(talking, phase)
        elif await talking.reply_begins(await talking.say(sentence)):
            await asyncio.sleep(random.uniform(0.1, 1.0 if self.options.quick else 4.0))
            await self._kill(talking, phase)

    async def _kill_within(self, talking: Talk, sentence: Utterance) -> None:
        speaking = asyncio.create_task(talking.say(sentence), name="say")
        await asyncio.sleep(random.uniform(0.1, 0.9) * sentence.seconds)
        await self._kill(talking, "caller speaks")
        await speaking

    async def _kill(self, talking: Talk, phase: str) -> None:
        if talking.call.ended.done():
            raise BenchFailed(f"the call was over before {phase}")
        before = now()
        job = await self.worker.job(talking.call.call_id)
        at = self.worker.signal(job.pid, signal.SIGKILL)
        if at - before > 1.0:
            raise BenchFailed(f"the worker took {at - before:.1f} s to name the call's process")
        self.case.kills.append(Kill(phase, since_start(talking, at), job.attempt))
