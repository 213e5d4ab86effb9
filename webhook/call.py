"""A call as this service knows it: read from a participant of LiveKit's, cleaned and capped."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from livekit.api import ParticipantInfo, ParticipantPermission
from pydantic import BaseModel, ConfigDict, Field

from switchboard.call import caller_of

MAX_HEADERS = 20
HEADER_PREFIX = "sip.h."


class Call(BaseModel):
    """One caller's stay in a room. `dialed` is as LiveKit gave it when it is short and printable, else cleaned."""

    model_config = ConfigDict(frozen=True)

    call_id: UUID
    conversation_id: str = Field(min_length=1, max_length=128)
    room: str = Field(max_length=256)
    room_sid: str = Field("", max_length=256)
    channel: Literal["sip", "browser"]
    identity: str = Field(max_length=256)
    dialed: str = Field(max_length=64)
    number: str | None = Field(None, max_length=64)
    headers: dict[str, str] = Field(default_factory=dict, max_length=MAX_HEADERS)
    arrived_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


def cleaned(text: str, length: int) -> str:
    """`text` with a mark for every character that cannot be printed, cut to `length`."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:length])


def call_of(participant: ParticipantInfo, *, room: str, room_sid: str) -> Call | None:
    """The call of this participant, or None when it is no caller."""
    kinds = {ParticipantInfo.Kind.SIP: True, ParticipantInfo.Kind.STANDARD: False}
    sip = kinds.get(participant.kind)
    if sip is None or not room:
        return None
    attributes = dict(participant.attributes)
    caller = caller_of(
        room=room,
        identity=participant.identity,
        sip=sip,
        attributes=attributes,
        may_change_itself=_may_change_itself(participant),
    )
    if caller is None:
        return None
    return Call(
        call_id=caller.call_id,
        conversation_id=caller.conversation_id,
        room=room[:256],
        room_sid=room_sid[:256],
        channel=caller.kind,
        identity=caller.identity[:256],
        dialed=cleaned(caller.dialed, 64),
        number=None if caller.number is None else cleaned(caller.number, 64),
        headers=_headers(attributes),
    )


def _may_change_itself(participant: ParticipantInfo) -> bool:
    # A participant without permissions on record is one that we know nothing about.
    permission: ParticipantPermission = participant.permission
    return permission.can_update_metadata if participant.HasField("permission") else True


def _headers(attributes: dict[str, str]) -> dict[str, str]:
    names = sorted(name for name in attributes if name.startswith(HEADER_PREFIX))
    return {
        cleaned(name.removeprefix(HEADER_PREFIX), 64): cleaned(attributes[name], 256) for name in names[:MAX_HEADERS]
    }
