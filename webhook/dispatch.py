"""One agent for a call: whoever asks, however often, at once or again.

A lock in Redis lets one process act; what LiveKit lists says whether it was done before. Without Redis the
processes of one host take turns by a file lock, and those of several hosts are told apart in the room,
where the agents of one call settle who stays.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from switchboard.dispatch import MAX_BYTES, DispatchMetadata
from switchboard.fact import AgentDispatched, DispatchFailed, NumberRejected, PersonaResolved
from switchboard.stream import beat_key
from webhook.attempts import Attempts
from webhook.call import Call, call_of
from webhook.journal import Journal
from webhook.metrics import Metrics
from webhook.personas import Personas, Resolved
from webhook.rooms import LiveKitAway, Rooms, Sent
from webhook.store import Store
from webhook.survey import agents_in, serving

log = structlog.get_logger(__name__)

# A phone rings for 30 s.
TRIES_FOR_S = 30.0
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0
# LiveKit may list a participant a little after it told of it.
LOOKS = 5
LOOK_PAUSE_S = 0.1
# Without Redis: how far apart in time receivers look, at most.
SPREAD_MS = 100
TURNS = 64
TURN_WAITS_S = 3.0


@dataclass(frozen=True, slots=True)
class Errand:
    """An agent to be sent. `since`: when it was needed, in monotonic seconds. `why`: what became of the one before.

    `told`: somebody told this process alone, so that no other is about to do the same.
    """

    call: Call
    attempt: int
    since: float
    why: str = ""
    told: bool = False


@dataclass(slots=True)
class _Sending:
    errand: Errand
    resolved: Resolved | None = None
    failure_told: bool = False

    @property
    def call(self) -> Call:
        return self.errand.call

    @property
    def attempt(self) -> int:
        return self.errand.attempt


class Dispatcher:
    def __init__(
        self,
        rooms: Rooms,
        store: Store,
        personas: Personas,
        journal: Journal,
        metrics: Metrics,
        attempts: Attempts,
        *,
        agent: str,
        home: Path,
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._personas = personas
        self._journal = journal
        self._metrics = metrics
        self._attempts = attempts
        self._agent = agent
        self._locks = home / "locks"

    async def send(self, errand: Errand) -> str:
        """Sends an agent to the call unless one was sent. Tries while the caller is there, 30 s at most.

        Gives what became of it.
        """
        call, attempt = errand.call, errand.attempt
        sending = _Sending(errand)
        outcome, pause = "failed", FIRST_PAUSE_S
        give_up = time.monotonic() + TRIES_FOR_S
        while True:
            locked = await self._store.lock(call.call_id, attempt)
            if locked is False:
                outcome = "locked"
                break
            try:
                async with self._turn(call, needed=locked is None):
                    outcome = await self._once(sending, locked=locked is True)
            except LiveKitAway as error:
                await self._store.release(call.call_id, attempt)
                self._tell_failure(sending, str(error))
            else:
                if outcome != "sent":
                    # Whoever finds that one is needed after all must not wait for the lock to expire.
                    await self._store.release(call.call_id, attempt)
                break
            if time.monotonic() + pause > give_up:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        self._metrics.dispatches.labels(outcome).inc()
        return outcome

    async def _once(self, sending: _Sending, *, locked: bool) -> str:
        # A room that is gone has no list of dispatches, and that is no failure.
        outcome, sent = await asyncio.gather(self._not_needed(sending), self._sent(sending), return_exceptions=True)
        if isinstance(outcome, BaseException):
            raise outcome
        # A dispatch to a room that is gone would make the room again.
        if outcome:
            return outcome
        if isinstance(sent, BaseException):
            raise sent
        # A server that was restarted lists none of those that were sent before.
        if _has(sent, sending.attempt) or self._attempts.of(sending.call.call_id).sent_to >= sending.attempt:
            return "sent_before"
        told = await self._metadata(sending, sent)
        if not locked and not sending.errand.told:
            # Receivers on other hosts that got the same event must not look at the same moment.
            await asyncio.sleep(secrets.randbelow(SPREAD_MS) / 1000)
            if _has(await self._sent(sending), sending.attempt):
                return "sent_before"
        dispatch = await self._rooms.dispatch(sending.call.room, self._agent, told)
        self._attempts.of(sending.call.call_id).sent(sending.attempt, self._attempts.clock())
        self._tell_sent(sending, dispatch)
        return "sent"

    async def _sent(self, sending: _Sending) -> list[Sent]:
        sent = await self._rooms.dispatches(sending.call.room)
        return [one for one in sent if one.call_id == str(sending.call.call_id)]

    async def _metadata(self, sending: _Sending, sent: Sequence[Sent]) -> str:
        """What the agent is told: the same as the one before it, or else what the dialed number says."""
        before = max(sent, key=lambda one: one.attempt, default=None)
        if before is not None and (again := told_again(before.metadata, sending.call, sending.attempt)):
            return again
        if sending.resolved is None:
            sending.resolved = await self._personas.of(sending.call, since=sending.errand.since)
            self._tell_persona(sending, sending.resolved)
        return metadata(sending.call, sending.attempt, sending.resolved)

    def _tell_persona(self, sending: _Sending, resolved: Resolved) -> None:
        if resolved.rejected:
            rejected = NumberRejected(dialed=sending.call.dialed, reason=resolved.rejected)
            self._journal.put(sending.call, rejected, shared=0)
        body = PersonaResolved(
            source=resolved.source,
            persona=resolved.name,
            version=resolved.version,
            variant=resolved.variant,
            ms=round(resolved.ms, 1),
        )
        self._journal.put(sending.call, body, shared=sending.attempt)

    def _tell_sent(self, sending: _Sending, dispatch: str) -> None:
        took = time.monotonic() - sending.errand.since
        self._metrics.dispatch_seconds.observe(took)
        if sending.attempt > 1:
            self._metrics.replacements.labels(sending.errand.why or "unreached").inc()
        ms = round(took * 1000, 1)
        body = AgentDispatched(agent=self._agent, attempt=sending.attempt, dispatch=dispatch, ms=ms)
        self._journal.put(sending.call, body, shared=sending.attempt)
        log.info("agent_dispatched", call_id=str(sending.call.call_id), attempt=sending.attempt, ms=ms)

    def _tell_failure(self, sending: _Sending, reason: str) -> None:
        log.warning("dispatch_failed", call_id=str(sending.call.call_id), attempt=sending.attempt, error=reason)
        if not sending.failure_told:
            self._journal.put(sending.call, DispatchFailed(attempt=sending.attempt, reason=reason))
        sending.failure_told = True

    async def _not_needed(self, sending: _Sending) -> str:
        """Why no agent is needed now; empty when one is."""
        call = sending.call
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_PAUSE_S)
            present = await self._rooms.participants(call.room)
            found = (call_of(one, room=call.room, room_sid=call.room_sid) for one in present)
            if not any(one is not None and one.call_id == call.call_id for one in found):
                continue
            there = serving(agents_in(present, call.room), call)
            current = [one for one in there if self._attempts.current(call.call_id, one)]
            # Of a first agent LiveKit's list of dispatches tells; a server that was restarted has forgotten it.
            serves = bool(current) and (sending.attempt > 1 or await self._beats(call))
            return "agent_there" if serves else ""
        return "caller_gone"

    async def _beats(self, call: Call) -> bool:
        """Whether an agent of the call is alive, as far as Redis knows."""
        return bool(await self._store.beating([beat_key(call.call_id)]))

    @asynccontextmanager
    async def _turn(self, call: Call, *, needed: bool) -> AsyncIterator[None]:
        """Waits for this host's other processes that look after the same call; not for ever."""
        if not needed:
            yield
            return
        self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self._locks / f"dispatch-{call.call_id.int % TURNS}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await _locked(file)
            yield
        finally:
            os.close(file)


