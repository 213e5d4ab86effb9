"""Which process serves which call, as workers tell it; and a second worker beside the supervisor's."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.stack import BenchFailed
from local import probe
from local.ports import free_port
from tests.e2e.stack import LocalStack

READY_S = 120.0
ASK_S = 2.0
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One process that serves a call."""

    call_id: str
    attempt: int
    pid: int
    room: str


@dataclass(slots=True)
class Worker:
    """A running worker: where it tells of its calls, and its main process."""

    stack: LocalStack
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        found = self.process.pid if self.process else self.stack.pid("agent")
        if found is None:
            raise BenchFailed("the worker does not run.")
        return found

    async def jobs(self) -> list[Job]:
        """Its calls now; none while it is away."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as http,
                http.get(f"http://127.0.0.1:{self.port}/calls") as answer,
            ):
                if answer.status != 200:
                    raise BenchFailed(f"the worker answered {answer.status} when asked for its calls.")
                return [_job(one) for one in await answer.json() if one["pid"]]
        return []

    async def job(self, call_id: str | None, *, limit_s: float = 10.0) -> Job:
        """The process with the highest attempt of this call."""
        return await self.find(lambda one: one.call_id == call_id, limit_s=limit_s)

    async def find(self, fits: Callable[[Job], bool], *, limit_s: float = 10.0) -> Job:
        """The process with the highest attempt of those that fit, waiting for one. Raises BenchFailed."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = [one for one in await self.jobs() if fits(one)]
            if found:
                return max(found, key=lambda one: one.attempt)
            await asyncio.sleep(0.01)
        raise BenchFailed(f"no process of the worker served the call within {limit_s:g} s.")

    def signal(self, pid: int, number: int) -> float:
        """Sends the signal to a process of this stack and returns the time; raises BenchFailed for any other pid."""
        try:
            home = psutil.Process(pid).environ().get("SWITCHBOARD_HOME")
        except psutil.Error:
            raise BenchFailed(f"there is no process {pid} that serves a call.") from None
        if home != str(self.stack.home):
            raise BenchFailed(f"the process {pid} belongs to no worker of this stack.")
        at = time.monotonic()
        os.kill(pid, number)
        return at

    def tree(self) -> list[int]:
        """The main process and all that it started."""
        main = psutil.Process(self.pid)
        return [main.pid, *(one.pid for one in main.children(recursive=True))]


def _job(told: dict[str, Any]) -> Job:
    return Job(str(told["call_id"]), int(told["attempt"]), int(told["pid"]), str(told.get("room") or ""))


def first_worker(stack: LocalStack) -> Worker:
    """The supervisor's own."""
    return Worker(stack, int(stack.env["AGENT_PORT"]))


@contextlib.asynccontextmanager
async def second_worker(stack: LocalStack) -> AsyncIterator[Worker]:
    """Another worker with the stack's environment; whatever is left of it is ended afterwards."""
    port = free_port()
    worker = Worker(stack, port, _start(stack, port))
    try:
        await ready(worker)
        yield worker
    finally:
        await asyncio.to_thread(_end, worker)


def _start(stack: LocalStack, port: int) -> "subprocess.Popen[bytes]":
    # The first one's environment, its mark included: `switchboard down` ends what carries it.
    env = {**psutil.Process(stack.pid("agent")).environ(), "AGENT_PORT": str(port)}
    log = Path(stack.home) / "logs" / f"agent-{port}.log"
    with log.open("ab") as out:
        return subprocess.Popen(
            (sys.executable, "-P", "-m", "agent"),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


async def ready(worker: Worker, limit_s: float = READY_S) -> None:
    """Returns when it is registered with LiveKit. Raises BenchFailed."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if worker.process is not None and worker.process.poll() is not None:
            break
        if await probe.http_ok(worker.port, "/ready"):
            return
        await asyncio.sleep(0.05)
    raise BenchFailed(f"the worker was not ready within {limit_s:g} s.")


def _end(worker: Worker) -> None:
    process = worker.process
    if process is None:
        return
    # What it started is in its group, also when it is dead already itself.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(timeout=STOP_S)
