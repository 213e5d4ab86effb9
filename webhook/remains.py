"""Agents of this host whose process is dead: it left a file of facts, held by nobody, without an end of the call."""

import asyncio
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

import structlog

from switchboard.fact import AgentLeft, CallEnded
from switchboard.outbox import facts_in, folder, is_free

log = structlog.get_logger(__name__)

NAME = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})-(\d{1,4})-(.+)\.jsonl")
# How an agent that gave way says so; whatever else it left for, it needs a successor.
GAVE_WAY = "replaced"


@dataclass(frozen=True, slots=True)
class Dead:
    call_id: UUID
    attempt: int
    reason: Literal["died", "left"]
    job: str


def call_in(path: Path) -> UUID | None:
    """The call whose agent writes, or wrote, this file; None for a file of another kind."""
    found = NAME.fullmatch(path.name)
    return UUID(found[1]) if found else None


class Remains:
    """Each file is read once, when its writer is dead."""

    def __init__(self, home: Path) -> None:
        self._folder = folder(home)
        self._settled: set[str] = set()

    async def look(self, calls: Collection[UUID]) -> list[Dead]:
        """The agents of these calls that are newly found dead."""
        return await asyncio.to_thread(self._look, {str(one) for one in calls})

    def _look(self, calls: Collection[str]) -> list[Dead]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - names alone, twice a second
        except OSError:
            return []
        self._settled.intersection_update(names)
        return list(self._dead(names, calls))

    def _dead(self, names: Collection[str], calls: Collection[str]) -> Iterator[Dead]:
        for name in names:
            found = None if name in self._settled else NAME.fullmatch(name)
            if found is None or found[1] not in calls:
                continue
            path = self._folder / name
            try:
                # An empty file was made this moment, and is about to be locked.
                if not path.stat().st_size or not is_free(path):
                    continue
                reason = _why(path)
            except OSError:
                continue
            self._settled.add(name)
            if reason is not None:
                yield Dead(UUID(found[1]), int(found[2]), reason, found[3])


def _why(path: Path) -> Literal["died", "left"] | None:
    """Why the call needs another agent, by what this one left; None when it needs none."""
    reason: Literal["died", "left"] = "died"
    for one in facts_in(path):
        if isinstance(one.body, CallEnded):
            return None
        if isinstance(one.body, AgentLeft):
            if one.body.reason == GAVE_WAY:
                return None
            reason = "left"
    return reason
