"""What processes have to agree on about recordings: what they are called, how they are cut, who may pause them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from switchboard.call import NAMESPACE

# Two channels of 16 bits: the caller left, the AI right.
RATE = 16_000
CHANNELS = 2
FRAME_BYTES = 2 * CHANNELS
# What is heard becomes a file when it is this old: until then it can still be made silent.
BEHIND_S = 15.0
# Longer than a call may last.
WANTED_TTL_S = 25 * 3600

# Below SWITCHBOARD_HOME: what waits to be put where recordings are kept, in files that begin with the recording's id.
SPOOL = "unshipped"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY = re.compile(r"([0-9a-f-]{36})/(\d{16})-(\d{1,10})\.flac")


def recording_id(call_id: UUID) -> UUID:
    """The recording of a call, whoever records it."""
    return uuid5(NAMESPACE, f"{call_id}:recording")


class Wanted(BaseModel):
    """What an operator wants of a recording, since `at` (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    paused: bool
    at: float


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """A stretch of a recording that is kept by itself. `start_us`: microseconds since 1970, of the first sample."""

    recording: UUID
    start_us: int
    samples: int

    @property
    def key(self) -> str:
        """Its name where recordings are kept, which says nothing of the call."""
        return f"{self.recording}/{self.start_us:016d}-{self.samples}.flac"

    @property
    def start(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.start_us)

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    @property
    def seconds(self) -> float:
        return self.samples / RATE

    @classmethod
    def of(cls, key: str) -> Self | None:
        """The piece with this name; None for a name that is none of a piece."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        try:
            return cls(UUID(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            return None


def microseconds(at: datetime) -> int:
    """Since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)
