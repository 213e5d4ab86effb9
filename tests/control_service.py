"""The control service as a process of its own, with a real Postgres and Redis, for tests over HTTP."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from local.ports import free_port
from switchboard import stream
from switchboard.fact import Fact
from tests.facts import until
from tests.postgres_server import fresh_database
from tests.redis_server import RedisServer, redis_server

INTERNAL_TOKEN = "internal-token-of-tests"
LIVEKIT_SECRET = "secret-of-tests-that-is-long-enough"
START_S = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class ControlService:
    """One process. `settings` is its whole configuration; `request` asks it with the admin's key."""

    home: Path
    settings: dict[str, str]
    redis: RedisServer
    database_url: str
    http: aiohttp.ClientSession
    process: asyncio.subprocess.Process | None = field(default=None)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.settings['CONTROL_PORT']}"

    @property
    def admin_key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    async def request(self, method: str, path: str, *, key: str | None = "", **more: Any) -> Answer:
        """`key`: empty for the admin's, None for none. The body of an answer is read as JSON where it is."""
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key or self.admin_key}"
        async with self.http.request(method, URL(self.base + path, encoded=True), headers=headers, **more) as answer:
            is_json = answer.content_type == "application/json"
            body = await answer.json() if is_json else await answer.text(errors="replace")
            return Answer(answer.status, body, answer.headers.copy())

    async def record(self, facts: list[Fact]) -> None:
        """Puts facts on the stream; returns when they are recorded."""
        redis = stream.connect(self.redis.url)
        await stream.add(redis, facts)
        await redis.aclose()
        ids = [str(one.id) for one in facts]

        async def recorded() -> bool:
            answer = await self.request("POST", "/internal/facts/unrecorded", key=INTERNAL_TOKEN, json={"ids": ids})
            return answer.status == 200 and not answer.body["unrecorded"]

        await until(recorded)

    async def start(self) -> None:
        """Returns when it answers."""
        with (self.home / "control.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "control"), env=os.environ | self.settings, stdout=log, stderr=log
            )
        async with asyncio.timeout(START_S):
            while not await self._answers():
                assert self.process.returncode is None, self.log()
                await asyncio.sleep(0.05)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), START_S)

    def log(self) -> str:
        return (self.home / "control.log").read_text()

    async def _answers(self) -> bool:
        try:
            return (await self.request("GET", "/health", key=None)).status in (200, 503)
        except aiohttp.ClientError:
            return False


def settings_for(home: Path, database: str, redis: str, port: int) -> dict[str, str]:
    return {
        "SWITCHBOARD_HOME": str(home),
        "DATABASE_URL": database.replace("postgresql://", "postgresql+asyncpg://"),
        "REDIS_URL": redis,
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
        "CONTROL_PORT": str(port),
        "LIVEKIT_URL": "ws://127.0.0.1:7880",
        "LIVEKIT_API_KEY": "devkey",
        "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
    }


@asynccontextmanager
async def control_service(**more: str) -> AsyncIterator[ControlService]:
    """A running service over an empty database, with `more` settings."""
    with tempfile.TemporaryDirectory(prefix="sb-control-") as folder:
        # Control closes what is idle for 5 s, and between tests nobody sees it.
        fresh = aiohttp.TCPConnector(keepalive_timeout=2)
        async with (
            fresh_database() as database,
            redis_server() as redis,
            aiohttp.ClientSession(connector=fresh) as http,
        ):
            home = Path(folder)
            settings = settings_for(home, database, redis.url, free_port()) | more
            service = ControlService(home, settings, redis, database, http)
            try:
                await service.start()
                yield service
            finally:
                await service.end(signal.SIGKILL)
