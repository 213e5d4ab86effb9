"""Who is a caller, and which call is theirs: read from a LiveKit participant, anywhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid5

NAMESPACE = UUID("4a8f1f0e-6d0b-5c2e-9a35-1f6b7f0c2d11")

DIALED = "switchboard.dialed"
CONVERSATION = "switchboard.conversation"
CALL_ID = "call_id"
ATTEMPT = "attempt"
JOB = "job_id"
WORKER = "worker_id"
CALL_ID_HEADER = "X-Switchboard-Call-Id"

CONVERSATION_ID = r"[A-Za-z0-9_.:-]{1,128}"

# How long a browser that reloads may be away before its call has ended.
REJOIN_S = 20.0


def call_id_of_sip(sip_call_id: str) -> UUID:
    """The call of a SIP leg, from its `sip.callID` (`SCL_…`)."""
    return uuid5(NAMESPACE, f"sip:{sip_call_id}")


def call_id_of_browser(room: str, identity: str) -> UUID:
    """The call of a browser: room name and the random identity in its token, which a reconnect keeps."""
    return uuid5(NAMESPACE, f"browser:{room}:{identity}")


@dataclass(frozen=True, slots=True)
class Caller:
    """An inbound participant. `dialed` and `number` are as LiveKit gave them: data, never trusted."""

    call_id: UUID
    kind: Literal["sip", "browser"]
    identity: str
    dialed: str
    number: str | None
    conversation_id: str


def caller_of(
    *, room: str, identity: str, sip: bool, attributes: Mapping[str, str], may_change_itself: bool
) -> Caller | None:
    """The caller that this participant is, or None when it is none (an agent, an operator, a leg we dialed).

    `may_change_itself`: the token allows the participant to change its own metadata, so that what its
    attributes say is its own word and no browser is believed.
    """
    if sip:
        return _sip_caller(identity, attributes)
    dialed = attributes.get(DIALED)
    if not dialed or may_change_itself or "switchboard.role" in attributes:
        return None
    call_id = call_id_of_browser(room, identity)
    # The word of who made the token: what a phone sends can never say it, nor a browser that may change itself.
    named = attributes.get(CONVERSATION, "")
    conversation = named if re.fullmatch(CONVERSATION_ID, named) else str(call_id)
    return Caller(call_id, "browser", identity, dialed, None, conversation)


def _sip_caller(identity: str, attributes: Mapping[str, str]) -> Caller | None:
    # Outbound legs carry a trunk number too; a dispatch rule is what only inbound ones have.
    dialed, sip_call_id = attributes.get("sip.trunkPhoneNumber"), attributes.get("sip.callID")
    if not attributes.get("sip.ruleID") or dialed is None or not sip_call_id or "switchboard.role" in attributes:
        return None
    call_id = call_id_of_sip(sip_call_id)
    return Caller(call_id, "sip", identity, dialed, attributes.get("sip.phoneNumber"), str(call_id))
