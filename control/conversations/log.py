"""The log: facts in their places, the only record of what happened."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import structlog
from pydantic import ValidationError

from control.conversations import projection
from control.db.pool import Connection, Database, Json, Row, storable
from control.db.queries import load
from control.errors import Conflict
from control.recordings import reading
from switchboard.fact import Fact, ItemsRetracted

log = structlog.get_logger(__name__)

QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Event:
    """A fact in its place. `seq` counts 1, 2, 3 … in its conversation, without gaps."""

    seq: int
    fact: Fact


class Forgotten(Conflict):
    """A conversation of these facts was forgotten, and takes no more."""

    def __init__(self) -> None:
        super().__init__("This conversation was forgotten: begin another one.")


class Log(Protocol):
    async def append(self, facts: Sequence[Fact]) -> Sequence[Event]:
        """Adds facts in order, all or none; those whose ids are known are skipped. Returns what was added.

        Raises `Forgotten`.
        """

    async def read(self, conversation: str, *, after: int = 0) -> Sequence[Event]:
        """The events of a conversation with a `seq` beyond `after`, in order."""

    async def items(self, conversation: str, *, limit: int | None = None) -> Sequence[Event]:
        """The latest `limit` messages and tool calls (all without a limit) that stand, oldest first."""


class PostgresLog:
    """The log in Postgres. Every method raises `DatabaseAway` when Postgres is; `append` also asyncpg's
    `REFUSED` errors for facts that it will never take."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, facts: Sequence[Fact]) -> Sequence[Event]:
        if not facts:
            return []
        async with self._database.transaction() as connection:
            return await append_in(connection, facts)

    async def read(self, conversation: str, *, after: int = 0) -> Sequence[Event]:
        async with self._database.session() as connection:
            return events_in(await connection.fetch(QUERIES["read_events"], conversation, after))

    async def items(self, conversation: str, *, limit: int | None = None) -> Sequence[Event]:
        async with self._database.session() as connection:
            return await latest_items(connection, conversation, limit)


async def append_in(connection: Connection, facts: Sequence[Fact]) -> Sequence[Event]:
    """`Log.append` inside the caller's transaction, so that a change and its fact are one."""
    facts = [_in_utc(fact) for fact in facts]
    last = await lock(connection, sorted({storable(fact.conversation_id) for fact in facts}))
    # Read behind the lock: what another writer of these conversations recorded, or forgot, is seen here.
    rows = await connection.fetch(QUERIES["known_or_forgotten"], [fact.id for fact in facts], list(last))
    known = {row["id"] for row in rows}
    if None in known:
        raise Forgotten
    events = _numbered(facts, known, last)
    if events:
        await connection.execute(QUERIES["add_events"], *_columns(events))
        last = {storable(event.fact.conversation_id): event.seq for event in events}
        await connection.execute(QUERIES["advance_conversations"], list(last), list(last.values()))
        await projection.project(connection, QUERIES["project_call"], [event.fact for event in events])
        await reading.project(connection, [event.fact for event in events])
        await _retract(connection, events)
    return events


async def lock(connection: Connection, conversations: Sequence[str]) -> dict[str, int]:
    """Makes those that are missing; the last `seq` of each, which nobody else adds to until the transaction ends."""
    rows: Sequence[Row] = []
    if len(conversations) == 1:
        rows = await connection.fetch(QUERIES["lock_conversations"], conversations)
    # Of several all are made first: who held some while making others could wait in a ring.
    if not rows:
        await connection.execute(QUERIES["make_conversations"], conversations)
        rows = await connection.fetch(QUERIES["lock_conversations"], conversations)
    return {row["id"]: row["last_seq"] for row in rows}


async def _retract(connection: Connection, events: Sequence[Event]) -> None:
    for event in events:
        match event.fact.body:
            case ItemsRetracted(first=first, last=last):
                conversation = storable(event.fact.conversation_id)
                await connection.execute(QUERIES["retract_items"], conversation, first, min(last, event.seq))


async def latest_items(connection: Connection, conversation: str, limit: int | None) -> list[Event]:
    """The latest `limit` items that can be read and were not taken back, oldest first; all without a limit."""
    found: list[Event] = []
    before: int | None = None
    while limit is None or len(found) < limit:
        wanted = None if limit is None else limit - len(found)
        rows = await connection.fetch(QUERIES["latest_items"], conversation, wanted, before)
        found = [*events_in(rows[::-1]), *found]
        if wanted is None or len(rows) < wanted:
            break
        # Only what could not be read is missing: what comes before takes its place.
        before = rows[-1]["seq"]
    return found


def _numbered(facts: Sequence[Fact], known: set[UUID], last: Mapping[str, int]) -> list[Event]:
    seqs = defaultdict(int, last)
    events = []
    for fact in facts:
        if fact.id in known:
            continue
        known.add(fact.id)
        conversation = storable(fact.conversation_id)
        seqs[conversation] += 1
        events.append(Event(seqs[conversation], fact))
    return events


def _in_utc(fact: Fact) -> Fact:
    """A time without a zone is UTC, as the contract of facts says."""
    return fact if fact.at.tzinfo else fact.model_copy(update={"at": fact.at.replace(tzinfo=UTC)})


def _columns(events: Sequence[Event]) -> tuple[list[Any], ...]:
    facts = [event.fact for event in events]
    return (
        [storable(fact.conversation_id) for fact in facts],
        [event.seq for event in events],
        [fact.id for fact in facts],
        [fact.call_id for fact in facts],
        [fact.at for fact in facts],
        [fact.source.value for fact in facts],
        [fact.kind for fact in facts],
        [_body(fact) for fact in facts],
    )


def _body(fact: Fact) -> Json:
    text = fact.body.model_dump_json()
    if "\\u0000" not in text:
        return Json(text)
    return Json(json.dumps(_clean(json.loads(text)), ensure_ascii=False))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def events_in(rows: Sequence[Mapping[str, Any]]) -> list[Event]:
    """The events in rows; one that cannot be read (damaged, or of a newer version) is skipped and logged."""
    events = []
    for row in rows:
        try:
            events.append(_event(row))
        except ValidationError as error:
            faults = [".".join(map(str, fault["loc"])) for fault in error.errors()]
            log.warning("event_skipped", conversation=row["conversation_id"], seq=row["seq"], faults=faults)
    return events


def _event(row: Mapping[str, Any]) -> Event:
    body = row["body"]
    return Event(
        row["seq"],
        Fact.model_validate(
            {
                "id": row["id"],
                "conversation_id": row["conversation_id"],
                "call_id": row["call_id"],
                "at": row["at"],
                "source": row["source"],
                "body": body | {"kind": row["kind"]} if isinstance(body, dict) else body,
            }
        ),
    )
