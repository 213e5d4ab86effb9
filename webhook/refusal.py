"""Callers who get no agent: their call is refused while it rings."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from livekit.api import ParticipantInfo

from switchboard.fact import CallEnded
from webhook.call import Call
from webhook.journal import Journal
from webhook.metrics import Metrics
from webhook.rooms import LiveKitAway, Rooms
from webhook.roster import Roster

log = structlog.get_logger(__name__)

LOOKS = 10
LOOK_PAUSE_S = 0.1
# Of these no caller or operator is lost when a room goes.
_OURS = frozenset({ParticipantInfo.Kind.AGENT, ParticipantInfo.Kind.EGRESS})


class Refusals:
    def __init__(self, rooms: Rooms, journal: Journal, roster: Roster, metrics: Metrics) -> None:
        self._rooms = rooms
        self._journal = journal
        self._roster = roster
        self._metrics = metrics

    async def refuse(self, call: Call, attempt: int, reason: str) -> bool:
        """Ends the call without an agent, with this reason on record. False when it was answered: it goes on.

        With LiveKit away nothing happens: the watcher finds the caller again.
        """
        try:
            present = await self._present(call)
            if await self._is_answered(call, attempt, present):
                return False
            await self._end(call, present)
        except LiveKitAway as error:
            log.warning("refusal_failed", call_id=str(call.call_id), reason=reason, error=str(error))
            return True
        rang = (datetime.now(UTC) - call.arrived_at).total_seconds()
        self._journal.put(call, CallEnded(reason=reason, duration_s=round(max(0.0, rang), 1)), shared=0)
        self._metrics.dispatches.labels(reason).inc()
        self._metrics.refused_calls.labels(reason).inc()
        await self._roster.remove([call.call_id])
        return True

    async def _present(self, call: Call) -> Sequence[ParticipantInfo]:
        """Who is in the room once the caller's sound is there too; that is waited for, 1 s at most."""
        for _ in range(LOOKS):
            present = await self._rooms.participants(call.room)
            if any(one.identity == call.identity and one.tracks for one in present):
                return present
            # A room that goes while a phone still joins it leaves the phone waiting for a long time.
            await asyncio.sleep(LOOK_PAUSE_S)
        return await self._rooms.participants(call.room)

    async def _is_answered(self, call: Call, attempt: int, present: Sequence[ParticipantInfo]) -> bool:
        """Whether an agent answered: a line that is active though none was sent does not tell."""
        mine = (one for one in present if one.identity == call.identity)
        if not any(one.attributes.get("sip.callStatus") == "active" for one in mine):
            return False
        return attempt > 1 or any(one.call_id == str(call.call_id) for one in await self._rooms.dispatches(call.room))

    async def _end(self, call: Call, present: Sequence[ParticipantInfo]) -> None:
        others = [one for one in present if one.identity != call.identity and one.kind not in _OURS]
        if others:
            await self._rooms.remove(call.room, call.identity)
        else:
            await self._rooms.delete(call.room)
