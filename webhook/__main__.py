"""`python -m webhook`: the webhook service."""

import asyncio
import errno
import os
import signal
import sys

import structlog
from aiohttp import web

from switchboard import logs
from switchboard.settings import Settings, SettingsError
from webhook.app import SERVICE, make_app

log = structlog.get_logger(__name__)


def main() -> int:
    """Serves until SIGTERM or SIGINT. Exit status 2 for a setting that is missing or wrong, or a busy port."""
    try:
        settings = Settings.read()
        logs.configure("webhook", level=settings.log_level, json=settings.log_json)
        app = make_app(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return asyncio.run(_serve(app, settings))


async def _serve(app: web.Application, settings: Settings) -> int:
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.webhook_port)
        try:
            await site.start()
        except OSError as error:
            print(_cannot_listen(settings, error), file=sys.stderr)
            return 2
        log.info("listening", host=settings.host, port=runner.addresses[0][1])
        await ending.wait()
        log.info("draining")
        await app[SERVICE].drain()
    finally:
        await runner.cleanup()
    return 0


def _cannot_listen(settings: Settings, error: OSError) -> str:
    where = f"{settings.host}:{settings.webhook_port}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {where} is taken: set PORT to a free one, or end what listens there."
    return f"The webhook service cannot listen on {where} ({os.strerror(error.errno or 0)}): set SWITCHBOARD_HOST."


if __name__ == "__main__":
    sys.exit(main())
