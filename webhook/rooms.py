"""LiveKit's rooms, participants and dispatches, each request with a deadline."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from livekit import api
from livekit.api import ParticipantInfo

from switchboard.call import ATTEMPT, CALL_ID
from switchboard.settings import Settings

DEADLINE_S = 2.0
Result = TypeVar("Result")


class LiveKitAway(Exception):
    """LiveKit did not answer as asked; the text says how."""


@dataclass(frozen=True, slots=True)
class Room:
    name: str
    sid: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A dispatch that carries our metadata. `taken`: LiveKit lists a job for it, which may come late.

    `age_s` is by this host's clock and LiveKit's, which may differ.
    """

    dispatch: str
    call_id: str
    attempt: int
    taken: bool
    metadata: str
    age_s: float


class Rooms:
    def __init__(self, livekit: api.LiveKitAPI) -> None:
        self._livekit = livekit

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator["Rooms"]:
        livekit = api.LiveKitAPI(
            settings.livekit_url,
            settings.livekit_api_key,
            settings.livekit_api_secret.get_secret_value(),
            timeout=aiohttp.ClientTimeout(total=DEADLINE_S),
            # A repeat of ours looks for what the first try did; one inside the library would not.
            failover=False,
        )
        try:
            yield cls(livekit)
        finally:
            await livekit.aclose()

    async def all(self) -> Sequence[Room]:
        answer = await _asked(self._livekit.room.list_rooms(api.ListRoomsRequest()))
        return [Room(room.name, room.sid) for room in answer.rooms]

    async def room(self, name: str) -> Room | None:
        """The room of this name, if there is one."""
        answer = await _asked(self._livekit.room.list_rooms(api.ListRoomsRequest(names=[name])))
        return next((Room(room.name, room.sid) for room in answer.rooms), None)

    async def answers(self) -> None:
        """Raises `LiveKitAway` unless the server answers and takes our key."""
        await _asked(self._livekit.room.list_rooms(api.ListRoomsRequest(names=["switchboard-health"])))

    async def participants(self, room: str) -> Sequence[ParticipantInfo]:
        """Who is in the room; nobody when there is no such room."""
        answer = await _asked(self._livekit.room.list_participants(api.ListParticipantsRequest(room=room)))
        return [one for one in answer.participants if one.state != ParticipantInfo.State.DISCONNECTED]

    async def dispatches(self, room: str) -> Sequence[Sent]:
        """Our dispatches in the room. A room that does not exist is `LiveKitAway`."""
        found = await _asked(self._livekit.agent_dispatch.list_dispatch(room))
        return [sent for one in found if (sent := _sent(one)) is not None]

    async def dispatch(self, room: str, agent: str, metadata: str) -> str:
        """Sends an agent; gives the dispatch's id."""
        request = api.CreateAgentDispatchRequest(agent_name=agent, room=room, metadata=metadata)
        made = await _asked(self._livekit.agent_dispatch.create_dispatch(request))
        return made.id

    async def delete(self, room: str) -> None:
        """Ends the room for everybody in it; one that is gone is no error."""
        await _asked(_unless_gone(self._livekit.room.delete_room(api.DeleteRoomRequest(room=room))))

    async def remove(self, room: str, identity: str) -> None:
        """Takes one participant out of the room; one who is gone is no error."""
        one = api.RoomParticipantIdentity(room=room, identity=identity)
        await _asked(_unless_gone(self._livekit.room.remove_participant(one)))


async def _asked(answer: Awaitable[Result]) -> Result:
    try:
        return await answer
    except api.ServerError as error:
        raise LiveKitAway(f"LiveKit answered {error.status} {error.code}") from None
    except TimeoutError:
        raise LiveKitAway(f"LiveKit gave no answer within {DEADLINE_S:g} s") from None
    except aiohttp.ClientError as error:
        raise LiveKitAway(f"LiveKit cannot be reached ({type(error).__name__})") from None


async def _unless_gone(answer: Awaitable[object]) -> None:
    try:
        await answer
    except api.ServerError as error:
        if error.code != "not_found":
            raise


def _sent(dispatch: api.AgentDispatch) -> Sent | None:
    if not dispatch.metadata.startswith("{") or dispatch.state.deleted_at:
        return None
    try:
        said = json.loads(dispatch.metadata)
        call_id, attempt, taken = str(said[CALL_ID]), int(said[ATTEMPT]), bool(dispatch.state.jobs)
        age = max(0.0, time.time() - dispatch.state.created_at / 1e9)
        return Sent(dispatch.id, call_id, attempt, taken, dispatch.metadata, age)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
