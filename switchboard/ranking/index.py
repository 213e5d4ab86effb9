"""Which of a persona's facts answers what the caller said: vectors and word overlap, merged into one score.

A wrong fact is worse than none. So likeness alone does not carry an answer: each word of the question that says
what it is about must be known to the fact, as must the kind of answer asked for (a price, a time, a place …).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import wordllama
from numpy.typing import NDArray

from switchboard import passages
from switchboard.persona import PersonaFact
from switchboard.ranking import lexicon
from switchboard.ranking.lexicon import Reading, Word
from switchboard.ranking.vocabulary import BEYOND, COMMON, KINDS

# Two facts this close fit a question alike, and each counts for less.
ALIKE = 0.03
TORN = 0.8
LONGEST = 600  # characters of one turn that are ranked
_LIGHT = 0.25  # a light word's weight against a full one's
_TOLD = 0.5  # the weight of what was told around a question that names its subject itself
_ASKED_LIGHT = 0.4  # a light word's weight in a question that has no others, against a full one's
_LEANING = 0.1  # what an unknown light word counts in such a question
_MEDICAL = 1.0  # what a medical condition counts that is told: the answer may depend on it
_UNASKED = 0.25  # what it counts that such a question shares no word at all with a fact
_TOLD_UNKNOWN = 0.15  # what an unknown word counts of what was told
_KIND = 0.8  # what a missing kind of answer counts against a missing word

_COMMON = 0.5  # the weight of an idea that any fact may share with any question
_CORE = 0.25  # an idea in this share of a fact's phrasings is what the fact is about
_LIGHT_CORE = 0.4  # what a light word counts as the core
_SAID_CORE = 0.2  # what a word of the fact's own sentence counts as the core, at least
_WHOLE = 0.7  # a phrasing that agrees this far needs no core
_SUBJECT = 0.5  # shared weight from which on the fact is about what the question is about

Vectors = NDArray[np.float32]
_Lacks = tuple[float, float, float]  # a word that a fact does not know, as missing, missing kind and stray


@dataclass(frozen=True, slots=True)
class RankedFact:
    """A fact and how sure it is, 0 to 1, that it answers; from `switchboard.passages.ANSWERS` on it does."""

    say: str
    score: float


@cache
def load() -> Any:
    """The embedding model and the word tables, loaded once a process (0.2 s); their first use is slow too."""
    model = wordllama.WordLlama.load(disable_download=True, cache_dir=Path(wordllama.__file__).parent)
    model.embed(["-"])
    lexicon.ideas("breakfast")
    return model


def _embed(texts: Sequence[str]) -> Vectors:
    """Unit vectors, one row for each text; a text without a known word has a row of zeros."""
    rows = np.asarray(load().embed([text or "-" for text in texts]), dtype=np.float32)
    unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit


def _decided(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores of one question; when two facts fit it alike, neither surely answers."""
    if len(scores) < 2:
        return scores
    second, first = np.partition(scores, -2)[-2:]
    undecided = first - second < ALIKE
    return np.where(scores >= second, scores * TORN, scores) if undecided else scores


@dataclass(frozen=True, slots=True)
class Features:
    """How a question and a fact agree; `missing` and `kind` count against, all else for."""

    subject: float
    mass: float
    cover: float
    phrase: float
    likeness: float
    missing: float
    kind: float
    edge: float
    stray: float
    leans: float


_WEIGHTS = Features(
    subject=2.0,
    mass=1.5,
    cover=2.0,
    phrase=2.0,
    likeness=3.5,
    missing=-4.0,
    kind=-3.0,
    edge=-4.0,
    stray=-0.15,
    leans=-0.3,
)
_BIAS = -6.0


@dataclass(frozen=True, slots=True)
class _Fact:
    say: str
    phrasings: tuple[dict[str, float], ...]  # idea: 1, or less for a light word
    known: dict[str, float]  # idea: share of the phrasings that hold it


