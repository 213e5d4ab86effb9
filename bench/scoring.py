"""Judges replies to questions about a persona's facts: right, wrong, "I don't know", or none of these."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from bench.stack import BenchFailed
from switchboard.persona import Persona

KINDS = ("answerable", "unanswerable", "false_premise")
_UNKNOWN = re.compile(
    r"\b(?:dont|do not) (?:\w+ )?(?:know|have (?:any |that |this )?(?:information|details))\b|"
    r"\b(?:take|leave|pass on) (?:a|your|the) message\b|"
    r"\bnot (?:\w+ )?sure\b|\bno information\b|\bcant (?:answer|help with|say)\b"
)


class Verdict(StrEnum):
    """`RIGHT`: as it should be. `WRONG`: a fact is stated that is not the right one. `UNKNOWN`: says that it does
    not know although the answer is known. `OTHER`: none of these, such as half an answer or no reply."""

    RIGHT = "right"
    WRONG = "wrong fact"
    UNKNOWN = "don't know"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a number. `right` are the starts of the facts that answer it, `must` what a right reply says."""

    id: str
    number: str
    kind: str
    ask: str
    right: tuple[str, ...]
    must: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A question, what was replied, and how that is. `heard` is the question as the agent heard it."""

    question: Question
    heard: str
    reply: str
    verdict: Verdict
    stated: tuple[str, ...]


def plain(text: str) -> str:
    """In lower case without punctuation; hyphens part words, apostrophes do not."""
    return " ".join(re.findall(r"\w+", re.sub(r"['\u2019]", "", text.lower())))


def read(file: Path, numbers: Mapping[str, str]) -> list[Question]:
    """The questions in `file`: each with `kind`, `ask`, `number` or `persona` (a name in `numbers`), and for what
    is right `fact` (a text), `answers` (starts of facts) or `must` (texts). Raises BenchFailed."""
    try:
        found = yaml.safe_load(file.read_text())
        questions = [_question(at, one, numbers) for at, one in enumerate(found)]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as wrong:
        raise BenchFailed(f"{file} holds no questions with kind, ask and number: {wrong!r}") from None
    if strange := {one.kind for one in questions} - set(KINDS):
        raise BenchFailed(f"{file} has the kind {strange.pop()!r}: the kinds are {', '.join(KINDS)}.")
    return questions


def _question(at: int, one: Mapping[str, Any], numbers: Mapping[str, str]) -> Question:
    right = tuple(one.get("answers") or ()) + ((one["fact"],) if one.get("fact") else ())
    number = one.get("number") or numbers[one["persona"]]
    must = tuple(str(text) for text in one.get("must") or ())
    return Question(str(one.get("id", at)), number, one["kind"], one["ask"], right, must)


def judge(question: Question, persona: Persona, reply: str, heard: str = "") -> Judged:
    """How the reply is, read from its words alone."""
    stated = tuple(fact.say for fact in persona.facts if _within(fact.say, reply))
    return Judged(question, heard, reply, _verdict(question, stated, reply), stated)


def _verdict(question: Question, stated: Sequence[str], reply: str) -> Verdict:
    right = _is_right(question, stated, reply)
    stray = [say for say in stated if not any(plain(say).startswith(plain(start)) for start in question.right)]
    unknown = bool(_UNKNOWN.search(plain(reply)))
    if question.kind == "unanswerable":
        if stated:
            return Verdict.WRONG
        return Verdict.RIGHT if unknown else Verdict.OTHER
    if right:
        return Verdict.RIGHT
    if stray:
        return Verdict.WRONG
    if unknown:
        return Verdict.RIGHT if question.kind == "false_premise" else Verdict.UNKNOWN
    return Verdict.OTHER


def _is_right(question: Question, stated: Sequence[str], reply: str) -> bool:
    if question.must:
        return all(_begins_a_word(text, reply) for text in question.must)
    return any(plain(say).startswith(plain(start)) for say in stated for start in question.right)


def _within(text: str, reply: str) -> bool:
    return f" {plain(text)} " in f" {plain(reply)} "


def _begins_a_word(stem: str, reply: str) -> bool:
    """What must be said is given as stems: `bag` is said in "bags"."""
    return f" {plain(stem)}" in f" {plain(reply)}"


def table(judged: Iterable[Judged]) -> dict[str, Counter[Verdict]]:
    """How many of each kind got each verdict."""
    counts: dict[str, Counter[Verdict]] = {kind: Counter() for kind in KINDS}
    for one in judged:
        counts[one.question.kind][one.verdict] += 1
    return counts
