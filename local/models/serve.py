"""Serves an aiohttp application as a process: command line, threads, a busy port said in one sentence."""

import argparse
import errno
import os
import sys
from collections.abc import Callable

from aiohttp import web

from switchboard import logs

# Calls need the cores too.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def address(program: str, default_port: int) -> tuple[str, int]:
    """Host and port from the command line; sets the number of threads for libraries imported later."""
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=default_port, help=f"the port to listen on ({default_port})")
    options = parser.parse_args()
    if not 1 <= options.port <= 65_535:
        parser.error(f"--port {options.port} is no port: give a number from 1 to 65535")
    return options.host, options.port


def run(process: str, create: Callable[[], web.Application], host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT; status 2 when the port is taken."""
    logs.configure(process)
    try:
        web.run_app(
            create(), host=host, port=port, print=None, access_log=None, handler_cancellation=True, shutdown_timeout=2
        )
    except OSError as failed:
        if failed.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        sys.stderr.write(
            f"{host}:{port} cannot be listened on ({os.strerror(failed.errno)}): free it, or give another --port\n"
        )
        sys.exit(2)