async def _locked(file: int) -> None:
    give_up = time.monotonic() + TURN_WAITS_S
    while time.monotonic() < give_up:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            return


def _has(sent: Sequence[Sent], attempt: int) -> bool:
    return any(one.attempt >= attempt for one in sent)


def told_again(before: str, call: Call, attempt: int) -> str | None:
    """The metadata of an earlier dispatch of the call for another attempt; None when it cannot be read."""
    told, _persona, _wrong = DispatchMetadata.read(before)
    if told is None or told.call_id != call.call_id:
        return None
    return told.model_copy(update={"attempt": attempt, "room_sid": call.room_sid}).model_dump_json()


def metadata(call: Call, attempt: int, resolved: Resolved) -> str:
    """What the agent is told, as JSON of at most 512 KiB."""
    told = DispatchMetadata(
        conversation_id=call.conversation_id,
        call_id=call.call_id,
        room_sid=call.room_sid,
        attempt=attempt,
        dialed_number=call.dialed,
        caller_number=call.number,
        persona_source=resolved.source,
        persona=resolved.persona,
    )
    text = told.model_dump_json()
    # The answer is at most 256 KiB as JSON, so that this holds; LiveKit would refuse a longer one.
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"metadata of {len(text)} characters is beyond {MAX_BYTES} bytes")
    return text
