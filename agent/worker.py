"""The worker: registers with LiveKit, takes as many calls as fit, one process each."""

import asyncio
import os

import structlog
from aiohttp import web
from livekit.agents import AgentServer, JobProcess, JobRequest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from agent import election, join, ticket
from switchboard import logs
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

CALLS_A_CORE = 4
MOST_IDLE = 4
# The server gives a worker nothing at 1.0; the count below is what really decides.
FULL_LOAD = 0.9


class Admission:
    """Counts calls at once: a job is either in a slot or refused, whatever arrives together."""

    def __init__(self, server: AgentServer, most: int) -> None:
        self.server = server
        self.most = most
        self._accepting: set[str] = set()
        self.registry = CollectorRegistry()
        self.jobs = Counter(
            "switchboard_agent_jobs", "Jobs offered, by outcome.", ["outcome"], registry=self.registry
        )
        live = Gauge("switchboard_agent_calls", "Calls that run now.", registry=self.registry)
        live.set_function(self.taken)
        Gauge("switchboard_agent_calls_most", "Calls that fit.", registry=self.registry).set(most)

    def taken(self) -> int:
        return len(self.server.active_jobs) + len(self._accepting)

    def load(self) -> float:
        return min(self.taken() / self.most, 1.0) * FULL_LOAD

    async def decide(self, request: JobRequest) -> None:
        """Accepts a job while there is room, and lets another worker have it otherwise."""
        if self.taken() >= self.most:
            self.jobs.labels("full").inc()
            log.warning("job_refused", job=request.id, taken=self.taken(), most=self.most)
            await request.reject(terminate=False)
            return
        self._accepting.add(request.id)
        try:
            metadata = ticket.read(request.job.metadata).metadata
            attributes = (
                election.attributes(metadata.call_id, metadata.attempt, request.id) if metadata is not None else {}
            )
            await request.accept(attributes=attributes)
            self.jobs.labels("accepted").inc()
        finally:
            self._accepting.discard(request.id)


def _prepare(_process: JobProcess) -> None:
    """Runs in each job process before it has a call."""
    settings = Settings.read()
    logs.configure("agent", level=settings.log_level, json=settings.log_json)
    ticket.default_persona()


def make_server(settings: Settings) -> tuple[AgentServer, Admission]:
    # The end-of-turn weights of LiveKit are not used here, and would take 108 MB.
    os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "0")
    most = settings.max_calls or CALLS_A_CORE * (os.cpu_count() or 1)
    server = AgentServer(
        ws_url=settings.livekit_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        host=settings.host,
        port=0,
        num_idle_processes=min(MOST_IDLE, most),
        load_threshold=float("inf"),
        setup_fnc=_prepare,
        preload_modules=["agent.preload"],
        log_level=settings.log_level.upper(),
        session_end_timeout=10.0,
    )
    admission = Admission(server, most)
    server.load_fnc = admission.load
    server.rtc_session(join.answer, agent_name=settings.agent_to_dispatch, on_request=admission.decide)
    return server, admission


def _has_process(server: AgentServer) -> bool:
    """Whether a process waits for a call, or serves one.

    An import that fails in job processes alone leaves the worker registered all the same, and the library has no
    public word for a process that came up.
    """
    return bool(server.active_jobs) or not server._proc_pool._warmed_proc_queue.empty()


def health_app(server: AgentServer, admission: Admission) -> web.Application:
    """`/ready` is 200 once registered with LiveKit, with a process for a call, until draining; `/health` always."""
    registered = asyncio.Event()
    server.on("worker_registered", lambda *_: registered.set())

    async def ready(_request: web.Request) -> web.Response:
        good = registered.is_set() and _has_process(server) and not server.draining
        body = {"ready": good, "calls": admission.taken(), "most": admission.most}
        return web.json_response(body, status=200 if good else 503)

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "calls": admission.taken(), "most": admission.most})

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(admission.registry), content_type="text/plain")

    app = web.Application()
    app.add_routes([web.get("/ready", ready), web.get("/health", health), web.get("/metrics", metrics)])
    return app
