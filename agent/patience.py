"""How long the agent waits for a silent caller, and how long a call may last."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from agent.ending import Ending, Reason
from agent.hearing import Hearing
from agent.line import Line
from agent.mouth import Mouth
from switchboard.fact import Body, LengthWarned, SilencePrompted
from switchboard.persona import Persona

TICK_S = 0.25
PROMPTS = 1
STILL_THERE = "Are you still there?"
WARN_S = 60.0
ALMOST_OVER = "Just so you know, we have about a minute left."

Say = Callable[[str], Awaitable[None]]


class Patience:
    """Prompts a silent caller, warns before the longest call's end, and ends what lasts too long."""

    def __init__(
        self,
        persona: Persona,
        hearing: Hearing,
        mouth: Mouth,
        line: Line,
        *,
        busy: Callable[[], bool],
        say: Say,
        tell: Callable[[Body], None],
        ending: Ending,
    ) -> None:
        self._persona = persona
        self._hearing = hearing
        self._mouth = mouth
        self._line = line
        self._busy = busy
        self._say = say
        self._tell = tell
        self._ending = ending

    async def watch_silence(self) -> None:
        """Asks once whether the caller is still there, then ends the call."""
        quiet_since, prompted, sign = time.monotonic(), 0, self._sign_of_life
        while True:
            await asyncio.sleep(TICK_S)
            if self._sign_of_life > sign:
                sign, prompted = self._sign_of_life, 0
                quiet_since = time.monotonic()
            if self._mouth.speaking or self._busy() or self._line.on_hold:
                quiet_since = time.monotonic()
            if time.monotonic() - quiet_since < self._persona.silence_timeout_s:
                continue
            if prompted >= PROMPTS:
                self._ending.because(Reason.SILENCE)
                return
            prompted += 1
            self._tell(SilencePrompted(times=prompted))
            await self._say(STILL_THERE)
            quiet_since = time.monotonic()

    @property
    def _sign_of_life(self) -> float:
        return max(self._hearing.last_voice_at, self._line.touched_at)

    async def watch_length(self, talked_s: float = 0.0) -> None:
        """Warns a minute before the persona's longest call is over (half-way for short ones), then ends it.

        `talked_s`: how long the call has lasted before.
        """
        longest = self._persona.max_call_minutes * 60
        left = min(WARN_S, longest / 2)
        over_at = time.monotonic() + longest - talked_s
        if (wait := over_at - left - time.monotonic()) >= 0:
            await asyncio.sleep(wait)
            await self._warn(left)
        await asyncio.sleep(max(over_at - time.monotonic(), 0.0))
        self._ending.because(Reason.MAX_LENGTH)

    async def _warn(self, left: float) -> None:
        self._tell(LengthWarned(seconds_left=left))
        # A line on which nothing can be heard just now ends all the same.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                if left == WARN_S:
                    await self._say(ALMOST_OVER)
