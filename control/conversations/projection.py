"""The row of a call, read from its facts and kept in the transaction that records them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from control.db.pool import Connection, storable
from switchboard import fact
from switchboard.fact import Fact


@dataclass(frozen=True, slots=True)
class CallRow:
    """What some facts of a call say; None where they say nothing."""

    id: UUID
    conversation_id: str
    started_at: datetime
    channel: str | None = None
    room: str | None = None
    dialed: str | None = None
    caller: str | None = None
    persona: str | None = None
    persona_source: str | None = None
    persona_version: str | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    duration_s: float | None = None
    turns: int | None = None
    applied: bool = False


async def project(connection: Connection, query: str, facts: Sequence[Fact]) -> None:
    """Brings the rows of the calls in `facts` up to date."""
    rows: dict[UUID, CallRow] = {}
    for one in facts:
        if one.call_id is not None:
            row = rows.get(one.call_id) or CallRow(one.call_id, storable(one.conversation_id), one.at)
            rows[one.call_id] = with_fact(row, one)
    # In one order everywhere: a call lives in one conversation, but nothing in a fact can promise that.
    for call_id in sorted(rows):
        row = rows[call_id]
        await connection.execute(query, *(getattr(row, name) for name in CallRow.__slots__))


def with_fact(row: CallRow, one: Fact) -> CallRow:
    """`row` with what `one` says. The first end and the earliest answer stand; an applied persona outranks."""
    row = replace(row, started_at=min(row.started_at, one.at))
    match one.body:
        case fact.CallArrived() as body:
            return replace(
                row,
                channel=body.channel,
                room=_text(body.room),
                dialed=_text(body.dialed),
                caller=_text(body.caller),
            )
        case fact.PersonaResolved() as body if not row.applied:
            return _answered_by(row, body.persona, body.source, body.version)
        case fact.PersonaApplied() as body:
            return replace(_answered_by(row, body.name, body.source, body.version), applied=True)
        case fact.CallAnswered():
            return replace(row, answered_at=min(row.answered_at or one.at, one.at))
        case fact.CallEnded() as body if row.ended_at is None:
            return replace(
                row, ended_at=one.at, reason=_text(body.reason), duration_s=body.duration_s, turns=body.turns
            )
    return row


def _answered_by(row: CallRow, persona: str, source: str, version: str | None) -> CallRow:
    return replace(row, persona=_text(persona), persona_source=source, persona_version=_text(version))


def _text(value: str | None) -> str | None:
    return None if value is None else storable(value)
