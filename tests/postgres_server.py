"""A real Postgres for tests: one cluster for all of them, a fresh database for each; it can be killed and started."""

import asyncio
import atexit
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import psutil

from local import postgres
from local.part import until_ready

T = TypeVar("T")

START_S = 30.0
# A killed server loses nothing by this, only a machine that loses power.
_QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off")


class PostgresServer:
    """A cluster in a temporary folder, reached by a Unix socket. Its methods block.

    `durable`: every commit is on disk before it is answered, as where it matters; slower than tests need.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._options = () if durable else _QUICK
        self._folder = Path(tempfile.mkdtemp(prefix="sb-pg-"))
        self._sockets = self._folder / "run"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql://{postgres.USER}@/{database}?host={self._sockets}"

    def start(self) -> None:
        """Returns when the server answers; does nothing when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        part = postgres.part(self._folder, self._sockets, os.environ)
        command = _run(part.prepare(lambda _text: None))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command.argv, *self._options], stdout=log, stderr=log, start_new_session=True
            )
        _run(asyncio.wait_for(until_ready(part), START_S))

    def kill(self) -> None:
        """Ends the server and its children with -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the server as an administrator does."""
        self._end(signal.SIGINT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        # Each child has a group of its own, and one that outlives the server for a moment answers a last statement.
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(how)
        if how is signal.SIGKILL:
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self._process.wait(START_S)
        psutil.wait_procs(children, timeout=START_S)


@cache
def server() -> PostgresServer:
    """The cluster of this test run, started at its first use and ended with the run."""
    made = PostgresServer()
    atexit.register(made.close)
    made.start()
    return made


@asynccontextmanager
async def fresh_database() -> AsyncIterator[str]:
    """The address of an empty database, dropped afterwards."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(lambda: server().start())
    await _execute(f"CREATE DATABASE {name}")
    try:
        yield server().url(name)
    finally:
        await asyncio.to_thread(lambda: server().start())
        await _execute(f"DROP DATABASE {name} WITH (FORCE)")


async def query(url: str, statement: str, *args: object) -> list[dict[str, Any]]:
    """The rows of a statement with these values for `$1`, `$2` …"""
    connect: Any = asyncpg.connect
    connection = await connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *args)]
    finally:
        await connection.close()


async def _execute(statement: str) -> None:
    await query(server().url("postgres"), statement)


def _run(work: Awaitable[T]) -> T:
    async def awaited() -> T:
        return await work

    # In a thread: a test's own event loop may be running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(awaited())).result()
