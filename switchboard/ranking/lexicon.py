"""How callers' words are read for ranking: what to drop, what is said in two words, what means the same."""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from switchboard.ranking import joining
from switchboard.ranking.vocabulary import ALSO, COMMON, IRREGULAR, KINDS, LIGHT, SAME, STOP

_ASKED = (
    rf"(?:(?:{'|'.join(sorted(KINDS))}|openinghours)\b|"
    r"(?:(?:do|does|did|is|are|was|were|am|can|could|will|would|shall|should|may|might|must|have|has)(?:n't)? "
    r"(?:i|we|you|he|she|it|they|there|the|a|an|my|her|his|our|your|any|anyone|anybody|someone|somebody|this|that|"
    r"those|these|one|guests|kids|children|pets|dogs)\b|what|when|where|which|who|why|how|whereabouts|"
    r"any(?:thing|where)?\b|till when|until when|by when|is|are|do|does|can|could|will|would)\b)"
)
_OPENERS = re.compile(rf"(?:^|(?<=[,:-] )|\b(?:and|but|so|or|then|because) ){_ASKED}")
_LATE_OPENERS = re.compile(
    rf"\b(?:(?:{'|'.join(sorted(KINDS))}|what|when|where|which|how|openinghours) "
    r"(?:(?!TIME)[a-z]+ ){0,2}?(?:do|does|did|is|are|was|can|could|will|would|should|shall|may|must)\b|"
    r"(?:do|does|did|is|are|can|could|will|would|should|may) (?:i|we|you|he|she|they|there)\b)"
)
_SENTENCES = re.compile(r"[^.?!;]*(?:[.?!;]+(?!\s|$)[^.?!;]*)*[.?!;]*")
_SECOND_QUESTION = re.compile(
    r",?\s+(?:and|also|or|plus)\s+"
    r"(?=(?:also |then )?(?:do|does|is|are|can|could|will|would|what|when|where|how|who|"
    rf"{'|'.join(sorted(KINDS))})\b)"
)
MOST_QUESTIONS = 3
_QUOTE = "\N{RIGHT SINGLE QUOTATION MARK}"
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Word:
    """One idea of what was said: its stem, what else it stands for, and how much it says about the subject."""

    stem: str
    ideas: frozenset[str]
    light: bool = False
    context: bool = False  # told before or after the question, not in it


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to take what was said: a question, alone or with what was told around it."""

    told: str
    asked: str
    words: tuple[Word, ...]
    apart: bool = False  # whether sentences of their own were told

    @property
    def leans(self) -> bool:
        """Whether the question says nothing of its subject, so that what was told around it must."""
        return not any(_says_subject(word) for word in self.words if not word.context)

    @property
    def says_nothing(self) -> bool:
        """Whether not even the kind of answer is asked for: such a question alone means nothing."""
        return self.leans and not any(word.stem in KINDS for word in self.words if not word.context)


def _says_subject(word: Word) -> bool:
    return not word.light and word.stem not in COMMON and word.stem not in KINDS


@cache
def stem(word: str) -> str:
    """The word without its English endings, crudely; the same for words that differ in ending alone."""
    root = IRREGULAR.get(word) or _bare(word)
    return root[:-1] if len(root) > 3 and root.endswith("e") and not root.endswith("ee") else root


def _bare(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "ches", "shes", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return IRREGULAR.get(word[:-1]) or _bare(word[:-1])
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) > 2 and re.search("[aeiouy]", root):
            return root[:-1] if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz" else root
    return word


@cache
def _synonyms() -> dict[str, str]:
    table: dict[str, str] = {}
    for line in SAME.strip().splitlines():
        first, *others = line.split()
        for word in (first, *others):
            table.setdefault(word, first)
            table.setdefault(stem(word), first)
    return table


@cache
def _also() -> dict[str, tuple[str, ...]]:
    return {key: ideas for given, ideas in ALSO.items() for key in (given, stem(given))}


@cache
def _light() -> frozenset[str]:
    return frozenset(stem(word) for word in LIGHT) | LIGHT


@cache
def word(text: str, context: bool = False) -> Word | None:
    """The idea behind one word; None for a word that carries none."""
    if text in KINDS:
        return Word(text, frozenset((text,)), False, context)
    plain = text.lower().partition("'")[0]
    if plain in STOP or len(plain) < 2:
        return None
    root = stem(plain)
    name = _synonyms().get(plain) or _synonyms().get(root) or root
    ideas = {name, *(idea for key in (name, plain, root) for idea in _also().get(key, ()))}
    light = plain in _light() or root in _light()
    return Word(name, frozenset(ideas), light, context)


@lru_cache(maxsize=64)
def clean(text: str) -> str:
    """What was said in lower case, without fillers, two-word ideas joined."""
    return joining.join(" ".join(text.split()).lower().replace(_QUOTE, "'"))


def ideas(cleaned: str) -> list[Word]:
    """The ideas in a cleaned text, in order."""
    return list(_ideas(cleaned))


def _ideas(cleaned: str, *, context: bool = False) -> Iterator[Word]:
    for part in _WORD.findall(cleaned):
        found = word(part, context)
        if found:
            yield found


def readings(said: str) -> list[Reading]:
    """Each question in what a caller said alone, then with all that was told; two questions also as one."""
    told, before, asked = _parted(clean(said))
    circumstances = " ".join(part for part in (*told, *before) if part)
    questions = asked[:MOST_QUESTIONS]
    always = "MEDICAL" if "MEDICAL" in circumstances else ""  # the answer may depend on it, whatever is asked
    alone = [_reading(always, question) for question in (*questions, *([" ".join(asked)] if len(asked) > 1 else ()))]
    found = [reading for reading in alone if not (told and reading.says_nothing)]
    if circumstances:
        found.extend(_reading(circumstances, question, apart=bool(told)) for question in questions)
    return [reading for reading in found if reading.words]


def known_words(told: str, known: Container[str]) -> str:
    """What was told without the words on subjects that are not known."""
    found = ((part, word(part)) for part in _WORD.findall(told))
    return " ".join(
        part for part, idea in found if idea is None or idea.light or any(one in known for one in idea.ideas)
    )


def _reading(told: str, asked: str, *, apart: bool = False) -> Reading:
    return Reading(told, asked, (*_ideas(told, context=True), *_ideas(asked)), apart)


def _parted(cleaned: str) -> tuple[list[str], list[str], list[str]]:
    """The sentences told, what comes before a question in its own sentence, and the questions.

    All is question when nothing looks like one.
    """
    sentences = [part.strip() for part in _SENTENCES.findall(cleaned) if part.strip(" .?!;")]
    marked = any(part.endswith("?") for part in sentences)
    told, before, asked = [], [], []
    for part in sentences:
        asks = part.endswith("?") if marked else _OPENERS.search(part) or _LATE_OPENERS.search(part)
        if not asks:
            told.append(part)
            continue
        start = _question_start(part)
        before.append(part[:start])
        asked.extend(_SECOND_QUESTION.split(part[start:]))
    return (told, before, asked) if asked else ([], [], [cleaned])


def _question_start(sentence: str) -> int:
    for pattern in (_OPENERS, _LATE_OPENERS):
        for match in pattern.finditer(sentence):
            if any(True for _ in _ideas(sentence[match.start() :])):
                return match.start()
    return 0
