"""`python -m bench.voice`: how fast calls are answered, greeted and talked with, at the caller's ear.

All times but the parts are read from the stereo recording. The parts of a turn are the agent's own figures;
transport is what the caller waited beyond them.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import facts, processes
from bench.figures import Figures, Spread, Target
from bench.memory import weigh
from bench.options import main, parser
from bench.script import Script
from bench.sounds import Utterance, utterances
from bench.stack import Measured
from bench.talk import Heard, Said, Talk, heard, talk
from local.phone import listen
from local.phone.caller import Caller

SENTENCES = (
    "What time is breakfast served?",
    "Do you have a parking garage?",
    "Can I bring my dog with me?",
    "When do I have to check out?",
    "Is there a gym in the building?",
    "How far is it to the station?",
    "Do you have rooms for families?",
    "Is the wireless internet free?",
    "Can I cancel my booking tomorrow?",
    "Where can we have dinner tonight?",
)
PARTS = ("end_of_turn", "stt", "llm", "tts")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn as the caller heard it, and the agent's own figures for it (empty when it had none)."""

    call: int
    heard: Heard
    stages: Mapping[str, float]

    @property
    def transport(self) -> float | None:
        own, ours = self.stages.get("voice_to_voice"), self.heard.voice_to_voice
        return None if own is None or ours is None else ours - own


@dataclass(frozen=True, slots=True)
class Call:
    answered_s: float
    greeting_s: float | None
    turns: Sequence[Turn]


@dataclass(frozen=True, slots=True)
class _Ended:
    talk: Talk
    said: Sequence[Said]


async def run(options: argparse.Namespace, found: Measured) -> Figures:
    """Makes the calls and works out the figures."""
    if options.memory:
        return await weigh(options, found)
    sentences = await utterances(SENTENCES, options.voice)
    async with Script(found.scripted) as script, Caller() as caller:
        await script.teach(sentences)
        figures = Figures(
            "voice",
            {"models": options.models, "calls": options.calls, "at once": options.at_once, "turns": options.turns},
        )
        before, began = processes.cpu(found.stack), time.monotonic()
        ended = await _calls(options, found, caller, sentences)
        figures.cpu_s = processes.spent(before, processes.cpu(found.stack))
        figures.counts["seconds of the run"] = round(time.monotonic() - began, 1)
    calls = [await _read(found, options.record, number, one) for number, one in enumerate(ended)]
    _fill(figures, calls, options.at_once)
    return figures


async def _calls(
    options: argparse.Namespace, found: Measured, caller: Caller, sentences: Sequence[Utterance]
) -> list[_Ended]:
    """All calls, `at_once` of them at any time, each beginning with another sentence."""
    waiting = list(range(max(options.calls, options.at_once)))
    ended: list[_Ended] = []

    async def one_after_another(place: int) -> None:
        await asyncio.sleep(place * options.stagger)
        while waiting:
            number = waiting.pop(0)
            async with talk(caller, found.stack.sip(options.number)) as talking:
                for turn in range(options.turns):
                    await talking.turn(sentences[(number + turn) % len(sentences)])
            ended.append(_Ended(talking, talking.said))

    async with asyncio.TaskGroup() as tasks:
        for place in range(options.at_once):
            tasks.create_task(one_after_another(place), name=f"caller {place}")
    return ended


async def _read(found: Measured, folder: Path | None, number: int, ended: _Ended) -> Call:
    call = ended.talk.call
    stereo = await ended.talk.recorded(folder)
    spoken = heard(stereo, list(ended.said))
    record = await facts.record(found.stack, call.call_id)
    stages = record.stages([one.text for one in spoken])
    turns = [Turn(number, one, stage) for one, stage in zip(spoken, stages, strict=True)]
    return Call(call.answered_s, listen.first_sound(stereo[:, 1]), turns)


def _fill(figures: Figures, calls: Sequence[Call], at_once: int) -> None:
    turns = [turn for call in calls for turn in call.turns]
    waits = Spread.of(turn.heard.voice_to_voice for turn in turns)
    answer = Spread.of(call.answered_s for call in calls)
    figures.spreads = {
        "answer (INVITE to 200)": answer,
        "greeting (200 to first sound)": Spread.of(call.greeting_s for call in calls),
        "voice to voice": waits,
        **{f"  {part}": Spread.of(turn.stages.get(part) for turn in turns) for part in PARTS},
        "  the agent's own total": Spread.of(turn.stages.get("voice_to_voice") for turn in turns),
        "  transport": Spread.of(turn.transport for turn in turns),
    }
    missed = [turn for turn in turns if turn.heard.reply is None]
    figures.counts |= {
        "turns": len(turns),
        "missed turns (no reply)": len(missed),
        "turns replied to before their end": sum(turn.heard.over is not None for turn in turns),
        "turns without the agent's figures": sum(not turn.stages for turn in turns),
    }
    figures.cases = [
        {
            "call": turn.call,
            "said": turn.heard.text,
            "at": asdict(turn.heard.said),
            "voice_to_voice": turn.heard.voice_to_voice,
            "over": turn.heard.over,
            "stages": dict(turn.stages),
            "transport": turn.transport,
        }
        for turn in turns
    ]
    figures.targets = [Target("answer p95", answer.p95 if answer else None, 1.0), *_waits(waits, at_once)]
    figures.targets.append(Target("missed turns", len(missed), 0))


def _waits(waits: Spread | None, at_once: int) -> list[Target]:
    if at_once > 1:
        return [Target(f"voice to voice, {at_once} at once, worst", waits.worst if waits else None, 1.6)]
    return [
        Target("voice to voice p50", waits.p50 if waits else None, 1.1),
        Target("voice to voice p95", waits.p95 if waits else None, 1.5),
    ]


def _parser() -> argparse.ArgumentParser:
    made = parser("bench.voice", "How fast calls are answered, greeted and talked with, at the caller's ear.")
    made.add_argument("--calls", type=int, default=1, help="calls in all (1)")
    made.add_argument("--at-once", type=int, default=1, help="how many of them at any time (1)")
    made.add_argument("--turns", type=int, default=10, help="turns of each call (10)")
    made.add_argument("--stagger", type=float, default=0.5, help="seconds between the first calls at once (0.5)")
    made.add_argument("--memory", action="store_true", help="weigh the stack idle and with 1 to 4 calls instead")
    return made


if __name__ == "__main__":
    main(_parser(), run)
