"""What was said in a conversation beside one call, as control tells that call's agent: where, and in which shape.

Asked with `INTERNAL_TOKEN`.
"""

from urllib.parse import quote
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from switchboard import fact

# The newest, and of each text the beginning: what a model is told in a call has to be read within a breath.
MOST_ITEMS = 100
MOST_TEXT = 4_000
MOST_TEXT_IN_ALL = 100_000
# Of that many characters as JSON, with what stands around them.
MAX_BYTES = 1024 * 1024


def history_path(conversation: str, call_id: UUID) -> str:
    return f"/internal/conversations/{quote(conversation, safe='')}/items?beside={call_id}"


class Said(BaseModel):
    """A message, a tool call or its result, and when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime
    body: fact.Item


class History(BaseModel):
    """Oldest first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    items: tuple[Said, ...] = Field((), max_length=MOST_ITEMS)