@dataclass(frozen=True, slots=True)
class _Heard:
    """A reading with what each word weighs where a fact knows it and what it counts as where none does."""

    words: tuple[tuple[Word, float, _Lacks], ...]
    unasked: tuple[_Lacks]  # what it counts when a fact knows no word of the question itself
    leans: float  # 1 when the subject is in what was told alone
    ideas: frozenset[str]

    @classmethod
    def of(cls, reading: Reading) -> "_Heard":
        told = any(word.context for word in reading.words)
        leans = reading.leans and told
        strict = leans and reading.apart
        asked = not all(word.context for word in reading.words)
        return cls(
            tuple((word, _share(word, leans), _lacks(word, strict)) for word in reading.words),
            ((_UNASKED if strict and asked else 0.0, 0.0, 0.0),),
            float(leans),
            frozenset(idea for word in reading.words for idea in word.ideas),
        )


def _share(word: Word, leans: bool) -> float:
    light = _ASKED_LIGHT if leans and not word.context else _LIGHT
    return (light if word.light else 1.0) * (_TOLD if word.context and not leans else 1.0)


def _lacks(word: Word, strict: bool) -> _Lacks:
    if word.stem == "MEDICAL":
        return (0.0, _MEDICAL if word.context else 1.0, 0.0)
    if word.context:
        return (0.0, 0.0, 0.0 if word.light or word.stem in KINDS else 1.0)
    if word.stem in KINDS:
        return (0.0, 1.0, 0.0)
    if word.light:
        return (_LEANING if strict else 0.0, 0.0, 0.0)
    return (1.0, 0.0, 0.0)


