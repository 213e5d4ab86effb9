"""The audit log: who changed what, and when. Never what opens a door."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from control.access.actor import Actor
from control.db.pool import Connection
from control.db.queries import load

QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `user_id` tells users apart who had the same handle one after the other."""

    id: int
    at: datetime
    actor: str
    user_id: UUID | None
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """None filters nothing."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None


async def audit(
    connection: Connection, actor: Actor, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """Writes down a change, in the transaction that makes it."""
    await connection.execute(QUERIES["add_audit"], actor.name, actor.user_id, action, subject, dict(detail or {}))


async def entries(connection: Connection, asked: Filter, *, below: int, limit: int) -> list[Entry]:
    """Changes, newest first, those below the entry `below`."""
    rows = await connection.fetch(QUERIES["audit"], below, asked.actor, asked.action, asked.subject, limit)
    return [Entry(**row) for row in rows]
