"""Which jobs a worker takes: as many calls as fit, counted at once, and no other."""

from collections.abc import Callable
from uuid import UUID

import structlog
from livekit.agents import AgentServer, JobRequest
from prometheus_client import CollectorRegistry, Counter, Gauge

from agent import election
from agent.lifeline import Reason
from agent.notices import Notices
from switchboard.dispatch import DispatchMetadata

log = structlog.get_logger(__name__)

# A server with its own defaults offers nothing to a worker from 0.7 on, and tells nobody: what decides is the count.
FULL_LOAD = 0.65
MOST_IDLE = 4


class Admission:
    """Counts calls at once: a job is either in a slot or refused, whatever arrives together.

    `worker` is the id that this worker's agents join with. `served` tells of a job whether its process serves no
    caller any more, though it may take a second yet to end.
    """

    def __init__(
        self, server: AgentServer, most: int, worker: str, notices: Notices, served: Callable[[str], bool]
    ) -> None:
        self.server = server
        self.most = most
        self.worker = worker
        self.notices = notices
        self._served = served
        self._accepting: set[str] = set()
        self.registry = CollectorRegistry()
        self.jobs = Counter(
            "switchboard_agent_jobs", "Jobs offered, by outcome.", ["outcome"], registry=self.registry
        )
        self._lost = Counter(
            "switchboard_agent_lost", "Processes lost in a call, by reason.", ["reason"], registry=self.registry
        )
        live = Gauge("switchboard_agent_calls", "Calls that run now.", registry=self.registry)
        live.set_function(self.taken)
        Gauge("switchboard_agent_calls_most", "Calls that fit.", registry=self.registry).set(most)

    def taken(self) -> int:
        # A job that was just launched is among both.
        jobs = {one.job.id for one in self.server.active_jobs} | self._accepting
        return sum(not self._served(job) for job in jobs)

    def load(self) -> float:
        """What the library tells the server; it asks twice a second."""
        self._spare()
        return min(self.taken() / self.most, 1.0) * FULL_LOAD

    def _spare(self) -> None:
        """No more processes wait for calls than calls can come: starting one takes time from those that run."""
        # The library's own reckoning ends at the load from which on it takes no jobs, and decides by that.
        self.server._proc_pool.set_target_idle_processes(min(MOST_IDLE, max(1, self.most - self.taken())))

    async def decide(self, request: JobRequest) -> None:
        """Accepts a job while there is room, and lets another worker have it otherwise."""
        told = DispatchMetadata.read(request.job.metadata)[0]
        if self.taken() >= self.most:
            self.jobs.labels("full").inc()
            log.warning("job_refused", job=request.id, taken=self.taken(), most=self.most)
            if told is not None:
                self.notices.refused(told.call_id, told.attempt)
            await request.reject(terminate=False)
            return
        self._accepting.add(request.id)
        self._spare()
        try:
            await self._accept(request, told)
        finally:
            self._accepting.discard(request.id)

    async def _accept(self, request: JobRequest, told: DispatchMetadata | None) -> None:
        attributes = {}
        if told is not None:
            self.notices.accepted(told.call_id, told.attempt)
            attributes = election.attributes(told.call_id, told.attempt, request.id, self.worker)
        try:
            await request.accept(attributes=attributes)
            self.jobs.labels("accepted").inc()
        except Exception as error:  # whatever the library met: the job was never begun, and never will be
            log.warning("job_not_begun", job=request.id, error=str(error)[:300] or type(error).__name__)
            self.jobs.labels("not_begun").inc()
            self.lost(told.call_id if told else None, told.attempt if told else 0, "died", request.id)

    def lost(self, call_id: UUID | None, attempt: int, reason: Reason, job: str) -> None:
        """The process of this attempt is dead for certain, or never was."""
        self._lost.labels(reason).inc()
        if call_id is not None:
            self.notices.lost(call_id, attempt, reason, job)