class FactIndex:
    """A persona's facts, ready to be ranked; made once a call in some 25 ms, read by any number."""

    def __init__(self, facts: Sequence[PersonaFact]) -> None:
        texts = [(fact.say, *fact.asked) for fact in facts]
        cleaned = [lexicon.clean(text) for group in texts for text in group]
        rest = iter(cleaned)
        self._facts = [_read(group[0], [next(rest) for _ in group]) for group in texts]
        counts = Counter(idea for fact in self._facts for idea in fact.known)
        self._rarity = {idea: math.log(1 + len(facts) / count) for idea, count in counts.items()}
        self._rarest = math.log(1 + len(facts)) if facts else 1.0
        self._weights = {idea: self._weight(idea) for idea in self._rarity}
        self._phrasings = [[self._weighed(phrasing) for phrasing in fact.phrasings] for fact in self._facts]
        self._owner = np.array([at for at, group in enumerate(texts) for _ in group], dtype=np.int64)
        self._vectors = _embed(cleaned) if facts else None
        self._spellings = sorted(idea for idea in self._rarity if len(idea) > 5 and idea not in KINDS)

    def rank(self, words: str, *, limit: int = 4) -> list[RankedFact]:
        """The `limit` facts that fit best what the caller said, best first; facts that share nothing are left out."""
        best = np.zeros(len(self._facts))
        for reading in self.features(words[:LONGEST]):
            best = np.maximum(
                best, _decided(np.array([0.0 if found is None else _score(found) for found in reading]))
            )
        order = np.argsort(-best, kind="stable")[:limit]
        return [RankedFact(self._facts[at].say, round(float(best[at]), 3)) for at in order if best[at] > 0]

    def passages(self, words: str) -> str:
        """The facts that fit, as a block of data for a language model."""
        return passages.render([passages.Passage(say=one.say, score=one.score) for one in self.rank(words)])

    def features(self, said: str) -> list[list[Features | None]]:
        """How each fact agrees with each reading of what was said; None where they share no idea."""
        readings = lexicon.readings(said)
        if self._vectors is None or not readings:
            return []
        near = self._vectors @ _embed([self._text(reading) for reading in readings]).T
        likeness = np.full((len(self._facts), len(readings)), -1.0, dtype=np.float32)
        np.maximum.at(likeness, self._owner, near)
        return [self._agreements(reading, likeness[:, at]) for at, reading in enumerate(readings)]

    def _text(self, reading: Reading) -> str:
        """What is compared by likeness; words that no fact knows would drown the rest of what was told."""
        return f"{lexicon.known_words(reading.told, self._rarity)} {reading.asked}".strip()

    def _agreements(self, reading: Reading, likeness: Vectors) -> list[Features | None]:
        heard = _Heard.of(
            Reading(reading.told, reading.asked, tuple(map(self._corrected, reading.words)), reading.apart)
        )
        return [self._agreement(heard, at, float(like)) for at, like in enumerate(likeness)]

    def _corrected(self, word: Word) -> Word:
        """A word that no fact knows, heard one letter wrong, as the word that the facts know."""
        if word.light or len(word.stem) < 6 or any(idea in self._rarity for idea in word.ideas):
            return word
        for near in self._spellings:
            if _one_letter_apart(near, word.stem):
                return Word(near, frozenset((near,)), False, word.context)
        return word

    def _weight(self, idea: str) -> float:
        share = _COMMON if idea in COMMON or idea in KINDS else 1.0
        return share * self._rarity.get(idea, self._rarest) / self._rarest

    def _weighed(self, phrasing: dict[str, float]) -> tuple[dict[str, float], float]:
        weighed = {idea: self._weights[idea] * share for idea, share in phrasing.items()}
        return weighed, sum(weighed.values())

    def _agreement(self, heard: "_Heard", at: int, likeness: float) -> Features | None:
        fact = self._facts[at]
        mass = covered = core = 0.0
        unknown = list(heard.unasked)
        shared: set[str] = set()
        for word, share, lacks in heard.words:
            found = [idea for idea in word.ideas if idea in fact.known and idea not in BEYOND]
            if not found:
                unknown.append(lacks)
                continue
            if not word.context:
                unknown[0] = (0.0, 0.0, 0.0)
            best = max(found, key=lambda idea: self._weights[idea] * math.sqrt(fact.known[idea]))
            covered += self._weights[best] * share
            if best not in shared:
                mass += self._weights[best] * share * math.sqrt(fact.known[best])
            shared.update(found)
            if best not in COMMON and best not in KINDS:
                known = max(fact.known[best], _SAID_CORE if best in fact.phrasings[0] else 0.0)
                core = max(core, known * (_LIGHT_CORE if word.light else 1.0))
        if not shared - KINDS:
            return None
        missing, kind, stray = (sum(column) for column in zip(*unknown, strict=True))
        cover = covered / (covered + missing + _KIND * kind + _TOLD_UNKNOWN * stray)
        phrase = self._phrase(heard, at)
        edge = max(0.0, 1 - core / _CORE) * min(1.0, max(0.0, (_WHOLE - phrase) / 0.2))
        subject, mass = min(1.0, mass / _SUBJECT), min(mass, 1.0)
        return Features(subject, mass, cover, phrase, likeness, missing, kind, edge, stray, heard.leans)

    def _phrase(self, heard: "_Heard", at: int) -> float:
        asked = {word.stem: _said_share(word, self._facts[at]) for word, _share, _lacks in heard.words}
        total = sum(share * self._weight(stem) for stem, share in asked.items())
        best = 0.0
        for phrasing, size in self._phrasings[at]:
            both = sum([phrasing[idea] for idea in heard.ideas & phrasing.keys()])
            best = max(best, 2 * both / (size + total) if both else 0.0)
        return min(best, 1.0)


def _said_share(word: Word, fact: _Fact) -> float:
    share = _LIGHT if word.light else 1.0
    return share * _TOLD_UNKNOWN if word.context and word.ideas.isdisjoint(fact.known) else share


def _score(found: Features) -> float:
    total = _BIAS
    for name in Features.__slots__:
        total += getattr(_WEIGHTS, name) * getattr(found, name)
    return 1.0 / (1.0 + math.exp(-total))


def _read(say: str, cleaned: Sequence[str]) -> _Fact:
    phrasings = tuple(
        {idea: _LIGHT if word.light else 1.0 for word in lexicon.ideas(text) for idea in word.ideas}
        for text in cleaned
    )
    counts = Counter(idea for phrasing in phrasings for idea in phrasing)
    return _Fact(say, phrasings, {idea: count / len(cleaned) for idea, count in counts.items()})


def _one_letter_apart(one: str, other: str) -> bool:
    """Whether one letter changed, added or dropped makes one of the other, the first letter kept."""
    if one[0] != other[0] or abs(len(one) - len(other)) > 1:
        return False
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return any(one[start + a :] == other[start + b :] for a, b in ((1, 1), (1, 0), (0, 1)))
