"""A real Redis for tests: Valkey on a free port of loopback, which can be stopped, frozen and started again."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from local import redis
from local.part import until_ready
from local.ports import free_port

START_S = 15.0
PASSWORD = "test-password"


class RedisServer:
    """One server; its data survives a stop."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = redis.url(port, PASSWORD)
        self.folder = folder
        self._part = redis.part(folder, port, PASSWORD, os.environ)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        command = await self._part.prepare(lambda _text: None)
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*command.argv, stdout=quiet, stderr=quiet)
        await asyncio.wait_for(until_ready(self._part), START_S)

    async def stop(self) -> None:
        """Ends it with -9."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP freezes it: connections stay, answers do not come; SIGCONT lets it go on."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """A server that runs while the body does."""
    folder = Path(tempfile.mkdtemp(prefix="sb-redis-"))
    (folder / "run").mkdir()
    made = RedisServer(folder, free_port())
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        shutil.rmtree(folder, ignore_errors=True)
