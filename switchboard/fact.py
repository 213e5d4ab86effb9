"""Facts: what happened, immutable, made anywhere; the log in Postgres is a row of them."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid4, uuid5

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from switchboard.call import NAMESPACE

MAX_BYTES = 64 * 1024


class Source(StrEnum):
    WEBHOOK = "webhook"
    AGENT = "agent"
    CONTROL = "control"
    JOB = "job"


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CallArrived(Body):
    """A caller entered a room. `dialed` and `caller` as LiveKit gave them, capped."""

    kind: Literal["call_arrived"] = "call_arrived"
    room: str
    room_sid: str = ""
    channel: Literal["sip", "browser"]
    dialed: str
    caller: str | None = None
    identity: str
    headers: dict[str, str] = Field(default_factory=dict)


class NumberRejected(Body):
    """The dialed number is none; the default persona answers."""

    kind: Literal["number_rejected"] = "number_rejected"
    dialed: str
    reason: str


class PersonaResolved(Body):
    kind: Literal["persona_resolved"] = "persona_resolved"
    source: Literal["api", "cache", "stale", "default"]
    persona: str
    version: str | None = None
    variant: int | None = None
    ms: float


class AgentDispatched(Body):
    kind: Literal["agent_dispatched"] = "agent_dispatched"
    agent: str
    attempt: int
    dispatch: str
    ms: float


class DispatchFailed(Body):
    kind: Literal["dispatch_failed"] = "dispatch_failed"
    attempt: int
    reason: str


class PersonaMetadataRejected(Body):
    kind: Literal["persona_metadata_rejected"] = "persona_metadata_rejected"
    reason: str


class PersonaFieldRejected(Body):
    kind: Literal["persona_field_rejected"] = "persona_field_rejected"
    field: str
    reason: str


class PersonaApplied(Body):
    kind: Literal["persona_applied"] = "persona_applied"
    name: str
    source: Literal["api", "cache", "stale", "default"]
    version: str | None = None


class AgentJoined(Body):
    kind: Literal["agent_joined"] = "agent_joined"
    attempt: int
    job: str


class AgentLeft(Body):
    """An agent that gave way: another one serves the call, or the caller or room was gone."""

    kind: Literal["agent_left"] = "agent_left"
    attempt: int
    job: str
    reason: str


class AgentLost(Body):
    """An agent is gone in the middle of its call; another one is sent."""

    kind: Literal["agent_lost"] = "agent_lost"
    attempt: int
    reason: Literal["died", "hung", "left", "silent"]


class CallResumed(Body):
    """An agent took the call over from one that was lost, with `items` of the conversation so far.

    `unanswered`: the caller was waiting for an answer, and gets it now.
    """

    kind: Literal["call_resumed"] = "call_resumed"
    attempt: int
    items: int
    unanswered: bool


class ConversationContinued(Body):
    """The call goes on with a conversation that was there before it, of which the agent knows `items`.

    `missing` says why it knows nothing, if so.
    """

    kind: Literal["conversation_continued"] = "conversation_continued"
    items: int
    missing: str = ""


class CallAnswered(Body):
    """The caller hears us from here on; seconds since the agent's job began."""

    kind: Literal["call_answered"] = "call_answered"
    after_s: float


class Item(Body):
    """A message or tool call in the shape of the OpenAI Agents SDK.

    `latency` has seconds by stage (end_of_turn, stt, llm, tts, voice_to_voice) as the agent saw them;
    `offset_s` is where the speech began, from the start of the call, and so of its recording.
    """

    kind: Literal["item"] = "item"
    item: dict[str, JsonValue]
    interrupted: bool = False
    offset_s: float | None = None
    latency: dict[str, float] = Field(default_factory=dict)


class ItemsRetracted(Body):
    """The conversation's items with a `seq` from `first` to `last` no longer belong to its history."""

    kind: Literal["items_retracted"] = "items_retracted"
    first: int
    last: int


class Erased(Body):
    """What stood here was erased; its place in the conversation stays."""

    kind: Literal["erased"] = "erased"


class Interrupted(Body):
    kind: Literal["interrupted"] = "interrupted"
    heard: str = ""
    resumed: bool = False


class Dtmf(Body):
    kind: Literal["dtmf"] = "dtmf"
    digit: str = Field(max_length=1)


class HoldChanged(Body):
    kind: Literal["hold_changed"] = "hold_changed"
    on_hold: bool


