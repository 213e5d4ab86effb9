"""What a text of the stream tells of whom it is about, whether it can be read as a fact here or not."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from control.db.pool import storable
from switchboard.number import normalise

_ADDRESS = re.compile(r"\s*(?:(?:sips?|tel):)?([^@;]*)", re.IGNORECASE)
# What no clock says and Postgres may not take is outside.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
# Longer ones are of no conversation.
_LONGEST_ID = 128


def digits_of(caller: str) -> str | None:
    """What two spellings of a caller's number share, also as in `sip:+1555…@host`; None when it is no number."""
    found = _ADDRESS.match(caller)
    return normalise(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Told:
    """The ids of conversation and call, the digits of who called, and when: the earliest where that is unknown."""

    names: list[str]
    caller: str | None
    at: datetime

    @classmethod
    def of(cls, text: str) -> Self | None:
        """None when it is no JSON object."""
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(told, dict):
            return None
        body = told.get("body")
        caller = _text(body.get("caller")) if isinstance(body, dict) else ""
        names = (_text(told.get(name)) for name in ("conversation_id", "call_id"))
        return cls([one for one in names if 0 < len(one) <= _LONGEST_ID], digits_of(caller), _time(told.get("at")))


def _text(value: Any) -> str:
    """As Postgres takes it; empty for what is none."""
    return storable(value).encode(errors="ignore").decode() if isinstance(value, str) else ""


def _time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return _EARLIEST
    return min(max(found if found.tzinfo else found.replace(tzinfo=UTC), _EARLIEST), _LATEST)
