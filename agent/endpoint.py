"""When has the caller finished? Decided from the words so far and the silence after them.

A silence inside a sentence is rarely longer than 0.7 s, and one that follows an unfinished clause may be.
"""

import re
from enum import Enum

# Seconds of silence after which the turn is over. The reply is prepared meanwhile, so most of it costs nothing.
COMPLETE_S = 0.78
DICTATION_S = 1.1
UNFINISHED_S = 1.4

_WORD = re.compile(r"[a-z0-9']+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_UNFINISHED = _set(
    """a an the my your our his her their this these those some any every each another other
    and or but so because if when while although though unless until since whether than as
    to for with of in on at from by about into between under over during without around
    is are was were be been being am do does did have has had can could will would shall should may might must
    i'm i'd i'll i've you're we're we'd they're it's that's there's what's
    i we they he she um uh uhm er erm hmm like well also just maybe perhaps really very
    want wants need needs know tell asking wondering wanted trying going looking calling
    what which who where how why"""
)
# A question may end in one of these ("what do you do", "where are you from"), but a statement hardly.
_MAY_END_A_QUESTION = _set("do does is are was were for from with to about in on at like i we they")
_QUESTION = _set("what when where who which how why")
_DIGITS = _set("zero oh one two three four five six seven eight nine ten double triple")
_BACKCHANNEL = _set(
    """mhm mm mmm hm hmm uh-huh uhhuh huh uh um ah oh eh yeah yep yes yup ok okay right sure alright great
    good nice cool i see got it wow really exactly indeed thanks"""
)
MAX_BACKCHANNEL_WORDS = 3


class Clause(Enum):
    """How finished what was said sounds."""

    COMPLETE = COMPLETE_S
    DICTATION = DICTATION_S
    UNFINISHED = UNFINISHED_S


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("-", " "))


def clause_of(text: str) -> Clause:
    """How finished `text` sounds: an unfinished clause waits longer, digits being dictated a little."""
    words = words_of(text)
    if not words:
        return Clause.COMPLETE
    if text.rstrip().endswith(("...", "…", ",", "-", "—")):
        return Clause.UNFINISHED
    if words[-1] in _UNFINISHED:
        return Clause.COMPLETE if _ends_a_question(words) else Clause.UNFINISHED
    if words[-1].isdigit() or words[-1] in _DIGITS:
        return Clause.DICTATION
    return Clause.COMPLETE


def _ends_a_question(words: list[str]) -> bool:
    return len(words) >= 4 and words[0] in _QUESTION and words[-1] in _MAY_END_A_QUESTION


def is_backchannel(text: str) -> bool:
    """Whether `text`, said while the agent speaks, only says "go on"; so does a noise without words."""
    words = words_of(text)
    return len(words) <= MAX_BACKCHANNEL_WORDS and all(word in _BACKCHANNEL for word in words)
