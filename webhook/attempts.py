"""What this process knows of the agents sent to each call, and when the next one is due.

A mark that an attempt is dead stays: it holds for that attempt and all before it, whoever still lists them.
Times are monotonic seconds.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from uuid import UUID

from webhook.survey import Agent

# The event of a caller who just came is on its way.
EVENT_WAITS_S = 1.5
# A dispatch finds a worker within 5 s or never; one that was taken by a worker may start slowly.
UNTAKEN_WAITS_S = 5.0
TAKEN_WAITS_S = 8.0
ACCEPTED_WAITS_S = 6.0
# An agent that left by mistake, or reconnects, may be there again; who knows that it is dead tells us.
GONE_WAITS_S = 1.5
# Workers are asked in turn: after one that is full, another may take the job.
REFUSED_WAITS_S = 0.7
# A worker has just registered: what was sent before found none, unless it was taken or is on its way.
READY_TAKEN_S = 5.0
READY_YOUNG_S = 0.5
# How far agents for one call are apart: longer each time one is lost soon after it was sent, or never came.
APART_S = 1.0
MOST_APART_S = 15.0
SOON_S = 10.0
MANY_TRIES = 5
LONGEST_WAIT_S = 15.0
MANY_REFUSED = 60
# A call that nobody has asked about for so long, and that is not on the roster, is forgotten.
KEPT_S = 60.0
NONE = -1
# Of one call, whose processes are remembered as dead.
MOST_JOBS = 32


class Progress:
    """The agents of one call. Attempts count from 1; 0 is an agent that was never told its call."""

    def __init__(self, now: float) -> None:
        self.touched = now
        # The newest that was sent, since when that is so as far as is known, and how many in a row never came.
        self.sent_to = 0
        self.since = now
        self.tries = 0
        self._soon_lost = 0
        self._began = now
        # The newest that is dead for certain, and the newest that was ever in the room.
        self.dead_to = NONE
        self._told_to = NONE
        self.seen_to = NONE
        self.dead_jobs: deque[str] = deque(maxlen=MOST_JOBS)
        self.gone_since: float | None = None
        self._accepted = (NONE, 0.0)
        self._refused = (NONE, 0.0)
        # The workers that refused that attempt; set when there is one more.
        self.refused_by: set[str] = set()
        self.refusal = asyncio.Event()
        self._hurried = False

    def sent(self, attempt: int, now: float, age_s: float = 0.0) -> None:
        """LiveKit lists this attempt, sent `age_s` ago as far as clocks agree."""
        if attempt <= self.sent_to:
            return
        self.sent_to, self.since, self._began = attempt, now, now - age_s
        self.tries += 1
        self._hurried = False

    def there(self, attempt: int) -> None:
        """An agent of this attempt is in the room."""
        self.seen_to = max(self.seen_to, attempt)
        self.gone_since = None
        self.tries = 0

    def absent(self, now: float) -> None:
        """No agent is in the room."""
        if self.gone_since is None:
            self.gone_since = now

    def lost(self, attempt: int, now: float) -> None:
        """Marks the attempt as dead."""
        if attempt <= self.dead_to:
            return
        self.dead_to = attempt
        self._soon_lost = self._soon_lost + 1 if now - self._began < SOON_S else 0

    def first_told(self, attempt: int) -> bool:
        """Whether it is now, and was not before, to be put on record that the attempt is lost."""
        first = attempt > self._told_to
        self._told_to = max(self._told_to, attempt)
        return first

    def accepted(self, attempt: int, now: float) -> None:
        if attempt >= self._accepted[0]:
            self._accepted = (attempt, now)

    def refused(self, attempt: int, now: float, worker: str = "") -> None:
        if attempt < self._refused[0]:
            return
        if attempt > self._refused[0]:
            self.refused_by = set()
        self._refused = (attempt, now)
        self.refused_by.add(worker)
        self.refusal.set()

    def hurry(self) -> None:
        """A worker is ready: what was sent before waits no longer."""
        self._hurried = True

    @property
    def refused_to(self) -> int:
        """The newest attempt that a worker refused and none took."""
        attempt, _at = self._refused
        return attempt if attempt != self._accepted[0] else NONE

    @property
    def had_agent(self) -> bool:
        return self.seen_to > NONE

    @property
    def is_taken_up(self) -> bool:
        """An agent has been in the room, or was about to: the call is not refused any more."""
        return self.had_agent or self._accepted[0] > NONE

    @property
    def refusal_settled_at(self) -> float:
        """When no other worker is about to take what one has refused."""
        return self._refused[1] + REFUSED_WAITS_S

    @property
    def is_gone(self) -> bool:
        """The newest agent was in the room, and is no more."""
        return self.seen_to >= self.sent_to and self.gone_since is not None

    def stale(self, attempt: int) -> bool:
        """Whether an agent of this attempt may not serve: it is dead, or another one was sent and may come."""
        return attempt <= self.dead_to or (attempt < self.sent_to and self.refused_to != self.sent_to)

    def next_after(self) -> float:
        """The earliest time for another agent, so that one that dies at once makes no storm of them."""
        if not self.sent_to:
            return 0.0
        apart: float = APART_S * 2 ** min(max(self._soon_lost - 1, 0), 10)
        return self._began + min(apart, MOST_APART_S)

    def due_at(self, *, taken: bool) -> float:
        """When the next agent is due for a call that has none. `taken`: LiveKit lists a job for the newest."""
        due = self._patient_until(taken=taken)
        if not self._hurried:
            return due
        attempt, at = self._accepted
        on_its_way = at + READY_TAKEN_S if attempt == self.sent_to else 0.0
        young = self.since + READY_YOUNG_S if self.sent_to else 0.0
        # A ready worker is no reason to end sooner what dies at once.
        apart = self.next_after() if self._soon_lost else 0.0
        return min(due, max(on_its_way, young, apart))

    def _patient_until(self, *, taken: bool) -> float:
        if self.dead_to >= self.sent_to:
            return self.next_after()
        if not self.sent_to:
            return self.since + EVENT_WAITS_S
        if self.is_gone:
            return max((self.gone_since or 0.0) + GONE_WAITS_S, self.next_after())
        if self.refused_to == self.sent_to and self.is_taken_up:
            return self.again_at()
        if self.tries >= MANY_TRIES:
            return self.since + LONGEST_WAIT_S
        if self._accepted[0] == self.sent_to:
            return self._accepted[1] + ACCEPTED_WAITS_S
        return self.since + (TAKEN_WAITS_S if taken else UNTAKEN_WAITS_S)

    def again_at(self) -> float:
        """When the agent that full workers refused is asked for again."""
        pause = APART_S if self.tries < MANY_REFUSED else LONGEST_WAIT_S
        return max(self.since + pause, self.refusal_settled_at)


class Attempts:
    """All calls that this process has heard of."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._calls: dict[UUID, Progress] = {}

    def of(self, call_id: UUID) -> Progress:
        now = self.clock()
        found = self._calls.setdefault(call_id, Progress(now))
        found.touched = now
        return found

    def known(self, call_id: UUID) -> bool:
        return call_id in self._calls

    def current(self, call_id: UUID, agent: Agent) -> bool:
        """Whether the agent may serve the call. One that names no call serves whom it finds."""
        return agent.call_id is None or not self.of(call_id).stale(agent.attempt)

    def forget(self, call_ids: Iterable[UUID]) -> None:
        """These calls are closed: a caller who comes back begins anew."""
        for call_id in call_ids:
            self._calls.pop(call_id, None)

    def prune(self, live: Collection[UUID]) -> None:
        """Forgets calls that are over."""
        old = self.clock() - KEPT_S
        self._calls = {call_id: one for call_id, one in self._calls.items() if call_id in live or one.touched >= old}
