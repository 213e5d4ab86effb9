"""`python -m bench.pauses`: sentences with a pause inside; how many the agent takes for finished at the pause.

A sentence is cut when the agent is heard before its end (up to 0.1 s after it), or when it made more than one turn
of it, or one that lacks a part: then it had taken the first part for all.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import facts
from bench.figures import Figures, Spread, Target
from bench.options import main, parser
from bench.script import Script
from bench.sounds import Utterance, plain, utterances
from bench.stack import BenchFailed, Measured
from bench.talk import Heard, heard, talk
from local.phone.caller import Caller

FILE = Path(__file__).parent / "data" / "pauses.yaml"
REPLY = "Of course, I have made a note of that."
SENTENCES_A_CALL = 5
# A turn that has fewer of its sentence's words has lost a part of it; hearing may lose a word.
KEPT = 0.7


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said around a pause of so many seconds; `ends`: the first part sounds finished."""

    parts: tuple[str, str]
    pause: float
    ends: bool

    @property
    def mixed(self) -> list[str | float]:
        return [self.parts[0], self.pause, self.parts[1]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sentence as it went; `turns` are the turns that the agent made of it."""

    sentence: Sentence
    heard: Heard
    turns: Sequence[str]

    @property
    def split(self) -> bool:
        return len(self.turns) > 1

    @property
    def torn(self) -> bool:
        """One turn was made of it, without a good part of its words."""
        words = plain(" ".join(self.sentence.parts)).split()
        kept = set(plain(" ".join(self.turns)).split())
        return len(self.turns) == 1 and sum(word in kept for word in words) < KEPT * len(words)

    @property
    def cut(self) -> bool:
        return self.heard.over is not None or self.split or self.torn

    def as_case(self) -> Mapping[str, Any]:
        return {
            "parts": self.sentence.parts,
            "pause": self.sentence.pause,
            "first part sounds finished": self.sentence.ends,
            "cut": self.cut,
            "agent heard at": self.heard.over,
            "said at": [self.heard.said.start, self.heard.said.end],
            "turns": list(self.turns),
            "voice_to_voice": self.heard.voice_to_voice,
        }


def read(file: Path) -> list[Sentence]:
    """The sentences in `file`. Raises BenchFailed."""
    try:
        found = yaml.safe_load(file.read_text())
        return [Sentence(tuple(one["parts"]), float(one["pause"]), bool(one["ends"])) for one in found]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as wrong:
        raise BenchFailed(f"{file} holds no sentences with parts, pause and ends: {wrong}") from None


async def run(options: argparse.Namespace, found: Measured) -> Figures:
    """Says every sentence, some in each call."""
    sentences = read(options.file)
    spoken = await utterances([one.mixed for one in sentences], options.voice)
    figures = Figures("pauses", {"models": options.models, "sentences": len(sentences)})
    outcomes: list[Outcome] = []
    async with Script(found.scripted) as script, Caller() as caller:
        await script.teach(spoken)
        await script.reply(REPLY)
        for at in range(0, len(sentences), SENTENCES_A_CALL):
            some = slice(at, at + SENTENCES_A_CALL)
            outcomes += await _call(options, found, caller, sentences[some], spoken[some])
    _fill(figures, outcomes)
    return figures


async def _call(
    options: argparse.Namespace,
    found: Measured,
    caller: Caller,
    sentences: Sequence[Sentence],
    spoken: Sequence[Utterance],
) -> list[Outcome]:
    async with talk(caller, found.stack.sip(options.number)) as talking:
        for one in spoken:
            await talking.turn(one)
    stereo = await talking.recorded(options.record)
    record = await facts.record(found.stack, talking.call.call_id)
    turns = _shared_out([line.text for line in record.said_by("user")], spoken)
    return [
        Outcome(sentence, one, mine)
        for sentence, one, mine in zip(sentences, heard(stereo, talking.said), turns, strict=True)
    ]


def _shared_out(turns: Sequence[str], spoken: Sequence[Utterance]) -> list[list[str]]:
    """The turns of a call, each given to the sentence that it shares most words with, in order."""
    shares: list[list[str]] = [[] for _ in spoken]
    at = 0
    for turn in turns:
        words = set(plain(turn).split())
        fits = [len(words & set(plain(one.text).split())) / max(len(words), 1) for one in spoken[at:]]
        at += fits.index(max(fits))
        shares[at].append(turn)
    return shares


def _fill(figures: Figures, outcomes: Sequence[Outcome]) -> None:
    cut = [one for one in outcomes if one.cut]
    figures.spreads["voice to voice"] = Spread.of(one.heard.voice_to_voice for one in outcomes if not one.cut)
    figures.counts |= {
        "cut": f"{len(cut)} of {len(outcomes)}",
        "  heard over the caller": sum(one.heard.over is not None for one in outcomes),
        "  made into two turns": sum(one.split for one in outcomes),
        "  made into a turn that lacks a part": sum(one.torn for one in outcomes),
        "no reply": sum(one.heard.reply is None for one in outcomes),
        "no turn on record": sum(not one.turns for one in outcomes),
    }
    for one in cut:
        figures.counts["  " + " | ".join(one.sentence.parts)] = f"{one.sentence.pause:g} s"
    figures.cases = [one.as_case() for one in outcomes]
    figures.targets = [Target("sentences cut", len(cut), 2)]


def _parser() -> argparse.ArgumentParser:
    made = parser("bench.pauses", "How many sentences with a pause inside are taken for finished at the pause.")
    made.add_argument("--file", type=Path, default=FILE, help="sentences as YAML: parts, pause, ends")
    return made


if __name__ == "__main__":
    main(_parser(), run)
