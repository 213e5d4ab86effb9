"""How phrases are found in a text quickly: each pattern is tried only where one of its matches may start.

There are some hundred patterns and some hundred phrasings at the start of each call; trying all on all takes longer
than a caller should wait.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from switchboard.ranking.phrases import PHRASES

_PATTERNS = tuple((re.compile(rf"\b(?:{pattern})\b"), f" {name} ") for pattern, name in PHRASES)
_SPACES = re.compile(r" {2,}")
_WORDS = re.compile(r"\b(?=(\w.{0,7}))")
_LOOKAROUND = re.compile(r"(?:\(\?<?[!=][^()]*\))+")
_SIZES = (1, 2, 4, 8)  # how many characters of a phrase are compared before its pattern is tried
_START = max(_SIZES)


def join(said: str) -> str:
    """A text in lower case with each phrase as one word; a pattern is tried only where a phrase of it may start."""
    waiting = _may_hold(said)
    while waiting:
        at = (waiting & -waiting).bit_length() - 1
        pattern, name = _PATTERNS[at]
        said, found = pattern.subn(name, said)
        if found:
            said = _SPACES.sub(" ", said)
            waiting |= _may_hold(said)
        waiting &= -2 << at
    return said.strip()


def _may_hold(said: str) -> int:
    """The patterns, a bit for each, that a word of the text may start a match of."""
    found = 0
    for word in _WORDS.findall(said):
        for size in _SIZES:
            found |= _STARTS.get(word[:size], 0)
    return found


def _starts(pattern: str, begun: str = "") -> Iterator[tuple[str, bool]]:
    """What a match starts with after `begun`, one for each way, and whether that is the way's whole text."""
    for way in _ways(pattern):
        yield from _start(way.removeprefix(found.group()) if (found := _LOOKAROUND.match(way)) else way, begun)


def _start(way: str, begun: str) -> Iterator[tuple[str, bool]]:
    size, choices = _first(way)
    rest, repeated = way[size:], way[size : size + 1]
    if not choices or len(begun) >= _START or repeated in {"*", "{"}:
        yield begun[:_START], not way
        return
    if repeated == "?":
        rest = rest[1:]
        yield from _start(rest, begun)
    for choice in choices:
        for start, whole in _starts(choice, begun) if way[0] == "(" else ((begun + choice, True),):
            if whole and repeated != "+":
                yield from _start(rest, start)
            else:
                yield start, False


def _first(way: str) -> tuple[int, Sequence[str]]:
    """How long the first part of a pattern is and what it may be; nothing when that cannot be told."""
    if way.startswith("(?:") or (way.startswith("(") and not way.startswith("(?")):
        end = _closing(way)
        return end + 1, (way[way.index(":") + 1 if way.startswith("(?:") else 1 : end],)
    if way.startswith(r"\d"):
        return 2, "0123456789"
    return (1, way[0]) if way and (way[0].isalnum() or way[0] in " '") else (0, ())


def _ways(pattern: str) -> Iterator[str]:
    """The alternatives of a pattern."""
    depth = begun = 0
    for at, sign in enumerate(pattern):
        depth += (sign in "([") - (sign in ")]")
        if sign == "|" and not depth:
            yield pattern[begun:at]
            begun = at + 1
    yield pattern[begun:]


def _closing(pattern: str) -> int:
    depth = 0
    for at, sign in enumerate(pattern):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return at
    raise ValueError(f"The phrase {pattern!r} has a group without an end.")


def _table() -> dict[str, int]:
    table: dict[str, int] = defaultdict(int)
    for at, (pattern, _name) in enumerate(PHRASES):
        for start, _whole in _starts(pattern):
            if not start:
                raise ValueError(f"The phrase {pattern!r} may start with anything; let it start with a letter.")
            table[start[: max(size for size in _SIZES if size <= len(start))]] |= 1 << at
    return dict(table)


_STARTS = _table()
