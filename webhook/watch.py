"""The watcher: asks LiveKit who is in which room, and mends what events did not bring about.

A caller without an agent gets one; a call that ended, its caller and its agent both gone, is closed on
record. Of all webhook processes one acts while Redis answers; without Redis each does, which is safe, as
whatever the watcher does is done once however often it is asked for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from uuid import UUID

import structlog

from switchboard.call import REJOIN_S
from switchboard.fact import CallEnded, shared_id
from webhook.arrivals import Arrivals
from webhook.attempts import Attempts, Progress
from webhook.call import Call
from webhook.journal import Journal
from webhook.metrics import Metrics
from webhook.replace import Replacements
from webhook.rooms import LiveKitAway, Rooms, Sent
from webhook.roster import Roster
from webhook.store import WATCHER_TTL_MS, Store
from webhook.survey import NOTHING, Seen, few_at_once, survey

log = structlog.get_logger(__name__)

PAUSE_S = 2.0
SHORTEST_PAUSE_S = 0.2
# What was seen counts for so long.
FRESH_S = 2 * PAUSE_S
MAX_ATTEMPTS = 1_000
# A process that begins acts at once: the one before it may have died with the lock.
ACTS_FIRST_S = WATCHER_TTL_MS / 1000 + PAUSE_S
# One that is told of a ready worker sees to it, whoever acts.
ACTS_WHEN_TOLD_S = 2.0
# The agent of a phone call writes its end within this time; a browser may come back for 20 s.
SIP_GRACE_S = 10.0
# After LiveKit was away line and agent come back in their own time; a call closed before that would begin anew.
AFTER_OUTAGE_S = 20.0
BROWSER_GRACE_S = REJOIN_S + 5.0

Recorded = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]


class Watcher:
    """`recorded` says which of some facts are on record; it may raise nothing and know nothing."""

    def __init__(
        self,
        rooms: Rooms,
        store: Store,
        roster: Roster,
        arrivals: Arrivals,
        replacements: Replacements,
        attempts: Attempts,
        journal: Journal,
        metrics: Metrics,
        recorded: Recorded,
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._roster = roster
        self._arrivals = arrivals
        self._replacements = replacements
        self._attempts = attempts
        self._journal = journal
        self._metrics = metrics
        self._recorded = recorded
        self._news = asyncio.Event()
        self._acts_until = time.monotonic() + ACTS_FIRST_S
        self._hurried = False
        self._next_due = float("inf")
        self._gone_since: dict[UUID, float] = {}
        self._away_at = float("-inf")
        self.seen = NOTHING
        self._seen_at = float("-inf")

    @property
    def fresh(self) -> Seen:
        """What was seen a moment ago; nothing when that is long ago."""
        return self.seen if time.monotonic() - self._seen_at < FRESH_S else NOTHING

    def wake(self) -> None:
        """Looks soon instead of at the next round."""
        self._news.set()

    def hurry(self) -> None:
        """A worker is ready: callers without an agent are due at once."""
        self._hurried = True
        self._acts_until = max(self._acts_until, time.monotonic() + ACTS_WHEN_TOLD_S)
        self._news.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            began = time.monotonic()
            self._news.clear()
            try:
                await self.look()
            except LiveKitAway as error:
                self._away_at = time.monotonic()
                log.warning("watcher_sees_nothing", error=str(error))
            except Exception:
                # The process's border: a fault in one round must not end the watch over all calls.
                log.exception("watch_failed")
            await self._pause(time.monotonic() - began)

    async def _pause(self, took: float) -> None:
        if not self._hurried:
            await asyncio.sleep(max(SHORTEST_PAUSE_S, took))
        try:
            async with asyncio.timeout(min(PAUSE_S, max(0.0, self._next_due - time.monotonic()))):
                await self._news.wait()
        except TimeoutError:
            return

    async def look(self) -> None:
        """One round. Raises `LiveKitAway`."""
        self._next_due = float("inf")
        await self._roster.refresh()
        self._attempts.prune(self._roster.calls)
        if not await self._store.acts() and time.monotonic() >= self._acts_until:
            self._metrics.live_calls.set(0)
            self.seen, self._hurried = NOTHING, False
            # Who comes back while another process acts is not seen here.
            self._gone_since.clear()
            return
        self.seen = seen = await survey(self._rooms)
        hurried, self._hurried = self._hurried, False
        self._seen_at = time.monotonic()
        self._metrics.live_calls.set(len(seen.callers))
        unserved = await self._unserved(seen)
        for call in seen.callers.values():
            await self._roster.add(call)
        await few_at_once(self._send_when_due(call, hurried=hurried) for call in unserved)
        await self._close(seen)

    async def _unserved(self, seen: Seen) -> list[Call]:
        """The callers without an agent; agents that are out of date are removed."""
        new = [call for call_id, call in seen.callers.items() if not self._attempts.known(call_id)]
        await few_at_once(self._learn(call) for call in new if seen.agents_of(call))
        for one in seen.agents:
            if one.call_id is None:
                continue
            if self._attempts.current(one.call_id, one):
                self._attempts.of(one.call_id).there(one.attempt)
            else:
                self._replacements.remove(one)
        return [call for call in seen.callers.values() if not self._is_served(seen, call)]

    def _is_served(self, seen: Seen, call: Call) -> bool:
        return any(self._attempts.current(call.call_id, one) for one in seen.agents_of(call))

    async def _learn(self, call: Call) -> None:
        try:
            await self._sent(call)
        except LiveKitAway:
            # It tells the next time.
            return

    async def _sent(self, call: Call) -> Sent | None:
        """The newest dispatch of the call. Raises `LiveKitAway`, as it does for a room that is gone."""
        sent = [one for one in await self._rooms.dispatches(call.room) if one.call_id == str(call.call_id)]
        latest = max(sent, key=lambda one: one.attempt, default=None)
        if latest is not None:
            self._attempts.of(call.call_id).sent(latest.attempt, time.monotonic(), latest.age_s)
        return latest

    async def _send_when_due(self, call: Call, *, hurried: bool) -> None:
        now = time.monotonic()
        progress = self._attempts.of(call.call_id)
        progress.absent(now)
        try:
            latest = await self._sent(call)
        except LiveKitAway:
            # The room went meanwhile, or it tells the next time.
            return
        if hurried:
            progress.hurry()
        due = progress.due_at(taken=latest is not None and latest.taken)
        if now < due:
            self._next_due = min(self._next_due, due)
            return
        # A server that was restarted lists none of those before, of which we may know all the same.
        attempt = max(progress.sent_to, progress.seen_to, progress.dead_to, latest.attempt if latest else 0)
        if attempt >= MAX_ATTEMPTS or self._arrivals.full:
            return
        self._send(call, attempt, progress)

    def _send(self, call: Call, attempt: int, progress: Progress) -> None:
        if progress.is_gone or progress.dead_to >= attempt > 0:
            self._replacements.lost(call.call_id, max(attempt, progress.seen_to), "left")
        else:
            self._arrivals.start(call, attempt + 1)

    async def _close(self, seen: Seen) -> None:
        now = time.monotonic()
        served = {one.call_id for one in seen.agents if one.call_id and self._attempts.current(one.call_id, one)}
        gone = {
            call_id: call
            for call_id, call in self._roster.calls.items()
            if call_id not in seen.callers and call_id not in served and call.room not in seen.silent
        }
        self._gone_since = {call_id: self._gone_since.get(call_id, now) for call_id in gone}
        over = {
            call_id: call for call_id, call in gone.items() if now >= self._over_at(call, self._gone_since[call_id])
        }
        if not over:
            return
        ends = {call_id: shared_id(call_id, "call_ended", 0) for call_id in over}
        recorded = set(await self._recorded(list(ends.values())))
        for call_id, call in over.items():
            if ends[call_id] not in recorded:
                await self._tell_end(call, now - self._gone_since[call_id])
        self._attempts.forget(over)
        await self._roster.remove(over)

    def _over_at(self, call: Call, gone_since: float) -> float:
        """When a call is over whose caller and agent are gone."""
        grace = SIP_GRACE_S if call.channel == "sip" else BROWSER_GRACE_S
        return max(gone_since + grace, self._away_at + AFTER_OUTAGE_S)

    async def _tell_end(self, call: Call, gone_for: float) -> None:
        lasted = (datetime.now(UTC) - call.arrived_at).total_seconds() - gone_for
        had_agent = self._attempts.of(call.call_id).had_agent or await self._store.had_agent(call.call_id)
        reason = "agent_lost" if had_agent else "unanswered"
        self._journal.put(call, CallEnded(reason=reason, duration_s=round(max(0.0, lasted), 1)), shared=0)
        log.info("call_closed", call_id=str(call.call_id), reason=reason)
