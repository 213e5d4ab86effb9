"""Blocked callers as control tells the webhook service of them: where, and in which shape."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from switchboard.number import normalise

PATH = "/internal/blocklist"
ANONYMOUS = "anonymous"
MAX_PATTERNS = 10_000
# A pattern is at most 33 characters, with quotes and a comma.
MAX_BYTES = 512 * 1024


def pattern_of(text: str) -> str | None:
    """What two spellings of a blocked caller share: digits, digits and `*` for all that begin so, or `anonymous`.

    None for anything else, a `*` alone too.
    """
    text = text.strip()
    if text.lower() == ANONYMOUS:
        return ANONYMOUS
    digits = normalise(text.removesuffix("*"))
    if digits is None:
        return None
    return f"{digits}*" if text.endswith("*") else digits


class Patterns(BaseModel):
    """The whole list, as control gives it and as Redis keeps it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    patterns: tuple[Annotated[str, Field(pattern=r"^(anonymous|[0-9]{1,32}\*?)$")], ...] = Field(
        max_length=MAX_PATTERNS
    )
