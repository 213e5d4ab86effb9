"""What the agent itself says of a call: its items and their times, from control once the call is on record."""

import asyncio
import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from bench.sounds import plain
from bench.stack import BenchFailed
from tests.e2e.stack import LocalStack

RECORDED_LIMIT_S = 20.0
SAME = 0.6


@dataclass(frozen=True, slots=True)
class Line:
    """A message of the call; `at` is in seconds since the epoch, `stages` seconds by stage."""

    role: str
    text: str
    at: float
    interrupted: bool
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A call as it was recorded."""

    lines: Sequence[Line]
    events: Sequence[Mapping[str, Any]]

    def said_by(self, role: str) -> list[Line]:
        return [line for line in self.lines if line.role == role]

    def stages(self, texts: Sequence[str]) -> list[Mapping[str, float]]:
        """For each thing the caller said the stages of its turn, empty when no turn was made of it."""
        found: list[Mapping[str, float]] = []
        at = 0
        for text in texts:
            here = next((n for n in range(at, len(self.lines)) if self._is_turn(n, text)), None)
            found.append({} if here is None else self._stages_at(here))
            at = at if here is None else here + 1
        return found

    def _is_turn(self, at: int, text: str) -> bool:
        line = self.lines[at]
        alike = difflib.SequenceMatcher(None, plain(line.text), plain(text)).ratio()
        return line.role == "user" and alike >= SAME

    def _stages_at(self, at: int) -> Mapping[str, float]:
        after = self.lines[at + 1] if at + 1 < len(self.lines) else None
        return {**self.lines[at].stages, **(after.stages if after and after.role == "assistant" else {})}


async def record(stack: LocalStack, call_id: str | None) -> Record:
    """The record of a call that has ended. Raises BenchFailed when it does not come."""
    if not call_id:
        raise BenchFailed("the line did not say which call this was.")
    headers = {"Authorization": f"Bearer {stack.admin_key}"}
    end = time.monotonic() + RECORDED_LIMIT_S
    async with aiohttp.ClientSession(stack.urls["control"], headers=headers) as session:
        while time.monotonic() < end:
            async with session.get(f"/calls/{call_id}") as answer:
                found = await answer.json()
                if answer.status == 200 and found["status"] == "ended":
                    return _record(found)
                if answer.status not in (200, 404):
                    raise BenchFailed(f"control answered {answer.status} for the call {call_id}.")
            await asyncio.sleep(0.2)
    raise BenchFailed(f"the call {call_id} was not recorded as ended within {RECORDED_LIMIT_S:g} s.")


def _record(found: Mapping[str, Any]) -> Record:
    stages = {turn["seq"]: turn["stages"] for turn in found["latencies"]["by_turn"]}
    lines = [
        Line(
            line["role"],
            line["text"],
            datetime.fromisoformat(line["at"]).timestamp(),
            line["interrupted"],
            stages.get(line["seq"], {}),
        )
        for line in found["transcript"]
    ]
    return Record(lines, found["events"])
