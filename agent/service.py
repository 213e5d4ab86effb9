"""The worker as a process: its port, its signals, and how it ends."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable

import structlog
from aiohttp import web

from agent.shipping import Shipping
from agent.worker import Worker, http_app
from switchboard.recording_store import RecordingStore
from switchboard.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

# Running calls may finish; a supervisor that is in a hurry signals again, or kills.
DRAIN_S = 3600
# For the processes of calls that are cut to die.
DEATHS_S = 2.0
CLOSE_S = 10.0


async def _run(settings: Settings) -> None:
    store = RecordingStore.of(settings)
    # Shipping ends last: calls that are cut as the worker ends leave sound as well.
    async with (
        Shipping.opened(settings, store) as shipping,
        Worker.opened(settings) as worker,
        _http(settings, worker, shipping),
    ):
        stop, hurry = _signals()
        serving = asyncio.create_task(worker.server.run(), name="agent.server")
        try:
            if await _first(stop.wait(), serving):
                await _drain(worker, hurry)
        finally:
            # A library that hangs must not keep the port from the worker that comes next.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await worker.server.aclose()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first SIGTERM or SIGINT, and by the second."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: (hurry if stop.is_set() else stop).set())
    return stop, hurry


async def _first(wanted: Awaitable[object], other: asyncio.Task[None]) -> bool:
    """Waits for one of the two; whether it was `wanted`, which is ended in any case."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait({waiting, other}, return_when=asyncio.FIRST_COMPLETED)
    first = waiting.done()
    waiting.cancel()
    return first


async def _drain(worker: Worker, hurry: asyncio.Event) -> None:
    """Takes no more calls and waits for those that run; in a hurry they are cut, and told as lost."""
    draining = asyncio.create_task(worker.server.drain(timeout=DRAIN_S), name="agent.drain")
    hurried = await _first(hurry.wait(), draining)
    draining.cancel()
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        await draining
    left = worker.lifelines.calls()
    if not left:
        return
    log.warning("calls_cut", count=len(left), hurried=hurried)
    worker.lifelines.end_all()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEATHS_S):
            await worker.lifelines.all_dead()


@contextlib.asynccontextmanager
async def _http(settings: Settings, worker: Worker, shipping: Shipping) -> AsyncIterator[None]:
    runner = web.AppRunner(http_app(worker, shipping.registry), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.agent_port).start()
    except OSError:
        await runner.cleanup()
        raise SettingsError(
            f"AGENT_PORT {settings.agent_port} is in use: stop what uses it, or set another."
        ) from None
    try:
        yield
    finally:
        await runner.cleanup()


def serve(settings: Settings) -> None:
    """Serves until told to stop. Raises `SettingsError` for a busy port."""
    asyncio.run(_run(settings))
