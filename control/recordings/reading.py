"""The rows of recordings, read from facts and kept in the transaction that records those."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from control.db.pool import Connection, storable
from control.db.queries import load
from switchboard import fact
from switchboard.fact import Fact
from switchboard.recordings import recording_id

QUERIES = load(Path(__file__).parent)


async def project(connection: Connection, facts: Sequence[Fact]) -> None:
    """Brings the rows of the recordings that facts tell of up to date."""
    for one in facts:
        if one.call_id is not None:
            await _tell(connection, one, one.call_id)


async def _tell(connection: Connection, one: Fact, call_id: UUID) -> None:
    recording, conversation = recording_id(call_id), storable(one.conversation_id)
    match one.body:
        case fact.RecordingStarted(began_at=began, keep_days=days):
            await connection.execute(QUERIES["begin_recording"], recording, call_id, conversation, began, days)
        case fact.RecordingPaused(by=by):
            await connection.execute(QUERIES["pause_recording"], recording, by)
        case fact.RecordingResumed(by=by):
            await connection.execute(QUERIES["resume_recording"], recording, by)
        case fact.RecordingIncomplete(reason=reason):
            await connection.execute(QUERIES["tell_incomplete"], recording, storable(reason))
        case fact.RecordingStored() as body:
            await connection.execute(
                QUERIES["add_sound"], recording, call_id, conversation, body.start, body.seconds, body.bytes
            )
        case fact.RecordingEnded(seconds=seconds):
            await connection.execute(QUERIES["end_recording"], recording, seconds)
        case fact.RecordingDeleted():
            await connection.execute(QUERIES["delete_recording"], recording, call_id, conversation, one.at)
