"""One call of a bench: what is said and when, and what its recording then holds."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.sounds import Utterance
from bench.stack import BenchFailed
from local.phone import listen
from local.phone.caller import Caller, CallFailed
from local.phone.listen import Interval
from local.phone.outgoing import OutgoingCall
from local.phone.wav import write_wav

GREETING_LIMIT_S = 10.0
REPLY_LIMIT_S = 8.0
LONGEST_REPLY_S = 40.0
# A reply is over after this silence; pauses between clauses are shorter.
OVER_S = 1.1
# Between two turns a caller thinks for a moment, never twice the same.
THINKING_S = (0.2, 0.7)
# The clock of the recording and that of `speak` may differ by a packet or two.
SLACK_S = 0.12


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance in a call: seconds of the recording, and the clock's time at its end."""

    what: Utterance
    began: float
    ended: float
    ended_at: float


@dataclass(slots=True)
class Talk:
    """A call that runs. `said` grows with each `say`."""

    call: OutgoingCall
    said: list[Said] = field(default_factory=list)

    async def say(self, what: Utterance) -> Said:
        """Says it, and returns when its last packet was sent."""
        started = self.call.recording.started
        began = time.monotonic()
        ended = await self.call.speak(what.packets)
        said = Said(what, began - started, ended - started, time.time())
        self.said.append(said)
        return said

    async def recorded(self, folder: Path | None) -> listen.Stereo:
        """The recording so far, also as a WAV named after the call when there is a folder for it."""
        stereo = await asyncio.to_thread(self.call.recording.stereo)
        if folder is not None:
            await asyncio.to_thread(write_wav, folder / f"{self.call.call_id}.wav", stereo)
        return stereo

    async def reply_begins(self, said: Said, timeout: float = REPLY_LIMIT_S) -> bool:
        """Waits for the first sound after `said`."""
        return await self.call.wait_speech(timeout, after=said.ended + self.call.recording.started)

    async def reply_ends(self) -> None:
        await self.call.wait_silence(LONGEST_REPLY_S, lasting=OVER_S)

    async def turn(self, what: Utterance) -> None:
        """Says something and hears the reply, if any, to its end."""
        await asyncio.sleep(random.uniform(*THINKING_S))
        if await self.reply_begins(await self.say(what)):
            await self.reply_ends()


@asynccontextmanager
async def talk(caller: Caller, address: str) -> AsyncIterator[Talk]:
    """A call that was greeted; hung up afterwards. Raises BenchFailed when it is not answered."""
    try:
        call = await caller.dial(address)
    except CallFailed as failed:
        raise BenchFailed(f"{address}: {failed}") from None
    try:
        await call.wait_speech(GREETING_LIMIT_S)
        await call.wait_silence(LONGEST_REPLY_S, lasting=OVER_S)
        yield Talk(call)
        # What is said last is recorded when it was heard; the agent reports it then.
        await asyncio.sleep(0.3)
    finally:
        await call.hang_up()


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance as the recording has it, with the agent's first sound after its end and any sound that
    began while it lasted."""

    text: str
    said: Interval
    reply: float | None
    over: float | None

    @property
    def voice_to_voice(self) -> float | None:
        return None if self.reply is None else self.reply - self.said.end


def heard(stereo: listen.Stereo, said: list[Said]) -> list[Heard]:
    """Every utterance of a call as recorded. A sound up to 0.1 s after the end began without hearing the end."""
    ours, theirs = listen.speech(stereo[:, 0]), listen.speech(stereo[:, 1])
    ends = [one.began for one in said[1:]] + [float("inf")]
    return [_heard(one, until, ours, theirs) for one, until in zip(said, ends, strict=True)]


def _heard(said: Said, until: float, ours: list[Interval], theirs: list[Interval]) -> Heard:
    mine = [one for one in ours if one.end > said.began - SLACK_S and one.start < said.ended + SLACK_S]
    if not mine:
        raise BenchFailed(f"{said.what.text!r} is not in the caller's channel of the recording.")
    span = Interval(mine[0].start, mine[-1].end)
    starts = [one.start for one in theirs if one.start < until]
    over = next((at for at in starts if span.start <= at < span.end + 0.1), None)
    reply = next((at for at in starts if at >= span.end), None)
    return Heard(said.what.text, span, reply, over)
