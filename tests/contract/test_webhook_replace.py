"""Lost agents are replaced: by notice, by what they left, by their absence; with a real LiveKit and a real Redis."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest_asyncio
from livekit import api, rtc

from local.ports import free_port
from switchboard.call import ATTEMPT, CALL_ID, JOB, WORKER
from switchboard.fact import AgentJoined, Fact, Source
from switchboard.notice import WORKER_READY, accepted_path, lost_path
from switchboard.outbox import folder
from switchboard.stream import beat_key
from tests.control_service import INTERNAL_TOKEN
from tests.livekit_server import LiveKitServer, livekit_server
from tests.persona_api import FakePersonaApi, persona_api
from tests.promises import promise
from tests.redis_server import RedisServer
from tests.webhook_calls import Line, cache, dispatched, facts, sent, settings, sip, until
from tests.webhook_service import WebhookService, webhook_service

HOTEL = {"persona_name": "Harbor", "welcome_message": "Welcome to the hotel."}


@pytest_asyncio.fixture
async def personas() -> AsyncIterator[FakePersonaApi]:
    async with persona_api() as server:
        server.personas = {"+15550100001": HOTEL}
        yield server


def own(livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi, **more: str) -> dict[str, str]:
    return settings(livekit, redis, personas, INTERNAL_TOKEN=INTERNAL_TOKEN, **more)


async def tell(service: WebhookService, path: str, body: Any, *, token: str = INTERNAL_TOKEN) -> int:
    authorization = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{service.url}{path}", json=body, headers=authorization) as answer,
    ):
        return answer.status


@contextlib.asynccontextmanager
async def agent(
    livekit: LiveKitServer, line: Line, attempt: int = 1, *, worker: str = "", twin: str = ""
) -> AsyncIterator[rtc.Room]:
    """An agent of the call, in its room while the body runs; `twin` tells one from another of the same attempt."""
    named = {CALL_ID: str(line.call_id), ATTEMPT: str(attempt), JOB: f"AJ_{attempt}{twin}", WORKER: worker}
    connection = rtc.Room()
    await connection.connect(livekit.url, livekit.token(line.room, f"agent-{attempt}{twin}", kind="agent", **named))
    try:
        yield connection
    finally:
        await connection.disconnect()


async def attempts(livekit: LiveKitServer, room: str) -> list[int]:
    return sorted(one["attempt"] for one in await sent(livekit, room))


def has(livekit: LiveKitServer, room: str, attempt: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return attempt in await attempts(livekit, room)

    return look


async def agents_there(livekit: LiveKitServer, room: str) -> list[str]:
    async with livekit.client() as client:
        found = await client.room.list_participants(api.ListParticipantsRequest(room=room))
    return [one.identity for one in found.participants if one.identity.startswith("agent-")]


async def nobody_there(livekit: LiveKitServer, room: str) -> bool:
    return not await agents_there(livekit, room)


@promise("webhook.lost")
async def test_a_lost_agent_is_removed_and_replaced_once_whoever_is_told_and_however_often(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    given = own(livekit, redis, personas)
    async with webhook_service(given) as first, webhook_service(given) as second, Line(livekit, sip()) as line:
        before = await dispatched(livekit, first, line)
        async with agent(livekit, line):
            began = time.monotonic()
            for service in (first, second, first, second):
                assert await tell(service, lost_path(line.call_id), {"attempt": 1, "reason": "died"}) == 202
            await until(has(livekit, line.room, 2))
            print(f"replaced within {time.monotonic() - began:.3f} s")
            assert await until(partial(nobody_there, livekit, line.room))
            (again,) = [one for one in await sent(livekit, line.room) if one["attempt"] == 2]
            assert again == {**before, "attempt": 2, "room_sid": again["room_sid"]}
            assert len(personas.asked) == 1, "a replacement needs no look-up"
            (lost, *_same) = await until(partial(facts, redis, line.call_id, "agent_lost"))
            assert (lost.body.attempt, lost.body.reason, {one.id for one in _same} - {lost.id}) == (1, "died", set())
        async with agent(livekit, line, 2):
            for service in (first, second):
                assert await tell(service, lost_path(line.call_id), {"attempt": 1, "reason": "hung"}) == 202
            async with Line(livekit, sip()) as other:
                # Its agent shows that time has passed.
                await until(has(livekit, other.room, 1))
            assert await attempts(livekit, line.room) == [1, 2]
            assert await agents_there(livekit, line.room) == ["agent-2"]


@promise("webhook.lost_without_redis")
async def test_a_lost_agent_is_replaced_with_redis_stopped_and_a_gone_caller_gets_none(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    async with webhook_service(own(livekit, redis, personas)) as service, Line(livekit, sip()) as gone:
        await dispatched(livekit, service, gone)
        await redis.stop()
        async with Line(livekit, sip()) as line:
            await dispatched(livekit, service, line)
            await gone.__aexit__()
            for one in (gone, line):
                assert await tell(service, lost_path(one.call_id), {"attempt": 1, "reason": "hung"}) == 202
            await until(has(livekit, line.room, 2))
            assert await attempts(livekit, line.room) == [1, 2]
            with contextlib.suppress(api.ServerError):
                assert 2 not in await attempts(livekit, gone.room)


@promise("webhook.lost_twin")
async def test_of_two_agents_sent_as_one_attempt_the_dead_one_is_removed_and_the_other_serves_until_it_dies_too(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    async with webhook_service(own(livekit, redis, personas)) as service, Line(livekit, sip()) as line:
        await dispatched(livekit, service, line)
        async with agent(livekit, line, twin="a"), agent(livekit, line, twin="b"):
            for twin, left, newest in (("a", ["agent-1b"], 1), ("b", [], 2)):
                told = {"attempt": 1, "reason": "died", "job": f"AJ_1{twin}"}
                assert await tell(service, lost_path(line.call_id), told) == 202
                await until(partial(_are, livekit, line.room, left))
                await until(has(livekit, line.room, newest))
                assert await attempts(livekit, line.room) == list(range(1, newest + 1))


async def _are(livekit: LiveKitServer, room: str, identities: list[str]) -> bool:
    return await agents_there(livekit, room) == identities


@promise("webhook.internal")
async def test_only_who_knows_the_token_may_tell_and_nonsense_has_no_effect(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    good = {"attempt": 1, "reason": "died"}
    path = lost_path(uuid4())
    async with webhook_service(own(livekit, redis, personas)) as service:
        for token in ("", "wrong", INTERNAL_TOKEN + "x", INTERNAL_TOKEN[:-1]):
            assert await tell(service, path, good, token=token) == 401
        assert await tell(service, lost_path("no-call"), good) == 400
        wrong: list[tuple[str, Any]] = [
            (path, {"attempt": -1, "reason": "died"}),
            (path, {"attempt": 1, "reason": "bored"}),
            (path, [1]),
            (accepted_path(uuid4()), {"attempt": 1}),
            (WORKER_READY, {}),
        ]
        assert [await tell(service, where, body) for where, body in wrong] == [422] * len(wrong)
        assert await tell(service, path, {**good, "more": "x" * 5_000}) == 413
        assert await tell(service, path, good) == 202, "a call that nobody knows is no error"
    async with webhook_service(settings(livekit, redis, personas)) as service:
        assert [await tell(service, path, good, token=token) for token in ("", INTERNAL_TOKEN)] == [401, 401]


@promise("webhook.lost_untold")
async def test_an_agent_that_leaves_or_whose_process_left_its_file_is_replaced_though_nobody_tells(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi, tmp_path: Path
) -> None:
    given = own(livekit, redis, personas, SWITCHBOARD_HOME=str(tmp_path))
    async with webhook_service(given) as service, Line(livekit, sip()) as line:
        await dispatched(livekit, service, line)
        async with agent(livekit, line):
            await until(partial(_seen, service, 1))
        began = time.monotonic()
        await until(has(livekit, line.room, 2))
        print(f"left: replaced within {time.monotonic() - began:.3f} s")
        async with agent(livekit, line, 2):
            began = time.monotonic()
            joined = AgentJoined(attempt=2, job="AJ_2")
            fact = Fact(conversation_id="c", call_id=line.call_id, source=Source.AGENT, body=joined)
            (folder(tmp_path) / f"{line.call_id}-2-AJ_2.jsonl").write_text(fact.model_dump_json() + "\n")
            await until(has(livekit, line.room, 3))
            print(f"file: replaced within {time.monotonic() - began:.3f} s")
            assert await until(partial(nobody_there, livekit, line.room))
        told = await until(partial(_lost, redis, line.call_id, 2))
        assert sorted((one.body.attempt, one.body.reason) for one in told) == [(1, "left"), (2, "died")]


async def _seen(service: WebhookService, calls: int) -> bool:
    """Whether the watcher has looked at the rooms with so many calls in them, and twice since."""
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/metrics") as answer:
        return f"switchboard_live_calls {calls}.0" in await answer.text()


async def _lost(redis: RedisServer, call_id: UUID, count: int) -> list[Fact]:
    found = await facts(redis, call_id, "agent_lost")
    return found if len(found) >= count else []


@promise("webhook.silent")
async def test_an_agent_on_a_host_that_is_gone_is_replaced_and_one_that_beats_is_not(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    async with (
        webhook_service(own(livekit, redis, personas)) as service,
        Line(livekit, sip()) as silent,
        Line(livekit, sip()) as nameless,
        agent(livekit, silent, worker="w1"),
        agent(livekit, nameless),
    ):
        await dispatched(livekit, service, silent)
        await dispatched(livekit, service, nameless)
        async with cache(redis) as client:
            await client.set(beat_key(silent.call_id), "1", ex=6)
        await until(has(livekit, silent.room, 2), timeout_s=20)
        assert await attempts(livekit, nameless.room) == [1]
        (lost,) = await until(partial(facts, redis, silent.call_id, "agent_lost"))
        assert lost.body.reason == "silent"


@promise("webhook.ready")
async def test_when_a_worker_is_ready_callers_get_an_agent_at_once(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    given = own(livekit, redis, personas)
    async with (
        webhook_service(given) as acting,
        webhook_service(given) as other,
        Line(livekit, sip()) as waiting,
        Line(livekit, sip()) as taken,
    ):
        for line in (waiting, taken):
            await dispatched(livekit, acting, line)
        for service in (acting, other):
            assert await tell(service, accepted_path(taken.call_id), {"attempt": 1, "worker": "w1"}) == 202
        began = time.monotonic()
        assert await tell(other, WORKER_READY, {"worker": "w2"}) == 202
        await until(has(livekit, waiting.room, 2))
        print(f"ready: sent within {time.monotonic() - began:.3f} s")
        assert time.monotonic() - began < 3
        assert await attempts(livekit, taken.room) == [1]


@promise("webhook.stale_agent")
async def test_an_agent_that_comes_back_after_it_was_replaced_is_removed_at_once(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    port = free_port()
    async with (
        livekit_server(webhooks=[f"http://127.0.0.1:{port}/livekit-webhook"]) as telling,
        webhook_service({**own(livekit, redis, personas), **telling.environment()}, port=port) as service,
        Line(telling, sip()) as line,
    ):
        await until(has(telling, line.room, 1))
        assert await tell(service, lost_path(line.call_id), {"attempt": 1, "reason": "hung"}) == 202
        await until(has(telling, line.room, 2))
        async with agent(telling, line, 2), agent(telling, line, 1):
            began = time.monotonic()
            await until(partial(_only, telling, line.room, "agent-2"))
            print(f"stale: removed within {time.monotonic() - began:.3f} s")


async def _only(livekit: LiveKitServer, room: str, identity: str) -> bool:
    return await agents_there(livekit, room) == [identity]


@promise("webhook.comes_back")
async def test_a_service_that_was_killed_serves_who_came_meanwhile_and_leaves_alone_who_is_served(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    given = own(livekit, redis, personas)
    async with Line(livekit, sip()) as served, agent(livekit, served):
        async with webhook_service(given) as service:
            await dispatched(livekit, service, served)
            await until(partial(_seen, service, 1))
            service.process.kill()
            await service.process.wait()
        async with Line(livekit, sip()) as waiting:
            began = time.monotonic()
            async with webhook_service(given):
                await until(has(livekit, waiting.room, 1))
                assert time.monotonic() - began < 10
                assert await attempts(livekit, served.room) == [1]
                assert await agents_there(livekit, served.room) == ["agent-1"]
