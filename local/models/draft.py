"""A message being taken, read from the conversation alone: name, number, text, read back, passed on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from local.models import heard

LONGEST = 1_000


class Stage(StrEnum):
    """What we asked the caller last."""

    IDLE = "idle"
    OFFER = "offer"
    NAME = "name"
    NUMBER = "number"
    TEXT = "text"
    CONFIRM = "confirm"
    CHANGE = "change"
    ANYTHING_ELSE = "anything_else"


# How each question of ours is known again in the history, even when the caller cut it off before its end.
_MARKS = (
    (Stage.CHANGE, re.compile(r"what shall i change", re.I)),
    (Stage.CONFIRM, re.compile(r"read that back|is the message right", re.I)),
    (Stage.NAME, re.compile(r"your name\b|gladly take a message", re.I)),
    (Stage.NUMBER, re.compile(r"what number can|say the number|which number", re.I)),
    (Stage.TEXT, re.compile(r"what shall i pass on|what is the message", re.I)),
    (Stage.OFFER, re.compile(r"take a message\b", re.I)),
    (Stage.ANYTHING_ELSE, re.compile(r"anything else|something else", re.I)),
)
TAKING = frozenset((Stage.NAME, Stage.NUMBER, Stage.TEXT, Stage.CONFIRM, Stage.CHANGE))
_LEAD = re.compile(
    r"^(?:(?:yes|yeah|sure|okay|ok|well|um|uh|please|just|can you|could you)[, ]+)*"
    r"(?:(?:tell|let) (?:them|him|her|the \w+|someone|somebody)(?: know)?|say|(?:the|my) message is)"
    r"(?: that)?\s*[,:]?\s+",
    re.I,
)
_SAID_TEXT = re.compile(
    r"\b(?:(?:the|my) message (?:is|should be|should say)|(?:tell|let) them(?: know)?)\s*[,:]?\s*(?:that )?(.+)$",
    re.I,
)
_NUMBER_FOLLOWS = re.compile(r"\b(?:and )?(?:(?:my|the) (?:phone )?number|you can (?:reach|call))\b", re.I)


@dataclass(frozen=True, slots=True)
class Turn:
    """One spoken turn. `passed_on` marks the end of a message that was taken."""

    speaker: str  # "caller" or "us"
    text: str
    passed_on: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of the message so far; empty texts are not known yet."""

    name: str = ""
    number: str = ""
    text: str = ""

    def missing(self) -> Stage:
        """The stage whose answer is needed next."""
        if not self.name:
            return Stage.NAME
        if not self.number:
            return Stage.NUMBER
        return Stage.CONFIRM if self.text else Stage.TEXT


def stage(text: str) -> Stage:
    """What this turn of ours asked the caller."""
    return next((found for found, mark in _MARKS if mark.search(text)), Stage.IDLE)


def heard_so_far(turns: Sequence[Turn]) -> Draft:
    """The draft from all turns before the caller's last one.

    An answer counts when our next turn asked for something else; when it asked the same again, it was none.
    """
    draft, asked = Draft(), Stage.IDLE
    for at, turn in enumerate(turns):
        if turn.passed_on:
            draft, asked = Draft(), Stage.IDLE
        elif turn.speaker == "us":
            now = stage(turn.text)
            draft = draft if now in TAKING else Draft()
            asked = now
        elif at + 1 < len(turns):
            following = next((later for later in turns[at + 1 :] if later.speaker == "us"), None)
            draft = _taken(draft, asked, turn.text, stage(following.text) if following else Stage.IDLE)
    return draft


def _taken(draft: Draft, asked: Stage, words: str, then: Stage) -> Draft:
    if then not in TAKING:
        return draft
    if asked not in TAKING:
        return opened(words)
    if asked in {Stage.CONFIRM, Stage.CHANGE}:
        return corrected(draft, words)
    return corrected(draft, words) if then is asked else answered(draft, asked, words)


def opened(words: str) -> Draft:
    """The draft from the words that asked for a message: name and number, when they were said with it."""
    number = heard.number(words)
    known = number if number and number.lstrip("+").isdigit() else ""
    return Draft(name=heard.said_name(words) or "", number=known)


def answered(draft: Draft, asked: Stage, words: str) -> Draft:
    """The draft with the answer to what was asked; unchanged when the words hold none."""
    if asked is Stage.NAME:
        number = draft.number or _digits(words)
        return replace(draft, name=heard.name(_without_number(words)) or draft.name, number=number)
    if asked is Stage.NUMBER:
        said = heard.said_name(words)
        return replace(draft, number=heard.number(words) or draft.number, name=said or draft.name)
    if asked is Stage.TEXT and heard.is_only_number(words):
        return corrected(draft, words)
    if asked is Stage.TEXT:
        return replace(draft, text=_LEAD.sub("", " ".join(words.split()))[:LONGEST])
    return draft


def corrected(draft: Draft, words: str) -> Draft:
    """The draft with what the caller names anew: "no, my number is …", "my name is …", "tell them …"."""
    said = _SAID_TEXT.search(words)
    if said:
        return replace(draft, text=said.group(1)[:LONGEST])
    name, number = heard.said_name(words), _digits(words) or ""
    return replace(draft, name=name or draft.name, number=number or draft.number)


def to_change(words: str) -> Stage | None:
    """Which part the caller wants to change, when it is named without the new value."""
    said = words.lower()
    parts = ((Stage.NUMBER, "number"), (Stage.NAME, "name"), (Stage.TEXT, "message"))
    return next((part for part, word in parts if word in said), None)


def _digits(words: str) -> str:
    number = heard.number(words)
    return number if number and number.lstrip("+").isdigit() else ""


def _without_number(words: str) -> str:
    return _NUMBER_FOLLOWS.split(words)[0]
