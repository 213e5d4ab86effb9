"""The watcher: asks LiveKit who is in which room, and mends what events did not bring about.

A caller without an agent gets one; a call that ended, its caller and its agent both gone, is closed on
record. Of all webhook processes one acts while Redis answers; without Redis each does, which is safe, as
whatever the watcher does is done once however often it is asked for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import structlog
from livekit.api import ParticipantInfo

from switchboard.call import CALL_ID, REJOIN_S
from switchboard.fact import CallEnded, shared_id
from webhook.arrivals import Arrivals
from webhook.call import Call, call_of
from webhook.journal import Journal
from webhook.metrics import Metrics
from webhook.rooms import LiveKitAway, Room, Rooms
from webhook.roster import Roster
from webhook.store import Store

log = structlog.get_logger(__name__)

PAUSE_S = 2.0
SHORTEST_PAUSE_S = 0.2
ROOMS_AT_ONCE = 8
# The event of a caller who just came is on its way.
EVENT_WAITS_S = 1.5
# A dispatch finds a worker within 5 s or never; one that was taken by a worker may start slowly.
UNTAKEN_WAITS_S = 5.0
TAKEN_WAITS_S = 12.0
LONGEST_WAIT_S = 60.0
MANY_ATTEMPTS = 5
MAX_ATTEMPTS = 1_000
# The agent of a phone call writes its end within this time; a browser may come back for 20 s.
SIP_GRACE_S = 10.0
BROWSER_GRACE_S = REJOIN_S + 5.0

Result = TypeVar("Result")
Recorded = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]


@dataclass(slots=True)
class _Unserved:
    """A caller without an agent: how many were sent, and since when (monotonic) that is so."""

    attempt: int
    since: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Who is where: callers by call id, the calls that have an agent, and the rooms that did not tell."""

    callers: dict[UUID, Call]
    served: frozenset[UUID]
    silent: frozenset[str]


