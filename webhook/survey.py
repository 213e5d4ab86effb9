"""Who is where: callers and agents, as LiveKit lists them."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog
from livekit.api import ParticipantInfo

from switchboard.call import ATTEMPT, CALL_ID, JOB, WORKER
from webhook.call import Call, call_of
from webhook.rooms import LiveKitAway, Room, Rooms

log = structlog.get_logger(__name__)

ROOMS_AT_ONCE = 8
MOST_ATTEMPTS = 1_000

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent in a room. `call_id` None: it names no call, and serves every caller there.

    `worker` and `job` may be empty.
    """

    room: str
    identity: str
    call_id: UUID | None
    attempt: int = 0
    worker: str = ""
    job: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Callers by call id, agents, and the rooms that did not tell."""

    callers: Mapping[UUID, Call]
    agents: Sequence[Agent]
    silent: frozenset[str]

    def agents_of(self, call: Call) -> list[Agent]:
        """The agents that say they serve this call."""
        return serving(self.agents, call)


NOTHING = Seen({}, (), frozenset())


def serving(agents: Iterable[Agent], call: Call) -> list[Agent]:
    return [one for one in agents if one.call_id == call.call_id or (one.call_id is None and one.room == call.room)]


def agent_of(participant: ParticipantInfo, room: str) -> Agent | None:
    """The agent that this participant is, or None when it is none or what it says of its call is nonsense."""
    if participant.kind != ParticipantInfo.Kind.AGENT:
        return None
    named = participant.attributes.get(CALL_ID)
    if named is None:
        return Agent(room, participant.identity, None)
    attempt = participant.attributes.get(ATTEMPT, "")
    known = attempt.isascii() and attempt.isdecimal() and len(attempt) <= 4
    try:
        call_id = UUID(named)
    except ValueError:
        return None
    worker = participant.attributes.get(WORKER, "")[:64]
    job = participant.attributes.get(JOB, "")[:128]
    return Agent(room, participant.identity, call_id, min(int(attempt), MOST_ATTEMPTS) if known else 0, worker, job)


def agents_in(present: Iterable[ParticipantInfo], room: str) -> list[Agent]:
    return [agent for one in present if (agent := agent_of(one, room)) is not None]


def callers_in(present: Iterable[ParticipantInfo], room: Room) -> dict[UUID, Call]:
    calls = (
        call_of(one, room=room.name, room_sid=room.sid)
        for one in present
        if one.attributes.get("sip.callStatus") != "hangup"
    )
    return {call.call_id: call for call in calls if call is not None}


async def survey(rooms: Rooms) -> Seen:
    """Asks for all rooms. Raises `LiveKitAway`; a single room that does not tell is silent."""
    listed = await rooms.all()
    found = await few_at_once(_present(rooms, room) for room in listed)
    callers: dict[UUID, Call] = {}
    agents: list[Agent] = []
    silent = set()
    for room, present in zip(listed, found, strict=True):
        if present is None:
            silent.add(room.name)
            continue
        callers |= callers_in(present, room)
        agents += agents_in(present, room.name)
    return Seen(callers, agents, frozenset(silent))


async def _present(rooms: Rooms, room: Room) -> Sequence[ParticipantInfo] | None:
    try:
        return await rooms.participants(room.name)
    except LiveKitAway as error:
        log.warning("room_silent", room=room.name, error=str(error))
        return None


async def few_at_once(works: Iterable[Awaitable[Result]]) -> list[Result]:
    few = asyncio.Semaphore(ROOMS_AT_ONCE)

    async def one(work: Awaitable[Result]) -> Result:
        async with few:
            return await work

    return await asyncio.gather(*(one(work) for work in works))
