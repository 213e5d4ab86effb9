"""Callers of disasters: each with a number and a code of their own, calls that go on for some turns."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.disasters.scene import Options
from bench.script import Script
from bench.sounds import Utterance, utterance
from bench.stack import BenchFailed, Measured
from bench.talk import GREETING_LIMIT_S, LONGEST_REPLY_S, OVER_S, Said, Talk, heard
from bench.voice import SENTENCES
from local.phone.caller import Caller, CallFailed

# The first has a persona of its own, the second is nobody's and has a short welcome.
NUMBER, QUICK_NUMBER = "+15550100001", "+15550100777"
ASK = "Which code did I give you before?"
# Some seconds, so that there is something to stop in the middle of.
LONG = (
    "There is a little more to say about it, since the desk is open day and night, "
    "and whoever is there will be glad to help you."
)
FULL = Options()
MIDDLE = "There is a little more to say about it, since the desk is open day and night."
SHORT = "Is there anything else?"
# Longer than any replacement should take, so that a slow one is a figure and not a miss.
AGAIN_LIMIT_S = 40.0
# Digits that callers say, well apart for the scripted hearing.
CODE_DIGITS = 4
# A turn that had no reply is said again.
MOST_TIMES = 3

_warmed: set[Path] = set()
_common: list[Utterance] = []
_callers = itertools.count(random.randrange(10_000))


def caller_number() -> str:
    """Another one each time, as a caller is found by it."""
    return f"+1555{next(_callers) % 10_000_000:07d}"


@dataclass(frozen=True, slots=True)
class Words:
    """What callers of one run say; `codes` by code, one for each caller."""

    sentences: Sequence[Utterance]
    ask: Utterance
    codes: dict[str, Utterance]

    def sentence(self) -> Utterance:
        return random.choice(self.sentences)


async def words(codes: int = 0) -> Words:
    found = [f"{code:0{CODE_DIGITS}d}" for code in random.sample(range(10**CODE_DIGITS), codes)]
    # One by one: each is a process of its own, and the machine may be busy.
    told = {code: await utterance(f"My code is {' '.join(code)}.") for code in found}
    if not _common:
        _common.extend([await utterance(one) for one in (ASK, *SENTENCES)])
    return Words(_common[1:], _common[0], told)


@dataclass(frozen=True, slots=True)
class Ground:
    """A stack, a caller and models that know what will be said: where one scenario takes place."""

    found: Measured
    caller: Caller
    script: Script
    words: Words
    number: str

    async def dial(self, number: str | None = None, *, timeout: float = 40.0) -> Talk:
        """A call that was answered. Raises CallFailed."""
        address = self.found.stack.sip(self.number)
        return Talk(await self.caller.dial(address, from_number=number or caller_number(), timeout=timeout))

    async def greeted(self, number: str | None = None) -> Talk:
        """A call that heard its greeting to the end. Raises BenchFailed."""
        try:
            talking = await self.dial(number)
        except CallFailed as failed:
            raise BenchFailed(str(failed)) from None
        await talking.call.wait_speech(GREETING_LIMIT_S)
        await talking.call.wait_silence(LONGEST_REPLY_S, lasting=OVER_S)
        return talking


@contextlib.asynccontextmanager
async def ground(
    found: Measured, options: Options = FULL, *, codes: int = 0, tones: bool = False
) -> AsyncIterator[Ground]:
    """Callers and models for one scenario. With codes the model repeats what it was told before it goes on."""
    long, number = (MIDDLE, QUICK_NUMBER) if options.quick else (LONG, NUMBER)
    said = await words(codes)
    async with Script(found.scripted) as script, Caller() as caller:
        await script.teach([*said.sentences, said.ask, *said.codes.values()])
        if codes:
            await script.recall(long if tones or not options.quick else None)
        else:
            await script.reply(long if tones or not options.quick else SHORT)
        if tones:
            await script.speech("tones")
        place = Ground(found, caller, script, said, number)
        await _warm(place)
        yield place


async def _warm(place: Ground) -> None:
    """The first call of a stack finds everything cold; it is made before anything is measured."""
    home = place.found.stack.home
    if home not in _warmed:
        _warmed.add(home)
        await (await place.greeted()).call.hang_up()


async def many(count: int, at_once: int, one: Any, *, stagger: float = 0.7) -> None:
    """Runs `one(number)` for each of `count`, so many at any time."""
    waiting = list(range(count))

    async def one_after_another(place: int) -> None:
        await asyncio.sleep(place * stagger)
        while waiting:
            await one(waiting.pop(0))

    async with asyncio.TaskGroup() as tasks:
        for place in range(min(at_once, count)):
            tasks.create_task(one_after_another(place), name=f"caller {place}")


async def again(talking: Talk, since: float) -> bool:
    """Waits until the agent is heard after `since` (monotonic) and has finished."""
    if not await talking.call.wait_speech(AGAIN_LIMIT_S, after=since):
        return False
    return await talking.call.wait_silence(LONGEST_REPLY_S, lasting=OVER_S)


class Talking:
    """Calls that take turns in the background, since a silent call is ended. `stop` lets each finish its turn."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, place: Ground, calls: Sequence[Talk]) -> AsyncIterator["Talking"]:
        async with asyncio.TaskGroup() as tasks:
            made = cls()
            made._tasks = [tasks.create_task(made._talk(place, one), name="running call") for one in calls]
            try:
                yield made
            finally:
                made._over.set()

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _talk(self, place: Ground, talking: Talk) -> None:
        while not self._over.is_set() and not talking.call.ended.done():
            await talking.turn(place.words.sentence())


async def kept(options: Options, talking: Talk) -> Any:
    """The recording so far, also as a file when there is a folder for it."""
    return await talking.recorded(options.record)


async def insist(talking: Talk, what: Utterance) -> bool:
    """Says it until there is a reply, as a caller would, and hears that to its end. Whether there was one."""
    for _ in range(MOST_TIMES):
        if await talking.reply_begins(await talking.say(what)):
            await talking.reply_ends()
            return True
        if talking.call.ended.done():
            break
    return False


def waits(stereo: Any, said: Sequence[Said]) -> list[float | None]:
    """Voice to voice of each turn; None for one that had no reply, or was not said because the call was over."""
    ends = [*(one.began for one in said), float("inf")][1:]
    return [_wait(stereo, one, until) for one, until in zip(said, ends, strict=True)]


def _wait(stereo: Any, said: Said, until: float) -> float | None:
    try:
        (found,) = heard(stereo, [said])
    except BenchFailed:
        return None
    return found.voice_to_voice if found.reply is not None and found.reply < until else None


def since_start(talking: Talk, at: float) -> float:
    """A clock's time (monotonic) as seconds of the recording."""
    return at - talking.call.recording.started


def now() -> float:
    return time.monotonic()