class Watcher:
    """`recorded` says which of some facts are on record; it may raise nothing and know nothing."""

    def __init__(
        self,
        rooms: Rooms,
        store: Store,
        roster: Roster,
        arrivals: Arrivals,
        journal: Journal,
        metrics: Metrics,
        recorded: Recorded,
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._roster = roster
        self._arrivals = arrivals
        self._journal = journal
        self._metrics = metrics
        self._recorded = recorded
        self._news = asyncio.Event()
        self._unserved: dict[UUID, _Unserved] = {}
        self._gone_since: dict[UUID, float] = {}
        self._ever_served: set[UUID] = set()

    def wake(self) -> None:
        """Looks soon instead of at the next round."""
        self._news.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self.look()
            except LiveKitAway as error:
                log.warning("watcher_sees_nothing", error=str(error))
            except Exception:
                # The process's border: a fault in one round must not end the watch over all calls.
                log.exception("watch_failed")
            await self._pause(time.monotonic() - began)

    async def _pause(self, took: float) -> None:
        self._news.clear()
        await asyncio.sleep(max(SHORTEST_PAUSE_S, took))
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._news.wait()
        except TimeoutError:
            return

    async def look(self) -> None:
        """One round. Raises `LiveKitAway`."""
        await self._roster.refresh()
        if not await self._store.acts():
            self._metrics.live_calls.set(0)
            return
        seen = await self._survey()
        self._metrics.live_calls.set(len(seen.callers))
        self._ever_served |= seen.served
        await self._serve(seen)
        await self._close(seen)

    async def _survey(self) -> Seen:
        rooms = await self._rooms.all()
        found = await _few_at_once(self._present(room) for room in rooms)
        callers: dict[UUID, Call] = {}
        served: set[UUID] = set()
        silent = set()
        for room, present in zip(rooms, found, strict=True):
            if present is None:
                silent.add(room.name)
                continue
            here = _callers(room, present)
            callers |= here
            served |= _served(present, here)
        return Seen(callers, frozenset(served), frozenset(silent))

    async def _present(self, room: Room) -> Sequence[ParticipantInfo] | None:
        try:
            return await self._rooms.participants(room.name)
        except LiveKitAway as error:
            log.warning("room_silent", room=room.name, error=str(error))
            return None

    async def _serve(self, seen: Seen) -> None:
        for call_id in [one for one in self._unserved if one not in seen.callers or one in seen.served]:
            del self._unserved[call_id]
        for call in seen.callers.values():
            await self._roster.add(call)
        unserved = (call for call_id, call in seen.callers.items() if call_id not in seen.served)
        await _few_at_once(self._send_when_due(call) for call in unserved)

    async def _send_when_due(self, call: Call) -> None:
        now = time.monotonic()
        state = self._unserved.setdefault(call.call_id, _Unserved(0, now))
        try:
            sent = [one for one in await self._rooms.dispatches(call.room) if one.call_id == str(call.call_id)]
        except LiveKitAway:
            # The room went meanwhile, or it tells the next time.
            return
        latest = max(sent, key=lambda one: one.attempt, default=None)
        attempt = latest.attempt if latest else 0
        if attempt != state.attempt:
            state.attempt, state.since = attempt, now
        if now - state.since < _patience(attempt, taken=latest is not None and latest.taken):
            return
        if attempt >= MAX_ATTEMPTS or self._arrivals.full:
            return
        self._arrivals.start(call, attempt + 1)

    async def _close(self, seen: Seen) -> None:
        now = time.monotonic()
        gone = {
            call_id: call
            for call_id, call in self._roster.calls.items()
            if call_id not in seen.callers and call_id not in seen.served and call.room not in seen.silent
        }
        self._gone_since = {call_id: self._gone_since.get(call_id, now) for call_id in gone}
        over = {
            call_id: call
            for call_id, call in gone.items()
            if now - self._gone_since[call_id] >= (SIP_GRACE_S if call.channel == "sip" else BROWSER_GRACE_S)
        }
        if not over:
            return
        ends = {call_id: shared_id(call_id, "call_ended", 0) for call_id in over}
        recorded = set(await self._recorded(list(ends.values())))
        for call_id, call in over.items():
            if ends[call_id] not in recorded:
                self._tell_end(call, now - self._gone_since[call_id])
        await self._roster.remove(over)
        self._ever_served -= set(over)

    def _tell_end(self, call: Call, gone_for: float) -> None:
        lasted = (datetime.now(UTC) - call.arrived_at).total_seconds() - gone_for
        reason = "agent_lost" if call.call_id in self._ever_served else "unanswered"
        self._journal.put(call, CallEnded(reason=reason, duration_s=round(max(0.0, lasted), 1)), shared=0)
        log.info("call_closed", call_id=str(call.call_id), reason=reason)


async def _few_at_once(works: Iterable[Awaitable[Result]]) -> list[Result]:
    few = asyncio.Semaphore(ROOMS_AT_ONCE)

    async def one(work: Awaitable[Result]) -> Result:
        async with few:
            return await work

    return await asyncio.gather(*(one(work) for work in works))


def _patience(attempt: int, *, taken: bool) -> float:
    if attempt == 0:
        return EVENT_WAITS_S
    if attempt >= MANY_ATTEMPTS:
        return LONGEST_WAIT_S
    return TAKEN_WAITS_S if taken else UNTAKEN_WAITS_S


def _callers(room: Room, present: Sequence[ParticipantInfo]) -> dict[UUID, Call]:
    calls = (
        call_of(one, room=room.name, room_sid=room.sid)
        for one in present
        if one.attributes.get("sip.callStatus") != "hangup"
    )
    return {call.call_id: call for call in calls if call is not None}


def _served(present: Sequence[ParticipantInfo], callers: Collection[UUID]) -> set[UUID]:
    """The calls that agents in a room serve; an agent that names no call serves every caller there."""
    served: set[UUID] = set()
    for one in present:
        if one.kind != ParticipantInfo.Kind.AGENT:
            continue
        named = one.attributes.get(CALL_ID)
        if named is None:
            served |= set(callers)
            continue
        try:
            served.add(UUID(named))
        except ValueError:
            continue
    return served
