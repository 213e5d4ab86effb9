"""Callers that arrived: each is an owned task that tells of it and sends an agent."""

import asyncio
import time
from uuid import UUID

import structlog

from switchboard.fact import CallArrived
from webhook.blocklist import Blocklist
from webhook.call import Call
from webhook.dispatch import Dispatcher, Errand
from webhook.journal import Journal
from webhook.metrics import Metrics
from webhook.refusal import Refusals
from webhook.roster import Roster

log = structlog.get_logger(__name__)

MAX_TASKS = 256


class Arrivals:
    def __init__(
        self,
        dispatcher: Dispatcher,
        blocklist: Blocklist,
        refusals: Refusals,
        journal: Journal,
        roster: Roster,
        metrics: Metrics,
    ) -> None:
        self._dispatcher = dispatcher
        self._blocklist = blocklist
        self._refusals = refusals
        self._journal = journal
        self._roster = roster
        self._under_way = metrics.arrivals
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._promised = 0

    @property
    def full(self) -> bool:
        return len(self._tasks) + self._promised >= MAX_TASKS

    def promise(self) -> None:
        """Keeps a place, so that an event marked as seen is also served; `waive` gives it back."""
        self._promised += 1

    def waive(self) -> None:
        self._promised -= 1

    def start(self, call: Call, attempt: int = 1, *, why: str = "", since: float | None = None) -> None:
        """Looks after the call behind; nothing happens when that is already under way.

        `why`: what became of the agent before. `since`: when it was needed, in monotonic seconds; else now.
        """
        self.send(Errand(call, attempt, time.monotonic() if since is None else since, why))

    def send(self, errand: Errand) -> asyncio.Task[None]:
        """Starts what is to be done, or gives what is already under way for the call."""
        call = errand.call
        if call.call_id in self._tasks:
            return self._tasks[call.call_id]
        task = asyncio.create_task(self._serve(errand), name=f"call {call.call_id}")
        self._tasks[call.call_id] = task
        self._under_way.inc()
        task.add_done_callback(lambda done: self._settled(call.call_id, done))
        return task

    def _settled(self, call_id: UUID, done: asyncio.Task[None]) -> None:
        del self._tasks[call_id]
        self._under_way.dec()
        if not done.cancelled() and (error := done.exception()) is not None:
            # The watcher finds the call again.
            log.error("arrival_failed", call_id=str(call_id), exc_info=error)

    async def _serve(self, errand: Errand) -> None:
        call, attempt = errand.call, errand.attempt
        if attempt == 1:
            self._journal.put(call, told_arrival(call), shared=0)
        await self._roster.add(call)
        if self._blocklist.blocks(call) and await self._refusals.refuse(call, attempt, "blocked"):
            log.info("call_refused", call_id=str(call.call_id), reason="blocked")
            return
        outcome = await self._dispatcher.send(errand)
        log.info("call_served", call_id=str(call.call_id), attempt=attempt, outcome=outcome)

    async def drain(self, timeout_s: float) -> None:
        """Waits for the tasks that run, then cancels what is left."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=timeout_s)
        left = list(self._tasks.values())
        for task in left:
            task.cancel()
        if left:
            log.warning("arrivals_cut_short", count=len(left))
            await asyncio.wait(left, timeout=1)


def told_arrival(call: Call) -> CallArrived:
    """The fact that the caller came."""
    return CallArrived(
        room=call.room,
        room_sid=call.room_sid,
        channel=call.channel,
        dialed=call.dialed,
        caller=call.number,
        identity=call.identity,
        headers=call.headers,
    )
