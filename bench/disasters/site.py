"""A stack whose servers can be taken away for a time: each is reached through a door."""

import asyncio
import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.door import Door, Doors, doors
from bench.stack import BenchFailed, Measured
from local import postgres
from tests.e2e.stack import LocalStack, scripted_models, started

Kind = Literal["gone", "hangs"]
PARTS = ("persona api", "redis", "control", "postgres")
LOOK_S = 0.02
BACK_S = 90.0


@dataclass(frozen=True, slots=True)
class Site:
    """The stack under test, and the doors to what it needs."""

    found: Measured
    doors: Mapping[str, Door]

    @property
    def stack(self) -> LocalStack:
        return self.found.stack

    @contextlib.asynccontextmanager
    async def without(self, parts: tuple[str, ...], kind: Kind) -> AsyncIterator[None]:
        """These parts are away while the body runs: cut off and refused, or taken and never answered."""
        async with contextlib.AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(self._without(part, kind))
            yield

    @contextlib.asynccontextmanager
    async def _without(self, part: str, kind: Kind) -> AsyncIterator[None]:
        if part == "control":
            async with self._control_hangs() if kind == "hangs" else self._control_gone():
                yield
            return
        await asyncio.to_thread(self.doors[part].set, kind)
        try:
            yield
        finally:
            await asyncio.to_thread(self.doors[part].set, "open")

    @contextlib.asynccontextmanager
    async def _control_hangs(self) -> AsyncIterator[None]:
        pid = self._pid("control")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _control_gone(self) -> AsyncIterator[None]:
        """Killed, and killed again as often as the supervisor starts it."""
        os.kill(self._pid("control"), signal.SIGKILL)
        killing = asyncio.create_task(self._kill_control(), name="no control")
        try:
            yield
        finally:
            killing.cancel()
            await asyncio.wait([killing])

    async def _kill_control(self) -> None:
        while True:
            pid = await asyncio.to_thread(self.stack.pid, "control")
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_S)

    def _pid(self, part: str) -> int:
        pid = self.stack.pid(part)
        if pid is None:
            raise BenchFailed(f"{part} does not run.")
        return pid

    def log_lines(self) -> dict[str, int]:
        """How many lines each of our own programs has logged so far."""
        logs = {part: self.stack.home / "logs" / f"{part}.log" for part in ("webhook", "control", "agent", "phone")}
        return {part: log.read_bytes().count(b"\n") for part, log in logs.items() if log.exists()}


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Servers in a home of their own, doors before them, and a stack that knows only the doors."""
    with contextlib.ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-outages-")))
        made = owned.enter_context(doors())
        servers = _servers(owned, folder / "servers")
        told = owned.enter_context(scripted_models(folder / "models.log"))
        home = folder / "home"
        before = _doors(made, servers, home)
        try:
            stack = owned.enter_context(started(home, **told, **_settings(servers, before)))
        except AssertionError as failed:
            raise BenchFailed(f"the stack did not come up: {failed}") from None
        yield Site(Measured(stack, told["LLM_BASE_URL"].removesuffix("/v1")), before)


def _servers(owned: contextlib.ExitStack, home: Path) -> LocalStack:
    servers = LocalStack(home)
    owned.callback(servers.down)
    servers.up("--only", "redis", "--only", "postgres")
    return servers


def _doors(made: Doors, servers: LocalStack, home: Path) -> dict[str, Door]:
    redis = int(servers.env["REDIS_URL"].rsplit(":", 1)[1].split("/")[0])
    socket = postgres.socket_folder(servers.home) / ".s.PGSQL.5432"
    stack = LocalStack(home)
    return {
        "redis": made.before(lambda: redis),
        "postgres": made.before(lambda: socket),
        # Control itself, by way of a door: so it can be away while control is there.
        "persona api": made.before(lambda: int(stack.env["CONTROL_PORT"])),
    }


def _settings(servers: LocalStack, before: Mapping[str, Door]) -> dict[str, str]:
    token = secrets.token_hex(16)
    password = servers.env["REDIS_URL"].split("@")[0]
    return {
        "REDIS_URL": f"{password}@127.0.0.1:{before['redis'].port}/0",
        "DATABASE_URL": f"postgresql://{postgres.USER}@127.0.0.1:{before['postgres'].port}/{postgres.DATABASE}",
        "PERSONA_API_BASE": f"http://127.0.0.1:{before['persona api'].port}/personas/by-number",
        "PERSONA_API_TOKEN": token,
        "INTERNAL_TOKEN": token,
    }


async def back(site: Site, limit_s: float = BACK_S) -> None:
    """Returns when every part of the stack is ready again. Raises BenchFailed."""
    async with asyncio.timeout(limit_s):
        while not await asyncio.to_thread(lambda: site.stack.status["ready"]):  # noqa: ASYNC110 (other processes)
            await asyncio.sleep(0.5)
