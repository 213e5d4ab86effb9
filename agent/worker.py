"""The worker: registers with LiveKit, takes as many calls as fit, one process each, and tells which are lost."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from uuid import uuid4

import structlog
from aiohttp import web
from livekit.agents.ipc.job_executor import JobExecutor
from prometheus_client import CollectorRegistry, generate_latest
from redis.exceptions import RedisError

from agent import entry, nursery
from agent.admission import MOST_IDLE, Admission
from agent.lifeline import Hello, Lifelines, Reason
from agent.notices import Notices
from agent.registration import RegisteredServer
from switchboard import stream
from switchboard.dispatch import DispatchMetadata
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

CALLS_A_CORE = 4
BEAT_S = 1.0


class Worker:
    """One worker, between `opened` and its end. `id` is what its agents join with."""

    def __init__(self, settings: Settings, notices: Notices, worker: str) -> None:
        self.id = worker
        self.notices = notices
        self.server = _server(settings)
        self.lifelines = Lifelines(self._lost, mine=self._is_mine, address=os.environ.get(nursery.LIFELINE, ""))
        self.admission = Admission(self.server, most_calls(settings), worker, notices, self.lifelines.served)
        self.server.load_fnc = self.admission.load
        self.server.rtc_session(entry.answer, agent_name=settings.agent_to_dispatch, on_request=self.admission.decide)
        self.server.on("worker_started", self._watch_processes)
        self.server.on("worker_registered", self._registered)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator["Worker"]:
        worker = uuid4().hex
        async with contextlib.AsyncExitStack() as stack:
            notices = await stack.enter_async_context(Notices.opened(settings, worker))
            made = cls(settings, notices, worker)
            await stack.enter_async_context(made.lifelines.open())
            await stack.enter_async_context(_beating(settings.redis_url, worker))
            yield made

    def _is_mine(self, pid: int) -> bool:
        return any(pid == getattr(one, "pid", None) for one in self.server._proc_pool.processes)

    def _lost(self, who: Hello, reason: Reason) -> None:
        self.admission.lost(who.call_id, who.attempt, reason, who.job)

    def _watch_processes(self) -> None:
        # The library has no public word for it. A process whose lifeline was seen is told of there.
        self.server._proc_pool.on("process_closed", self._closed)

    def _closed(self, process: JobExecutor) -> None:
        job = process.running_job
        if job is None or self.lifelines.knew(job.job.id):
            return
        told = DispatchMetadata.read(job.job.metadata)[0]
        self.admission.lost(told.call_id if told else None, told.attempt if told else 0, "died", job.job.id)

    def _registered(self) -> None:
        if not self.server.draining:
            self.notices.ready()

    @property
    def ready(self) -> bool:
        """Registered with LiveKit, with a process for a call, and not draining.

        An import that fails in job processes alone leaves the worker registered all the same, and the library has no
        public word for a process that came up.
        """
        server = self.server
        if not server.registered or server.draining:
            return False
        return bool(server.active_jobs) or not server._proc_pool._warmed_proc_queue.empty()


def most_calls(settings: Settings) -> int:
    return settings.max_calls or CALLS_A_CORE * (os.cpu_count() or 1)


def _server(settings: Settings) -> RegisteredServer:
    return RegisteredServer(
        ws_url=settings.livekit_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        host=settings.host,
        port=0,
        num_idle_processes=min(MOST_IDLE, most_calls(settings)),
        load_threshold=float("inf"),
        setup_fnc=entry.prepare,
        preload_modules=list(nursery.LOADED[:1]),
        log_level=settings.log_level.upper(),
        session_end_timeout=10.0,
    )


@contextlib.asynccontextmanager
async def _beating(redis_url: str, worker: str) -> AsyncIterator[None]:
    """Shows that the worker lives: a key that expires 3 s after the last beat, and goes with the worker."""
    async with stream.connect(redis_url) as redis:
        key = stream.worker_key(worker)

        async def beat() -> None:
            trouble = ""
            while True:
                try:
                    async with redis.pipeline(transaction=False) as pipe:
                        pipe.set(key, "1", ex=stream.BEAT_TTL_S)
                        pipe.sadd(stream.WORKERS, worker)
                        await pipe.execute()
                    trouble = ""
                except (RedisError, OSError, TimeoutError) as error:
                    if not trouble:
                        log.warning("no_beat", error=str(error))
                    trouble = "told"
                await asyncio.sleep(BEAT_S)

        beating = asyncio.create_task(beat(), name="worker.beat")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await redis.delete(key)


def http_app(worker: Worker, more: CollectorRegistry) -> web.Application:
    """`/ready` is 200 when a call can be taken, else 503; `/health` is always 200; `/calls` says what runs where.

    `/metrics` are the worker's and `more`.
    """
    admission = worker.admission

    async def ready(_request: web.Request) -> web.Response:
        good = worker.ready
        body = {"ready": good, "calls": admission.taken(), "most": admission.most}
        return web.json_response(body, status=200 if good else 503)

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "calls": admission.taken(), "most": admission.most})

    async def calls(_request: web.Request) -> web.Response:
        return web.json_response([one.shown() for one in worker.lifelines.calls()])

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(admission.registry) + generate_latest(more), content_type="text/plain"
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/ready", ready),
            web.get("/health", health),
            web.get("/calls", calls),
            web.get("/metrics", metrics),
        ]
    )
    return app
