"""`python -m bench.questions --file FILE`: asks the demo personas questions and judges the replies.

`--text` asks the facts and the bundled brain in this process; `--calls` asks by phone, with the local models:
the question is spoken, heard, answered and spoken again.
"""

import argparse
import asyncio
import itertools
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from bench import facts, scoring
from bench.figures import Figures, Target, show
from bench.options import parser
from bench.scoring import Judged, Question, Verdict
from bench.sounds import Utterance, utterance
from bench.stack import BenchFailed, Measured, measured
from bench.talk import Said, talk
from local.models import chat
from local.phone.caller import Caller
from switchboard import passages
from switchboard.persona import Persona
from switchboard.prompt import instructions
from switchboard.ranking.index import FactIndex

PERSONAS = Path(__file__).parents[1] / "prompts" / "personas"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {}}}
    for name in ("look_up", "take_message", "end_call")
]
# A reply that is not recorded within this time of its question's end belongs to the next one.
LATE_S = 0.3


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo personas by number, and their numbers by name of file."""

    personas: Mapping[str, Persona]
    numbers: Mapping[str, str]


def demo() -> Demo:
    personas, numbers = {}, {}
    for file in sorted(PERSONAS.glob("*.yaml")):
        found = yaml.safe_load(file.read_text())
        for number in found.get("numbers") or ():
            personas[number], _rejected = Persona.read(found)
            numbers[file.stem] = number
    return Demo(personas, numbers)


def by_text(questions: Sequence[Question], found: Demo) -> list[Judged]:
    """Each question alone, answered in this process as a call would be."""
    indexes = {number: FactIndex(persona.facts) for number, persona in found.personas.items()}
    return [
        scoring.judge(one, found.personas[one.number], _answer(one, found.personas[one.number], indexes[one.number]))
        for one in questions
    ]


def _answer(question: Question, persona: Persona, index: FactIndex) -> str:
    ranked = [passages.Passage(say=one.say, score=one.score) for one in index.rank(question.ask)]
    messages = [
        {"role": "system", "content": instructions(persona, datetime.now(UTC))},
        {"role": "assistant", "content": persona.welcome_message},
        {"role": "system", "content": passages.render(ranked)},
        {"role": "user", "content": question.ask},
    ]
    return chat.answer(messages, TOOLS).text or ""


async def by_phone(options: argparse.Namespace, questions: Sequence[Question], found: Demo) -> list[Judged]:
    """Some questions in each call, as many calls at once as were asked for."""
    groups = defaultdict(list)
    for one in questions:
        groups[one.number].append(one)
    waiting = [
        group[at : at + options.per_call]
        for group in groups.values()
        for at in range(0, len(group), options.per_call)
    ]
    judged: list[Judged] = []
    with measured(options.models, home=options.home, scripted=options.scripted) as stack:
        async with Caller() as caller:

            async def one_after_another() -> None:
                while waiting:
                    judged.extend(await _call(options, stack, caller, waiting.pop(0), found))

            async with asyncio.TaskGroup() as tasks:
                for _ in range(options.at_once):
                    tasks.create_task(one_after_another())
    places = {one.id: at for at, one in enumerate(questions)}
    return sorted(judged, key=lambda one: places[one.question.id])


async def _call(
    options: argparse.Namespace, stack: Measured, caller: Caller, questions: Sequence[Question], found: Demo
) -> list[Judged]:
    spoken: list[Utterance] = [await utterance(one.ask, options.voice) for one in questions]
    async with talk(caller, stack.stack.sip(questions[0].number)) as talking:
        for one in spoken:
            await talking.turn(one)
    record = await facts.record(stack.stack, talking.call.call_id)
    exchanges = _exchanges(record, talking.said)
    return [
        scoring.judge(one, found.personas[one.number], reply, heard)
        for one, (heard, reply) in zip(questions, exchanges, strict=True)
    ]


def _exchanges(record: facts.Record, said: Sequence[Said]) -> list[tuple[str, str]]:
    """For each question what the agent heard and what it replied, by the times at which they were recorded."""
    ends = [one.ended_at - one.what.seconds - LATE_S for one in said] + [float("inf")]
    found = []
    for begin, end in itertools.pairwise(ends):
        mine = [line for line in record.lines if begin < line.at <= end]
        found.append(
            (
                " ".join(line.text for line in mine if line.role == "user"),
                " ".join(line.text for line in mine if line.role == "assistant"),
            )
        )
    return found


def figures(options: argparse.Namespace, judged: Sequence[Judged]) -> Figures:
    """The table's numbers, the targets, and every question with its reply."""
    counts = scoring.table(judged)
    made = Figures("questions", {"file": options.file.name, "by": "phone" if options.calls else "text"})
    if options.calls:
        made.setup = {**made.setup, "models": options.models}
    wrong = sum(one.verdict is Verdict.WRONG for one in judged)
    made.counts = {kind: {str(verdict): n for verdict, n in found.items()} for kind, found in counts.items()}
    asked = sum(counts["answerable"].values())
    made.targets = [
        Target("answerable right, of 40", _of_40(counts["answerable"][Verdict.RIGHT], asked), 30, at_least=True),
        Target(f"wrong facts in {len(judged)}", wrong, 1),
    ]
    made.cases = [
        {
            "id": one.question.id,
            "number": one.question.number,
            "kind": one.question.kind,
            "ask": one.question.ask,
            "heard": one.heard or None,
            "reply": one.reply,
            "verdict": str(one.verdict),
            "must": list(one.question.must),
        }
        for one in judged
    ]
    return made


def _of_40(right: int, asked: int) -> float | None:
    return round(right * 40 / asked, 1) if asked else None


def _misses(judged: Sequence[Judged]) -> Table:
    table = Table(title="misses", box=None, pad_edge=False, show_lines=False)
    for column in ("id", "kind", "verdict", "asked (and heard)", "reply"):
        table.add_column(column, overflow="fold")
    for one in judged:
        if one.verdict is not Verdict.RIGHT:
            asked = f"{one.question.ask}\n  {one.heard}" if one.heard else one.question.ask
            table.add_row(one.question.id, one.question.kind, one.verdict, asked, one.reply)
    return table


def _parser() -> argparse.ArgumentParser:
    made = parser("bench.questions", "Asks the demo personas questions and judges the replies.")
    made.set_defaults(models="local")
    made.add_argument("--file", type=Path, required=True, help="questions as YAML: kind, ask, number, fact, must")
    made.add_argument("--calls", action="store_true", help="ask by phone")
    made.add_argument("--text", dest="calls", action="store_false", help="ask in this process (this)")
    made.add_argument("--per-call", type=int, default=5, help="with --calls: questions in each call (5)")
    made.add_argument("--at-once", type=int, default=1, help="with --calls: calls at any time (1)")
    return made


def main() -> None:
    """Asks, prints table and misses. Status 0 even when a target is missed; 1 when the run itself failed."""
    options = _parser().parse_args()
    found = demo()
    try:
        questions = scoring.read(options.file, found.numbers)
        judged = asyncio.run(by_phone(options, questions, found)) if options.calls else by_text(questions, found)
    except BenchFailed as failed:
        sys.stderr.write(f"bench: {failed}\n")
        sys.exit(1)
    Console(highlight=False).print(_misses(judged))
    show(figures(options, judged), options.json)


if __name__ == "__main__":
    main()
