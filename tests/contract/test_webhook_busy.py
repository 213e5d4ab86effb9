"""What callers hear when every worker is full."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import pytest_asyncio
from livekit import api
from redis.asyncio import Redis

from switchboard import stream
from switchboard.notice import accepted_path, lost_path, refused_path
from tests.contract.test_webhook_replace import agent, attempts, has, own, tell
from tests.livekit_server import LiveKitServer
from tests.persona_api import persona_api
from tests.promises import promise
from tests.redis_server import RedisServer
from tests.webhook_calls import Line, dispatched, facts, sip, until
from tests.webhook_service import WebhookService, webhook_service
from webhook.attempts import Progress
from webhook.busy import settled
from webhook.store import Store


@pytest_asyncio.fixture
async def service(livekit: LiveKitServer, redis: RedisServer) -> AsyncIterator[WebhookService]:
    async with persona_api() as personas, webhook_service(own(livekit, redis, personas)) as running:
        yield running


async def _gone(livekit: LiveKitServer, room: str) -> bool:
    async with livekit.client() as client:
        return not (await client.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms


async def _metrics(service: WebhookService) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/metrics") as answer:
        return await answer.text()


async def _refuse(service: WebhookService, line: Line, attempt: int = 1, worker: str = "w1") -> None:
    assert await tell(service, refused_path(line.call_id), {"attempt": attempt, "worker": worker}) == 202


@promise("webhook.busy")
async def test_a_caller_whom_no_worker_takes_hears_busy_and_one_whom_another_takes_goes_on(
    livekit: LiveKitServer, service: WebhookService, redis: RedisServer
) -> None:
    browser = {"switchboard.dialed": "+15550100001"}
    async with (
        Line(livekit, sip()) as line,
        Line(livekit, browser, browser=True) as tab,
        Line(livekit, sip()) as lucky,
    ):
        for one in (line, lucky):
            await dispatched(livekit, service, one)
        await until(has(livekit, tab.room, 1))
        began = time.monotonic()
        for one in (line, tab, lucky):
            await _refuse(service, one)
        assert await tell(service, accepted_path(lucky.call_id), {"attempt": 1, "worker": "w2"}) == 202
        for one in (line, tab):
            assert await until(partial(_gone, livekit, one.room))
            print(f"busy within {time.monotonic() - began:.3f} s")
            (end,) = await until(partial(facts, redis, one.call_id, "call_ended"))
            assert end.body.reason == "busy"
        assert 'switchboard_calls_refused_total{reason="busy"} 2.0' in await _metrics(service)
        assert not await _gone(livekit, lucky.room)
        assert not await facts(redis, lucky.call_id, "call_ended")


@promise("webhook.busy_at_once")
async def test_when_every_worker_that_beats_has_refused_nothing_is_waited_for(redis: RedisServer) -> None:
    async with stream.connect(redis.url, timeout_s=5) as client:
        for worker in ("w1", "w2", "gone"):
            await client.execute_command("SADD", stream.WORKERS, worker)  # type: ignore[no-untyped-call]
        for worker in ("w1", "w2"):
            await client.set(stream.worker_key(worker), "1")
        progress, store = Progress(0.0), Store(client)
        progress.refused(1, 0.0, "w1")
        # A clock that stands still: time settles nothing here.
        waiting = asyncio.create_task(settled(progress, store, lambda: 0.0))
        await until(lambda: _without(client, "gone"))
        assert not waiting.done()
        progress.refused(1, 0.0, "w2")
        async with asyncio.timeout(5):
            await waiting


async def _without(client: Redis, worker: str) -> bool:
    return worker not in await client.execute_command("SMEMBERS", stream.WORKERS)  # type: ignore[no-untyped-call]


@promise("webhook.busy_replacement")
async def test_a_call_that_had_an_agent_is_never_refused_and_asks_again(
    livekit: LiveKitServer, service: WebhookService, redis: RedisServer
) -> None:
    async with Line(livekit, sip() | {"sip.callStatus": "active"}) as line:
        await dispatched(livekit, service, line)
        async with agent(livekit, line):
            assert await tell(service, lost_path(line.call_id), {"attempt": 1, "reason": "died"}) == 202
            await until(has(livekit, line.room, 2))
        for attempt in (2, 3):
            await _refuse(service, line, attempt)
            await until(has(livekit, line.room, attempt + 1))
        assert await attempts(livekit, line.room) == [1, 2, 3, 4]
        assert not await facts(redis, line.call_id, "call_ended")
