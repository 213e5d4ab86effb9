"""Records a call: both sides as they are heard, in files that are `BEHIND_S` behind, so that what must not be kept
never is.

It is paused for an operator, who says so in Redis, and by the AI; card numbers and keys are made silent afterwards.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import structlog
from livekit.agents import function_tool, llm
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent.hearing import Hearing
from agent.mixer import Mixer
from agent.mouth import Mouth
from agent.recall import Past, in_order
from agent.report import Report
from agent.spool import Head, Writer
from switchboard import fact, stream
from switchboard.fact import Fact, Pauser
from switchboard.persona import Persona
from switchboard.recordings import BEHIND_S, Wanted, microseconds, recording_id
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

WRITE_EVERY_S = 1.0
FOLLOW_EVERY_S = 0.5
# The caller begins to speak before it is noticed.
PREROLL_S = 0.5
# Around keys: a tone is a little longer than it takes to say so, and the next key is not far.
BEFORE_KEY_S, AFTER_KEY_S = 1.0, 2.0
# Nobody says thirteen digits in less; what is shorter may stay though its words were never known.
LONGEST_UNREAD_S = 3.0
LAST_WRITE_S = 3.0
_FOLLOWED = 1_024
# What may be a card number keeps nothing waiting for longer; the mixer holds a little more.
LONGEST_WAIT_S = 120.0
UNKNOWN = "it could not be learned who has paused it, and so nothing was kept: is Redis there?"
DISK_HANGS = "the disk does not answer"
BROKE = "a fault of the agent's own: its log says more at recording_failed"

# Who has paused it; `unknown`: perhaps somebody, who is not known yet.
_Holder = Pauser | Literal["unknown"]


class Recording:
    """The recording of one call by one agent, for a persona that records; for any other it does nothing."""

    def __init__(self, settings: Settings, persona: Persona, hearing: Hearing, mouth: Mouth) -> None:
        self.on = persona.record
        self._home: Path = settings.home
        self._redis_url = settings.redis_url
        self._keep_days = persona.recording_days
        self._hearing = hearing
        self._mouth = mouth
        self._running: _Running | None = None

    def begin(self, report: Report, past: Past) -> None:
        """From here on it is recorded; once."""
        if not self.on or self._running is not None:
            return
        report.add(fact.RecordingStarted(attempt=report.attempt, began_at=report.began, keep_days=self._keep_days))
        redis = stream.connect(self._redis_url)
        self._running = running = _Running(self._home, report, past, self._hearing)
        running.follow(redis, report.call_id)
        self._hearing.on_audio = running.heard
        self._hearing.on_unread = running.unread
        self._hearing.cards.on_card = running.card
        self._mouth.on_sound = running.said
        self._mouth.on_taken_back = running.taken_back

    async def end(self, *, over: bool) -> None:
        """All that was recorded is on disk. `over`: so is the call, else another agent goes on. Never raises."""
        running, self._running = self._running, None
        if running is None:
            return
        self._hearing.on_audio = self._mouth.on_sound = lambda _data: None
        self._hearing.on_unread = lambda _since, _until: None
        self._hearing.cards.on_card = lambda _since: None
        self._mouth.on_taken_back = lambda: None
        await running.end(over=over)

    def key_pressed(self) -> None:
        """The caller has pressed a key just now."""
        if self._running is not None:
            self._running.key()

    @property
    def tools(self) -> list[llm.Tool]:
        """What the language model may do with it."""
        if not self.on:
            return []

        @function_tool
        async def pause_recording() -> str:
            """Stop keeping the sound of this call: before the caller says card details, a password or anything else
            that must not be kept, and whenever the caller asks for it."""
            return self._changed(lambda running: running.pause("ai"), "Nothing is recorded now.")

        @function_tool
        async def resume_recording() -> str:
            """Go on recording the call, when what must not be kept has been said."""
            return self._changed(lambda running: running.resume("ai"), "The call is recorded again.")

        return [pause_recording, resume_recording]

    def _changed(self, change: "Callable[[_Running], None]", said: str) -> str:
        if self._running is None:
            return "The call is not being recorded."
        change(self._running)
        return "An operator has paused it: it stays paused." if self._running.held_by("operator") else said


class _Running:
    """A recording that runs. Times are seconds from its start, which is the call's, by a clock that nobody sets."""

    def __init__(self, home: Path, report: Report, past: Past, hearing: Hearing) -> None:
        self._report = report
        self._past = past
        self._hearing = hearing
        self._mixer = Mixer(self._now())
        head = Head(
            recording=recording_id(report.call_id),
            call_id=report.call_id,
            conversation_id=report.conversation_id,
            start_us=microseconds(report.began),
        )
        self._writer = Writer(home, head)
        self._held: set[_Holder] = set(past.paused_by)
        if report.attempt > 1:
            self._held.add("unknown")
        self._kept_from = 0.0
        self._keys: tuple[float, float] | None = None
        self._troubles: set[str] = set()
        self._over = asyncio.Event()
        self._writing = self._start(self._write_always(), "recording.write")
        self._tasks = {self._writing}
        if self._held:
            self._mixer.silence(0.0)

    def _now(self) -> float:
        return self._at(time.monotonic())

    def _at(self, monotonic: float) -> float:
        return monotonic - self._report.zero

    def _of(self, since_1970: float) -> float:
        """A time by the clock that others go by, as one of the recording; it may be a little off."""
        return self._now() - (time.time() - since_1970)

    def heard(self, data: bytes) -> None:
        if self._mixer.full:
            self._lost(DISK_HANGS)
        self._mixer.heard(self._now(), data)

    def said(self, data: bytes) -> None:
        self._mixer.said(self._now(), data)

    def taken_back(self) -> None:
        self._mixer.cut(self._now())

    def held_by(self, who: Pauser) -> bool:
        return who in self._held

    def pause(self, by: Pauser, at: float | None = None) -> None:
        """Silence from `at` on; what is older than `BEHIND_S` is on disk already."""
        now = self._now()
        at = now if at is None else min(max(at, now - BEHIND_S), now)
        if by in self._held:
            return
        self._held.add(by)
        self._mixer.silence(at)
        self._report.add(fact.RecordingPaused(by=by, offset_s=round(at, 3)))

    def resume(self, by: Pauser) -> None:
        """Goes on, unless somebody else has paused it as well. An operator takes back the AI's pause too."""
        mine: tuple[Pauser, ...] = ("ai", "operator") if by == "operator" else (by,)
        released = [who for who in mine if who in self._held]
        if not released:
            return
        self._held.difference_update(released)
        self._kept_from = now = self._now()
        if not self._held:
            self._mixer.unsilence(now)
        for who in released:
            self._report.add(fact.RecordingResumed(by=who, offset_s=round(now, 3)))

    def card(self, since: float) -> None:
        """A card number was being said since then (`time.monotonic`), and is known now."""
        self._hide_words(since)

    def unread(self, since: float, until: float) -> None:
        """Nobody will know the words from then to then: they may be a card number, or the end of one."""
        digits = self._hearing.cards.dictating(since)
        if digits is not None:
            since = min(digits, since)
        elif until - since < LONGEST_UNREAD_S:
            return
        self._hide_words(since)

    def key(self) -> None:
        now = self._now()
        self._tell_keys(now)
        start = self._keys[0] if self._keys else max(now - BEFORE_KEY_S, 0.0)
        self._keys = start, now + AFTER_KEY_S
        self._mixer.silence(*self._keys)

    def _tell_keys(self, now: float, *, over: bool = False) -> None:
        """Keys one after the other are one silence, told when there are no more."""
        if self._keys is not None and (over or now > self._keys[1]):
            start, end = self._keys
            self._keys = None
            self._tell_redacted("keys", start, min(end, now))

    def _hide_words(self, since: float) -> None:
        """Silence since a little before then (`time.monotonic`) up to now."""
        start, now = max(self._at(since) - PREROLL_S, 0.0), self._now()
        self._mixer.silence(start, now)
        self._tell_redacted("card", start, now)

    def _tell_redacted(self, why: Literal["card", "keys"], start: float, end: float) -> None:
        self._report.add(fact.RecordingRedacted(why=why, offset_s=round(start, 3), seconds=round(end - start, 3)))

    def follow(self, redis: Redis, call_id: UUID) -> None:
        self._tasks.add(self._start(self._follow_always(redis, call_id), "recording.follow"))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        # A fault of ours is none of the call's.
        if not task.cancelled() and task.exception() is not None:
            # Nobody follows any more what others want.
            self._held.add("unknown")
            self._mixer.silence(self._now())
            log.error("recording_failed", exc_info=task.exception())
            self._lost(BROKE)

    async def _follow_always(self, redis: Redis, call_id: UUID) -> None:
        """Does what operators want. A Redis that is away or was emptied says nothing: what held last holds."""
        key, whole = stream.recording_key(call_id), self._past.whole
        last: str | None = None
        try:
            while True:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    if not whole:
                        self._learned(await stream.carried(redis, call_id))
                        whole = True
                    text = str(await redis.get(key) or "")
                    if text != last:
                        self._wanted(text[:_FOLLOWED], first=last is None)
                        last = text
                    self._known()
                await asyncio.sleep(FOLLOW_EVERY_S)
        finally:
            await redis.aclose()

    def _learned(self, facts: Sequence[Fact]) -> None:
        """What other agents left, which could not be had as this one came."""
        whole = Past(tuple(in_order([*self._past.facts, *facts], self._report.attempt)))
        self._held |= whole.paused_by

    def _known(self) -> None:
        """Who wants it paused is known: with nobody among them, what is not on disk yet is kept."""
        if "unknown" not in self._held:
            return
        self._held.discard("unknown")
        if not self._held:
            self._mixer.unsilence(self._kept_from)

    def _wanted(self, text: str, *, first: bool) -> None:
        if not text:
            return
        try:
            wanted = Wanted.model_validate_json(text)
        except ValidationError:
            log.warning("recording_wish_unreadable")
            return
        if wanted.paused:
            self.pause("operator", self._of(wanted.at))
        elif not first or self.held_by("operator"):
            # What was resumed before this agent came says nothing of what the AI has paused since.
            self.resume("operator")

    async def _write_always(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._over.wait()
            self._tell_keys(self._now())
            await self._write(self._old_enough())

    def _old_enough(self) -> float:
        """Until when nothing can become silent any more: what may be a card number waits until it is known."""
        now = self._now()
        since = self._hearing.undecided_since
        if since is None:
            return now - BEHIND_S
        return min(now - BEHIND_S, max(self._at(since) - PREROLL_S, now - LONGEST_WAIT_S))

    async def _write(self, until: float) -> None:
        start, sound = self._mixer.take(until)
        if not sound:
            return
        if "unknown" in self._held:
            self._lost(UNKNOWN)
        try:
            await asyncio.to_thread(self._writer.write, start, sound)
        except OSError as error:
            self._lost(error.strerror or type(error).__name__)

    def _lost(self, why: str) -> None:
        # Said once for each trouble.
        if why not in self._troubles:
            self._troubles.add(why)
            log.warning("recording_incomplete", error=why)
            self._report.add(fact.RecordingIncomplete(reason=why))

    async def end(self, *, over: bool) -> None:
        now = self._now()
        self._mixer.cut(now)
        unread = self._hearing.unread_since
        if unread is not None:
            self.unread(unread, time.monotonic())
        self._tell_keys(now, over=True)
        for task in self._tasks - {self._writing}:
            task.cancel()
        # Not cancelled: what a thread writes it goes on writing, and two must not write at once.
        self._over.set()
        await asyncio.wait(self._tasks, timeout=LAST_WRITE_S)
        if self._writing.done():
            self._writing = self._start(self._write_last(now), "recording.last")
            await asyncio.wait({self._writing}, timeout=LAST_WRITE_S)
        if not self._writing.done():
            self._lost(DISK_HANGS)
        if over:
            self._report.add(fact.RecordingEnded(seconds=round(now, 3)))

    async def _write_last(self, until: float) -> None:
        await self._write(until)
        await asyncio.to_thread(self._writer.close)
