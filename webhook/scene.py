"""One call as it stands this moment: its caller, its agents, and who was sent to it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from webhook.attempts import Attempts, Progress
from webhook.call import Call
from webhook.rooms import LiveKitAway, Rooms, Sent
from webhook.roster import Roster
from webhook.survey import Agent, agents_in, callers_in, serving, survey


@dataclass(frozen=True, slots=True)
class Scene:
    """`latest` counts from 1; 0 when none was sent. `active`: the caller's line is answered, as a phone says."""

    call: Call
    agents: Sequence[Agent]
    latest: int
    active: bool
    progress: Progress


class Scenes:
    """Asks LiveKit about one call; where it is comes from the roster, or from all rooms."""

    def __init__(self, rooms: Rooms, roster: Roster, attempts: Attempts) -> None:
        self._rooms = rooms
        self._roster = roster
        self._attempts = attempts

    async def of(self, call_id: UUID) -> Scene | None:
        """The call, or None when its caller is not there. Raises `LiveKitAway`."""
        known = await self._find(call_id)
        if known is None:
            return None
        room, present, sent = await asyncio.gather(
            self._rooms.room(known.room), self._rooms.participants(known.room), self._sent(known)
        )
        call = callers_in(present, room).get(call_id) if room else None
        if call is None:
            return None
        if isinstance(sent, LiveKitAway):
            raise sent
        newest = max(sent, key=lambda one: one.attempt, default=None)
        progress = self._attempts.of(call_id)
        if newest is not None:
            progress.sent(newest.attempt, self._attempts.clock(), newest.age_s)
        return Scene(
            call=call.model_copy(update={"arrived_at": known.arrived_at}),
            agents=serving(agents_in(present, call.room), call),
            latest=newest.attempt if newest else 0,
            active=any(
                one.identity == call.identity and one.attributes.get("sip.callStatus") == "active" for one in present
            ),
            progress=progress,
        )

    async def _sent(self, call: Call) -> Sequence[Sent] | LiveKitAway:
        try:
            sent = await self._rooms.dispatches(call.room)
        except LiveKitAway as error:
            # A room that is gone has no list, and that is no failure.
            return error
        return [one for one in sent if one.call_id == str(call.call_id)]

    async def _find(self, call_id: UUID) -> Call | None:
        if call_id not in self._roster.calls:
            await self._roster.refresh()
        if call_id in self._roster.calls:
            return self._roster.calls[call_id]
        call = (await survey(self._rooms)).callers.get(call_id)
        if call is not None:
            await self._roster.add(call)
        return call