class SilencePrompted(Body):
    kind: Literal["silence_prompted"] = "silence_prompted"
    times: int


class LengthWarned(Body):
    kind: Literal["length_warned"] = "length_warned"
    seconds_left: float


class MessageTaken(Body):
    kind: Literal["message_taken"] = "message_taken"
    name: str
    number: str
    text: str


class ModelFailed(Body):
    """`recovered`: a retry or the next configured model served."""

    kind: Literal["model_failed"] = "model_failed"
    part: Literal["stt", "llm", "tts"]
    reason: str
    recovered: bool


class EmergencySaid(Body):
    """The caller's words meant an emergency, and the installation's sentence for it begins to be said."""

    kind: Literal["emergency_said"] = "emergency_said"


class RecordingStarted(Body):
    """An agent records the call from here on. The recording's first sample is that of `began_at`, the call's start.

    `keep_days`: what the persona says; None is what the installation says.
    """

    kind: Literal["recording_started"] = "recording_started"
    attempt: int
    began_at: datetime
    keep_days: int | None = None


# Who may pause a recording, each for itself.
Pauser = Literal["operator", "ai"]


class RecordingPaused(Body):
    """Silence from `offset_s` on, in seconds of the recording, until as many have resumed as paused."""

    kind: Literal["recording_paused"] = "recording_paused"
    by: Pauser
    offset_s: float


class RecordingResumed(Body):
    kind: Literal["recording_resumed"] = "recording_resumed"
    by: Pauser
    offset_s: float


class RecordingRedacted(Body):
    """What was said from `offset_s` on for `seconds` is silence: what is or may be a card number, or keys."""

    kind: Literal["recording_redacted"] = "recording_redacted"
    why: Literal["card", "keys"]
    offset_s: float
    seconds: float


class RecordingIncomplete(Body):
    """Some of the call could not be kept; the call itself is not touched by it."""

    kind: Literal["recording_incomplete"] = "recording_incomplete"
    reason: str


class RecordingStored(Body):
    """A piece of the recording is where recordings are kept; it begins at `start`, and is `bytes` long there."""

    kind: Literal["recording_stored"] = "recording_stored"
    start: datetime
    seconds: float
    bytes: int


class RecordingEnded(Body):
    """Nothing more is recorded of the call; `seconds` from its start."""

    kind: Literal["recording_ended"] = "recording_ended"
    seconds: float


class RecordingDeleted(Body):
    """The sound is gone for good. What comes of it later goes too."""

    kind: Literal["recording_deleted"] = "recording_deleted"
    reason: Literal["deleted", "expired"]


class CallEnded(Body):
    """The one end of a call. `usage` counts tokens, characters and seconds by model."""

    kind: Literal["call_ended"] = "call_ended"
    reason: str
    duration_s: float
    turns: int = 0
    latencies: dict[str, dict[str, float]] = Field(default_factory=dict)
    usage: dict[str, dict[str, float]] = Field(default_factory=dict)
    cost: float | None = None


AnyBody = Annotated[
    CallArrived
    | NumberRejected
    | PersonaResolved
    | AgentDispatched
    | DispatchFailed
    | PersonaMetadataRejected
    | PersonaFieldRejected
    | PersonaApplied
    | AgentJoined
    | AgentLeft
    | AgentLost
    | CallResumed
    | ConversationContinued
    | CallAnswered
    | Item
    | ItemsRetracted
    | Erased
    | Interrupted
    | Dtmf
    | HoldChanged
    | SilencePrompted
    | LengthWarned
    | MessageTaken
    | ModelFailed
    | EmergencySaid
    | RecordingStarted
    | RecordingPaused
    | RecordingResumed
    | RecordingRedacted
    | RecordingIncomplete
    | RecordingStored
    | RecordingEnded
    | RecordingDeleted
    | CallEnded,
    Field(discriminator="kind"),
]


class Fact(BaseModel):
    """One fact. Its id is made by its source: a fact recorded twice is one fact. Text beyond 64 KiB is refused."""

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(default_factory=uuid4)
    conversation_id: str = Field(min_length=1, max_length=128)
    call_id: UUID | None = None
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    source: Source
    body: AnyBody

    @property
    def kind(self) -> str:
        return self.body.kind


def shared_id(call_id: UUID, kind: str, attempt: int) -> UUID:
    """The id of a fact that two processes can make, so that it is one fact."""
    return uuid5(NAMESPACE, f"{call_id}:{kind}:{attempt}")
