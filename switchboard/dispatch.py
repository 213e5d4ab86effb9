"""The metadata of a dispatch: what the webhook service tells the agent about its call."""

import json
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

MAX_BYTES = 512 * 1024

PersonaSource = Literal["api", "cache", "stale", "default"]


class DispatchMetadata(BaseModel):
    """`persona` is the persona as its source gave it, unread; `attempt` counts agents sent to the call from 1."""

    model_config = ConfigDict(frozen=True)

    conversation_id: str = Field(min_length=1, max_length=128)
    call_id: UUID
    room_sid: str = Field("", max_length=256)
    attempt: int = Field(1, ge=1, le=1_000)
    dialed_number: str = Field("", max_length=64)
    caller_number: str | None = Field(None, max_length=64)
    persona_source: PersonaSource = "default"
    persona: dict[str, JsonValue] = Field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> tuple[Self | None, dict[str, Any], str | None]:
        """What `text` says: the metadata when whole, the persona's raw fields, and what was wrong, if anything.

        Flat metadata (a persona's fields at top level) and partial ones give a persona and no metadata;
        anything else gives neither. Never raises.
        """
        if not text.strip():
            return None, {}, "empty"
        if len(text) > MAX_BYTES:
            return None, {}, "too long"
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return None, {}, "not JSON"
        if not isinstance(data, dict):
            return None, {}, f"must be an object, is {type(data).__name__}"
        nested = data.get("persona")
        persona = nested if isinstance(nested, dict) else {} if "persona" in data else data
        try:
            return cls.model_validate(data), persona, None
        except ValidationError as error:
            return (
                None,
                persona,
                "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())[:500],
            )
