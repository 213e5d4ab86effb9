"""Recordings as they are shown."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from control.access import Actor
from control.db.pool import Connection, Row
from control.errors import NotFound
from control.recordings.reading import QUERIES
from switchboard.recordings import recording_id

State = Literal["recording", "paused", "storing", "complete", "incomplete", "deleted"]

# What one hears of one recording within this time is one listening: players ask for it in many ranges.
LISTENING_S = 600.0


@dataclass(frozen=True, slots=True)
class Recording:
    """`storing`: the call is over, and some of the sound is still on its way. `missing`: why there is not all."""

    id: UUID
    call_id: UUID
    conversation_id: str
    state: State
    started_at: datetime
    duration_s: float
    bytes: int
    paused_by: list[str]
    missing: str | None
    expires_at: datetime
    deleted_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(**{**row, "paused_by": sorted(row["paused_by"]), "duration_s": round(row["duration_s"], 3)})

    @property
    def live(self) -> bool:
        return self.state in ("recording", "paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """None asks nothing. `cursor` is the last recording of the page before."""

    id: UUID | None = None
    call_id: UUID | None = None
    conversation_id: str | None = None
    cursor: tuple[datetime, UUID] | None = None


async def listed(connection: Connection, asked: Filter, days: int, limit: int) -> list[Recording]:
    """Recordings, newest first. `days` is how long those are kept whose persona does not say."""
    at, last = asked.cursor or (None, None)
    rows = await connection.fetch(
        QUERIES["list_recordings"], days, asked.id, asked.call_id, asked.conversation_id, at, last, limit
    )
    return [Recording.of(row) for row in rows]


async def one(connection: Connection, recording: UUID, days: int) -> Recording:
    """Raises `NotFound`."""
    found = await listed(connection, Filter(id=recording), days, 1)
    if not found:
        raise NotFound("There is no such recording.")
    return found[0]


async def of_call(connection: Connection, call_id: UUID, days: int) -> Recording:
    """Raises `NotFound` for a call that is not recorded."""
    found = await listed(connection, Filter(id=recording_id(call_id)), days, 1)
    if not found:
        raise NotFound("There is no such call, or it is not recorded.")
    return found[0]


async def note_listening(connection: Connection, actor: Actor, recording: Recording) -> None:
    """Writes down in the audit log who listens."""
    detail = {"call_id": str(recording.call_id)}
    await connection.execute(QUERIES["listened"], actor.name, actor.user_id, str(recording.id), detail, LISTENING_S)
