"""Blocked callers in Postgres."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from control.access import Actor, audit
from control.db.pool import Connection
from control.db.queries import load
from control.errors import BadRequest, Conflict, NotFound
from switchboard.blocklist import MAX_PATTERNS, pattern_of

QUERIES = load(Path(__file__).parent)
NO_PATTERN = "is no phone number, no beginning of one with a * behind it such as +1555*, and not the word anonymous"


@dataclass(frozen=True, slots=True)
class Entry:
    """A blocked caller. `pattern` is what counts, `written` is as it was written."""

    pattern: str
    written: str
    reason: str
    added_at: datetime
    added_by: str


async def listed(connection: Connection, *, after: str, limit: int) -> list[Entry]:
    """Entries by pattern, from the one behind `after` on."""
    return [Entry(**row) for row in await connection.fetch(QUERIES["listed"], after, limit)]


async def patterns(connection: Connection) -> list[str]:
    """All of them; at most `MAX_PATTERNS`."""
    return [row["pattern"] for row in await connection.fetch(QUERIES["patterns"], MAX_PATTERNS)]


async def add(connection: Connection, actor: Actor, number: str, reason: str) -> tuple[Entry, bool]:
    """Blocks a caller; True when that is new. Raises `BadRequest`, and `Conflict` when the list is full."""
    pattern = pattern_of(number)
    if pattern is None:
        raise BadRequest(f"number: {NO_PATTERN}.")
    await connection.execute(QUERIES["lock"])
    known = await connection.fetchrow(QUERIES["entry"], pattern) is not None
    if not known and await connection.fetchval(QUERIES["count"]) >= MAX_PATTERNS:
        raise Conflict(f"The blocklist holds {MAX_PATTERNS} entries, and that is its limit: remove some first.")
    await connection.execute(QUERIES["add"], pattern, number.strip(), reason, actor.name)
    await audit(connection, actor, "blocklist.added", pattern, {"reason": reason})
    row = await connection.fetchrow(QUERIES["entry"], pattern)
    return Entry(**row or {}), not known


async def remove(connection: Connection, actor: Actor, number: str) -> None:
    """Raises `NotFound`."""
    pattern = pattern_of(number) or ""
    if await connection.fetchval(QUERIES["remove"], pattern) is None:
        raise NotFound("That caller is not blocked.")
    await audit(connection, actor, "blocklist.removed", pattern)
