"""`python -m agent`: the worker, until SIGTERM drains it."""

import asyncio
import contextlib
import signal
import sys

from aiohttp import web

from agent.worker import health_app, make_server
from switchboard import logs
from switchboard.settings import Settings, SettingsError

# Running calls may finish; a supervisor that is in a hurry kills.
DRAIN_S = 3600


async def run(settings: Settings) -> None:
    """Serves until told to stop. Raises `SettingsError` for a busy port."""
    server, admission = make_server(settings)
    runner = web.AppRunner(health_app(server, admission), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.agent_port).start()
    except OSError:
        raise SettingsError(
            f"AGENT_PORT {settings.agent_port} is in use: stop what uses it, or set another."
        ) from None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.run(), name="agent.server")
    stopping = asyncio.create_task(stop.wait(), name="agent.stop")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await server.drain(timeout=DRAIN_S)
    finally:
        stopping.cancel()
        await server.aclose()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        await runner.cleanup()


def main() -> int:
    try:
        settings = Settings.read()
        settings.need("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
        logs.configure("agent", level=settings.log_level, json=settings.log_json)
        asyncio.run(run(settings))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
