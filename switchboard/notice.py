"""What a worker tells the webhook service about agents: where it is posted, and in which shape.

All are posted with `INTERNAL_TOKEN`, answered with 202, and change nothing when repeated.
"""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

WORKER_READY = "/internal/workers/ready"


def lost_path(call_id: UUID | str) -> str:
    return f"/internal/calls/{call_id}/lost"


def accepted_path(call_id: UUID | str) -> str:
    return f"/internal/calls/{call_id}/accepted"


def refused_path(call_id: UUID | str) -> str:
    return f"/internal/calls/{call_id}/refused"


class Notice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Lost(Notice):
    """The process of this attempt is dead for certain: it `died`, `hung` and was killed, or `left` the room.

    `job` is empty when it is not known: then no agent of the attempt is left.
    """

    attempt: int = Field(ge=0, le=1_000)
    reason: Literal["died", "hung", "left"]
    job: str = Field("", max_length=128)


class Answer(Notice):
    """A worker took the job of this attempt, or is full."""

    attempt: int = Field(ge=0, le=1_000)
    worker: str = Field(min_length=1, max_length=64)


class WorkerReady(Notice):
    """A worker has registered with LiveKit, for the first time or again."""

    worker: str = Field(min_length=1, max_length=64)
