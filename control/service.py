"""Control as a process: its socket, its parts, and its end."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from control.app import create_app, open_parts
from switchboard.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

DRAIN_S = 5


class Server(uvicorn.Server):
    """Leaves signals to us: uvicorn raises them again once it has ended, before our parts are closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listener(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `SettingsError` when the port is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP by name, or asyncio leaves Nagle's algorithm on: the body of each answer then waits 40 ms behind its head.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(
            f"CONTROL_PORT {port} on {host} cannot be used ({reason}): choose another port."
        ) from None
    return bound


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what runs. Raises `SettingsError`."""
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, main.cancel)  # type: ignore[union-attr]
    bound = listener(settings.host, settings.control_port)
    with bound:
        async with open_parts(settings) as parts:
            config = uvicorn.Config(
                create_app(parts),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=DRAIN_S,
                lifespan="off",
                forwarded_allow_ips=list(settings.trusted_proxies),
            )
            server = Server(config)
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, server.handle_exit, number, None)
            host, port = bound.getsockname()[:2]
            log.info("control_listening", host=host, port=port)
            await server.serve(sockets=[bound])
