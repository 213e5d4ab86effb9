"""Card numbers in what callers say, spoken or written: nobody gets to see them, the language model included.

A card number is a run of digits that holds 13 to 19 of them with Luhn's check sum. All of the run goes, as what
follows a number in one breath is its expiry and its code. English words for digits are known, and digits in any
script.
"""

import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

HIDDEN = "[card number]"
SHORTEST, LONGEST = 13, 19
# Between two parts of one number a caller may say these, or pause.
_FILLERS = frozenset(
    ["and", "then", "um", "uh", "uhm", "er", "erm", "hm", "okay", "ok", "dash", "hyphen", "space", "comma"]
)
MOST_FILLERS = 2
# A number that goes on in the next turn: as many digits before, and within this time.
BEGUN = 4
GOES_ON_S = 60.0
# After some digits more of them come within this time, or they were all.
MORE_S = 8.0

_ONES = dict(
    zip(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], "0123456789", strict=True),
    oh="0",
    o="0",
)
_TEENS = dict(
    zip(
        [
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ],
        map(str, range(10, 20)),
        strict=True,
    )
)
_TENS = dict(
    zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], "23456789", strict=True)
)
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_WORD = re.compile(r"\d|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class _Run:
    """Digits said one after the other, where they stand in the text."""

    digits: str
    start: int
    end: int

    @property
    def is_card(self) -> bool:
        return holds_card(self.digits)


def holds_card(digits: str) -> bool:
    """Whether 13 to 19 of the digits in a row make a card number."""
    for start in range(len(digits) - SHORTEST + 1):
        for end in range(start + SHORTEST, min(start + LONGEST, len(digits)) + 1):
            if _issued(digits[start:end]) and luhn(digits[start:end]):
                return True
    return False


def _issued(number: str) -> bool:
    """Whether a scheme has numbers that begin so; others, such as those of telephones abroad, are no cards'."""
    if number[0] == "1":
        # The airlines' UATP.
        return len(number) == 15
    # The large schemes; RuPay and UnionPay; Troy.
    return number.startswith(("2", "3", "4", "5", "6", "81", "82", "9792"))


def luhn(digits: str) -> bool:
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def redacted(text: str) -> str:
    """The text with `[card number]` in place of each."""
    return _without(text, [run for run in _runs(text) if run.is_card])


def _without(text: str, runs: list[_Run]) -> str:
    for run in reversed(runs):
        text = f"{text[: run.start]}{HIDDEN}{text[run.end :]}"
    return text


class _Part(NamedTuple):
    """Digits of one turn that the next may go on with, and since when they were said."""

    digits: str
    since: float


class Cards:
    """Card numbers in one caller's words, also when several turns make one. Times are of `time.monotonic`."""

    def __init__(self, begun: int = BEGUN) -> None:
        """`begun`: so many digits of the turns before are the beginning of a number."""
        self._begun = begun
        self.on_card: Callable[[float], None] = lambda _since: None
        """Told when a card number was heard, and since when it was being said."""
        self._before: tuple[_Part, ...] = ()
        self._now: tuple[_Part, ...] = ()
        self._began = 0.0
        self._heard_at = 0.0

    def words(self, text: str, began: float) -> str:
        """What may be known of the words of an utterance that began then; its words so far, again and again."""
        if not text:
            return text
        self._heard_at = time.monotonic()
        if began != self._began:
            self._before, self._began = self._now, began
        runs = list(_runs(text))
        hidden = [run for run in runs if run.is_card]
        since = began
        before = self._lately(began)
        leads = runs[0] if runs and not _words(text[: runs[0].start]) else None
        if (
            leads
            and leads not in hidden
            and _length(before) >= self._begun
            and holds_card(_digits_of(before) + leads.digits)
        ):
            hidden.insert(0, leads)
            since = before[0].since
        if hidden:
            self.on_card(since)
        self._now = self._open(text, runs, hidden, began)
        return _without(text, hidden)

    def _lately(self, began: float) -> tuple[_Part, ...]:
        return tuple(part for part in self._before if began - part.since < GOES_ON_S)

    def _open(self, text: str, runs: list[_Run], hidden: list[_Run], began: float) -> tuple[_Part, ...]:
        """The digits that the text ends in and that the next turn may go on with."""
        if not runs or runs[-1] in hidden or _words(text[runs[-1].end :]):
            return ()
        alone = len(runs) == 1 and not _words(text[: runs[-1].start])
        parts = (*(self._lately(began) if alone else ()), _Part(runs[-1].digits, began))
        # No number that is to come has more of them.
        while _length(parts[1:]) >= LONGEST - 1:
            parts = parts[1:]
        return parts

    def dictating(self, at: float | None = None) -> float | None:
        """Since when digits are being said, then or now, that may become a card number; None when none are."""
        at = time.monotonic() if at is None else at
        return self._now[0].since if _length(self._now) >= BEGUN and at - self._heard_at < MORE_S else None


def _digits_of(parts: tuple[_Part, ...]) -> str:
    return "".join(part.digits for part in parts)


def _length(parts: tuple[_Part, ...]) -> int:
    return sum(len(part.digits) for part in parts)


def _words(text: str) -> bool:
    return any(word.group().lower() not in _FILLERS for word in _WORD.finditer(text))


def _runs(text: str) -> Iterator[_Run]:
    digits, start, end, fillers, times, tens = "", 0, 0, 0, 1, False
    for found in _WORD.finditer(text):
        word = found.group().lower()
        said = _digits(word)
        if word in _TIMES:
            times = _TIMES[word]
            start = start if digits else found.start()
            continue
        if said is None:
            fillers += 1
            if word not in _FILLERS or fillers > MOST_FILLERS:
                if digits:
                    yield _Run(digits, start, end)
                digits, fillers = "", 0
            times, tens = 1, False
            continue
        if not digits and times == 1:
            start = found.start()
        # Twenty-three is 23, and twenty ten is 20 10.
        joined = digits[:-1] if tens and len(said) == 1 and said != "0" else digits
        digits, end = joined + said * times, found.end()
        fillers, times, tens = 0, 1, word in _TENS
    if digits:
        yield _Run(digits, start, end)


def _digits(word: str) -> str | None:
    if word in _TENS:
        return f"{_TENS[word]}0"
    if len(word) == 1 and word.isdigit():
        return str(unicodedata.digit(word))
    return _ONES.get(word) or _TEENS.get(word)
