"""Words of a persona in writing: `python -m bench.stream` measures how far they come behind the model's own.

A model over HTTP, in this process, notes when its first words left; a client of `/agents/{slug}/stream`, on the same
clock, when it has them. Between both is control, a process of its own with Postgres and Redis.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figures, Spread, Target, show
from local.models.chat import Reply
from tests.control_service import ControlService, control_service
from tests.noting_model import NotingModel, noting_model

RUNS, AT_ONCE = 200, 4
WARM_UP = 8
FIRST_S, EACH_S = 0.2, 0.01
LATER_MS = 150.0
SLUG = "harbor-hotel"
WORDS = "Breakfast is served from half past six to ten in the morning, in the room behind the front desk."


@dataclass(frozen=True, slots=True)
class Streamed:
    """One run, in seconds: from the request to the first words, from the model's to ours, and to the end."""

    first: float
    later: float
    whole: float


async def run(runs: int, at_once: int) -> Figures:
    """Starts control over an empty database, and asks its persona."""
    figures = Figures("stream", {"runs": runs, "at once": at_once, "first token s": FIRST_S, "each token s": EACH_S})
    async with noting_model() as model, control_service(LLM_BASE_URL=f"{model.url}/first/v1") as control:
        model.replies, model.first_s, model.each_s = [Reply(WORDS)], FIRST_S, EACH_S
        await _ask(control, model, WARM_UP, at_once)
        found = await _ask(control, model, runs, at_once)
    later = figures.spreads["model's first words to the client's"] = Spread.of(one.later for one in found)
    figures.spreads["request to the client's first words"] = Spread.of(one.first for one in found)
    figures.spreads["request to the end"] = Spread.of(one.whole for one in found)
    figures.counts["runs that were whole"] = len(found)
    figures.targets = [
        Target("first words behind the model's, p95 in ms", None if later is None else later.p95 * 1000, LATER_MS),
        Target("runs that were whole", len(found), runs, at_least=True),
    ]
    figures.cases = [{"first_s": one.first, "later_s": one.later, "whole_s": one.whole} for one in found]
    return figures


async def _ask(control: ControlService, model: NotingModel, runs: int, at_once: int) -> list[Streamed]:
    """Runs one after another in so many places, each in a new conversation."""
    waiting = [f"When is breakfast, for table {at}?" for at in range(runs)]
    found: list[Streamed] = []

    async def one_after_another() -> None:
        while waiting:
            streamed = await _stream(control, model, waiting.pop())
            if streamed is not None:
                found.append(streamed)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(one_after_another())
    return found


async def _stream(control: ControlService, model: NotingModel, words: str) -> Streamed | None:
    """None for a run that brought anything but the whole of the model's words."""
    headers = {"Authorization": f"Bearer {control.admin_key}"}
    began, first, said = time.perf_counter(), 0.0, b""
    place = f"{control.base}/agents/{SLUG}/stream"
    async with control.http.post(place, json={"input": words}, headers=headers) as answer:
        async for line in answer.content:
            first = first or (time.perf_counter() if line.startswith(b"event: delta") else 0.0)
            said += line
    ended = time.perf_counter()
    if not first or f'"final_output": "{WORDS}"'.encode() not in said or b"event: done" not in said:
        return None
    return Streamed(first - began, first - model.sent[words], ended - began)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.stream", description="How far words in writing are behind."
    )
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how many ({RUNS})")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help=f"at any time ({AT_ONCE})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, and every run, as JSON")
    told = parser.parse_args()
    show(asyncio.run(run(told.runs, told.at_once)), told.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
