"""Agents whose host is gone: they beat before and beat no more, and neither does their worker.

A Redis that was away or lost what it held, and a process of ours that was too busy to look, say nothing about
agents: then the counting starts again. Times are monotonic seconds.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from switchboard import stream

PERIOD_S = 0.5
LATE_S = 1.0
# Redis has answered, and the agent has been there, for longer than a beat lives.
COUNTS_AFTER_S = 4.0
# Agents beat every second: a Redis that was emptied has all beats again within this time.
MISSING_S = 2.0


@dataclass(frozen=True, slots=True)
class Beating:
    """An agent in a room, by its call, attempt and worker."""

    call_id: UUID
    attempt: int
    worker: str

    @property
    def keys(self) -> tuple[str, str]:
        return stream.beat_key(self.call_id), stream.worker_key(self.worker)


class Beats:
    """To be told every `PERIOD_S` which keys are there."""

    def __init__(self) -> None:
        self._looked: float | None = None
        self._answers_since: float | None = None
        self._heard: set[Beating] = set()
        self._there: dict[Beating, float] = {}
        self._missing: dict[Beating, float] = {}

    def silent(self, now: float, agents: Collection[Beating], beating: Collection[str] | None) -> list[Beating]:
        """The agents that are silent for certain. `beating`: the keys that are there; None without Redis."""
        late = self._looked is not None and now - self._looked > PERIOD_S + LATE_S
        self._looked = now
        if late or beating is None:
            self._answers_since = None
            self._there.clear()
            self._missing.clear()
        if beating is None:
            return []
        if self._answers_since is None:
            self._answers_since = now
        self._there = {one: self._there.get(one, now) for one in agents}
        # Agents that beat elsewhere, or not at all, are not silent.
        self._heard = {one for one in agents if one in self._heard or any(key in beating for key in one.keys)}
        quiet = [one for one in self._heard if one.worker and not any(key in beating for key in one.keys)]
        self._missing = {one: self._missing.get(one, now) for one in quiet}
        if now - self._answers_since < COUNTS_AFTER_S:
            return []
        return [one for one in quiet if self._counts(one, now)]

    def _counts(self, one: Beating, now: float) -> bool:
        return now - self._there[one] >= COUNTS_AFTER_S and now - self._missing[one] >= MISSING_S
