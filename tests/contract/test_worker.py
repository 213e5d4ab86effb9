"""The worker beside real calls: it knows which processes are dead or hung, makes sure, and tells."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio
from aiohttp import web

from local.ports import free_port
from switchboard import stream
from tests.agent_process import AgentProcess, Phone, agent_process, running_module, until_ok
from tests.livekit_server import livekit_server
from tests.promises import promise
from tests.room_guest import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "a-token-of-the-test-that-is-long-enough"


@dataclass(eq=False)
class Told:
    """What a worker has told the webhook service: path, body, and when by the loop's clock."""

    url: str = ""
    notices: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        self.notices.append((request.path, await request.json(), asyncio.get_running_loop().time()))
        return web.Response(status=202)

    def about(self, phone: Phone, what: str) -> list[tuple[dict[str, Any], float]]:
        path = f"/internal/calls/{phone.call_id}/{what}"
        return [(body, at) for found, body, at in self.notices if found == path]

    def ready(self) -> list[dict[str, Any]]:
        return [body for path, body, _at in self.notices if path == "/internal/workers/ready"]


@asynccontextmanager
async def listening() -> AsyncIterator[Told]:
    told = Told()
    app = web.Application()
    app.router.add_post("/{path:.*}", told.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield told
    finally:
        await runner.cleanup()


@dataclass(eq=False)
class Station:
    """A worker, and what it told."""

    agent: AgentProcess
    told: Told

    async def get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.agent.port}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return await answer.json()

    async def calls(self) -> list[dict[str, Any]]:
        found = await self.get("/calls")
        assert isinstance(found, list)
        return found

    async def call(self) -> tuple[Phone, int]:
        """A call with an agent in it, and the pid of the agent's process."""
        phone = await self.agent.ring()
        await self.agent.dispatch(phone.name, self.agent.metadata(phone))
        await eventually(lambda: bool(phone.agents()), 20)
        await phone.answer()
        await self.agent.until_fact(phone.call_id, "item")
        (found,) = [one for one in await self.calls() if one["call_id"] == phone.call_id]
        return phone, found["pid"]


@asynccontextmanager
async def station() -> AsyncIterator[Station]:
    async with listening() as told, agent_process(WEBHOOK_URL=told.url, INTERNAL_TOKEN=TOKEN) as agent:
        yield Station(agent, told)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Station]:
    async with station() as made:
        yield made


@promise("worker.lost")
async def test_a_process_that_dies_in_a_call_is_told_at_once(running: Station) -> None:
    phone, pid = await running.call()
    (held,) = await running.calls()
    assert {"attempt": 1, "pid": pid, "room": phone.name}.items() <= held.items()
    (agent,) = phone.room.remote_participants.values()
    worker = agent.attributes["worker_id"]
    assert running.told.ready() == [{"worker": worker}]
    await eventually(lambda: bool(running.told.about(phone, "accepted")))
    assert running.told.about(phone, "accepted")[0][0] == {"attempt": 1, "worker": worker}
    async with stream.connect(running.agent.redis_url, timeout_s=5) as redis:
        assert 0 < await redis.ttl(stream.worker_key(worker)) <= 3
    os.kill(pid, signal.SIGKILL)
    killed = asyncio.get_running_loop().time()
    await eventually(lambda: bool(running.told.about(phone, "lost")), 5)
    ((body, at),) = running.told.about(phone, "lost")
    assert (body["attempt"], body["reason"]) == (1, "died")
    assert at - killed < 0.5
    assert await running.calls() == []
    assert (await running.get("/health"))["calls"] == 0
    await phone.hang_up()


@promise("worker.hung")
async def test_a_process_that_stands_still_goes_on_after_a_second_and_is_killed_after_two(running: Station) -> None:
    phone, pid = await running.call()
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(1)
    os.kill(pid, signal.SIGCONT)
    frames = next(iter(phone.heard.values()))
    frames.clear()
    await eventually(lambda: len(frames) > 100)
    assert [one["pid"] for one in await running.calls()] == [pid]
    os.kill(pid, signal.SIGSTOP)
    stopped = asyncio.get_running_loop().time()
    await eventually(lambda: bool(running.told.about(phone, "lost")), 10)
    ((body, at),) = running.told.about(phone, "lost")
    assert (body["attempt"], body["reason"]) == (1, "hung")
    assert 1.4 < at - stopped < 3.5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await phone.hang_up()


@promise("worker.killed")
async def test_a_killed_worker_leaves_nothing_behind_and_the_call_to_others() -> None:
    async with station() as killed:
        phone, pid = await killed.call()
        processes = psutil.Process(killed.agent.process.pid).children(recursive=True)
        assert pid in [one.pid for one in processes]
        killed.agent.process.kill()
        await eventually(lambda: not any(_runs(one) for one in processes), 3)
        async with killed.agent.another() as next_one:
            await eventually(lambda: len(killed.told.ready()) == 2)
            assert phone.name in await killed.agent.rooms()
            assert "call_ended" not in [one.kind for one in await killed.agent.facts(phone.call_id)]
            await _hurried(killed, next_one)


async def _hurried(worker: Station, process: asyncio.subprocess.Process) -> None:
    """A worker that drains still tells who dies, and ends its calls at once when it is told to stop again."""
    (dying, pid), (other, _pid) = await worker.call(), await worker.call()
    process.terminate()
    await until_status(f"http://127.0.0.1:{worker.agent.port}/ready", 503)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: bool(worker.told.about(dying, "lost")), 5)
    assert [body["reason"] for body, _at in worker.told.about(dying, "lost")] == ["died"]
    assert process.returncode is None
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 5) == 0
    assert [body["reason"] for body, _at in worker.told.about(other, "lost")] == ["left"]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@promise("worker.registers_again")
async def test_a_worker_is_registered_again_as_soon_as_livekit_is_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        told = await stack.enter_async_context(listening())
        async with livekit_server() as server:
            env = {
                **os.environ,
                **server.environment(),
                "AGENT_PORT": str(free_port()),
                "SWITCHBOARD_HOME": str(tmp_path),
                "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
                "WEBHOOK_URL": told.url,
                "INTERNAL_TOKEN": TOKEN,
            }
            ready = f"http://127.0.0.1:{env['AGENT_PORT']}/ready"
            await stack.enter_async_context(running_module(tmp_path / "log", env, "agent"))
            await until_ok(ready)
        await until_status(ready, 503)
        async with livekit_server(like=server):
            back = asyncio.get_running_loop().time()
            await until_ok(ready)
            assert asyncio.get_running_loop().time() - back < 1.5
        await eventually(lambda: len(told.ready()) == 2)
        assert told.ready()[0] == told.ready()[1]
        assert (tmp_path / "log").read_text().count("no_beat") == 1


async def until_status(url: str, status: int) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(5):
        while True:
            async with http.get(url) as answer:
                if answer.status == status:
                    return
            await asyncio.sleep(0.02)
