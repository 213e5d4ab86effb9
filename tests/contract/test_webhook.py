"""The webhook service as a process: over real HTTP, with a real LiveKit server and a real Redis."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import aiohttp
import pytest_asyncio
from livekit import api, rtc

from local.ports import free_port
from switchboard import stream
from switchboard.call import call_id_of_sip
from switchboard.fact import Fact
from switchboard.logs import secrets_in
from tests.forgeries import KINDS, forged
from tests.livekit_server import LiveKitServer, livekit_server
from tests.persona_api import FakePersonaApi, persona_api
from tests.promises import promise
from tests.redis_server import RedisServer
from tests.webhook_calls import Line, cache, dispatched, facts, flood, post, sent, settings, sip, until
from tests.webhook_service import ROOT, WebhookService, joined, recorded, webhook_service

HOTEL = {"persona_name": "Harbor", "welcome_message": "Welcome to the hotel.", "version": 3}


@pytest_asyncio.fixture
async def personas() -> AsyncIterator[FakePersonaApi]:
    async with persona_api() as server:
        server.personas = {"+15550100001": HOTEL}
        yield server


@pytest_asyncio.fixture
async def service(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> AsyncIterator[WebhookService]:
    async with webhook_service(settings(livekit, redis, personas)) as running:
        yield running


@promise("webhook.forged")
async def test_forged_webhooks_of_all_classes_are_refused_and_a_signed_one_is_taken(
    livekit: LiveKitServer, service: WebhookService
) -> None:
    async with Line(livekit, sip()) as line, aiohttp.ClientSession() as session:
        body = line.event()
        for one in forged(10 * len(KINDS), body, livekit.api_key, livekit.api_secret):
            async with session.post(service.events_url, data=one.body, headers=one.headers) as answer:
                assert answer.status == 401, one.kind
        assert await sent(livekit, line.room) == []
        assert await post(livekit, service, body) == 200
        assert await until(lambda: sent(livekit, line.room))


@promise("webhook.malformed")
async def test_a_signed_body_that_is_no_event_is_400_and_a_huge_one_413(
    livekit: LiveKitServer, service: WebhookService
) -> None:
    bodies = (b"{}", b"[]", b"null", b"\xff\xfe", b"{", b'{"event": 7}', b'{"a":' * 5_000, b'{"event":"\\ud800"}')
    assert [await post(livekit, service, body) for body in bodies] == [400] * len(bodies)
    assert await post(livekit, service, b" " * (1024 * 1024 + 1)) == 413
    assert await post(livekit, service, b'{"event": "of_the_future", "new": 1}') == 200


@promise("webhook.recorded")
async def test_every_event_of_recorded_calls_is_answered_with_200(
    livekit: LiveKitServer, service: WebhookService, redis: RedisServer
) -> None:
    events = [*recorded("answered-call"), *recorded("agent-killed-mid-call")]
    for event in events:
        event["room"]["turnPassword"] = "turn-is-secret"
        assert await post(livekit, service, json.dumps(event).encode()) == 200
    call_id = call_id_of_sip(events[1]["participant"]["attributes"]["sip.callID"])
    arrived = await until(lambda: facts(redis, call_id, "call_arrived"))
    assert arrived[0].body.dialed == "+15550199000"
    async with livekit.client() as client:
        rooms = await client.room.list_rooms(api.ListRoomsRequest())
    assert not rooms.rooms, "an event of a call that is over must not make its room again"
    text = service.log_text()
    assert not any(secret in text for secret in ("turn-is-secret", "crm-token", livekit.api_secret))
    assert list(secrets_in(text)) == []


@promise("webhook.dispatch")
async def test_a_caller_gets_one_agent_with_the_persona_of_the_dialed_number(
    livekit: LiveKitServer, service: WebhookService, redis: RedisServer, personas: FakePersonaApi
) -> None:
    async with Line(livekit, sip(**{"sip.h.x-crm": "42"})) as line:
        told = await dispatched(livekit, service, line)
        assert personas.asked == ["/personas/%2B15550100001"]
        assert personas.authorizations == ["Bearer crm-token"]
        assert told["persona"] == HOTEL
        assert told["call_id"] == told["conversation_id"] == str(line.call_id)
        assert (told["attempt"], told["persona_source"]) == (1, "api")
        assert (told["dialed_number"], told["caller_number"]) == ("+15550100001", "+15550199000")
        kinds = ["call_arrived", "persona_resolved", "agent_dispatched"]
        found = await until(lambda: _all_facts(redis, line.call_id, 3))
        assert [one.kind for one in found] == kinds
        assert found[0].body.headers == {"x-crm": "42"}
        assert (found[1].body.source, found[1].body.persona, found[1].body.version) == ("api", "Harbor", "3")
    async with Line(livekit, sip("001 555 010-0001")) as line:
        assert (await dispatched(livekit, service, line))["persona_source"] == "cache"
        assert len(personas.asked) == 1


async def _all_facts(redis: RedisServer, call_id: UUID, count: int) -> Sequence[Fact]:
    found = await facts(redis, call_id)
    return found if len(found) >= count else ()


@promise("webhook.browser")
async def test_a_browser_is_believed_only_when_it_cannot_change_its_own_attributes(
    livekit: LiveKitServer, service: WebhookService
) -> None:
    attributes = {"switchboard.dialed": "+15550100001", "switchboard.conversation": "chat-7"}
    async with Line(livekit, attributes, browser=True) as line:
        permission = {"canSubscribe": True, "canPublish": True}
        liar = joined(line.room, line.identity, attributes, id_="EV_1", kind="STANDARD")
        assert await post(livekit, service, liar) == 200
        assert await sent(livekit, line.room) == []
        honest = joined(line.room, line.identity, attributes, id_="EV_2", kind="STANDARD", permission=permission)
        assert await post(livekit, service, honest) == 200
        (told,) = await until(lambda: sent(livekit, line.room))
        assert (told["conversation_id"], told["caller_number"]) == ("chat-7", None)


@promise("webhook.outbound_leg")
async def test_a_leg_that_we_dialed_gets_no_agent(livekit: LiveKitServer, service: WebhookService) -> None:
    dialed = sip()
    del dialed["sip.ruleID"]
    async with Line(livekit, dialed) as leg, Line(livekit, sip()) as line:
        assert await post(livekit, service, leg.event()) == 200
        await dispatched(livekit, service, line)
        assert await sent(livekit, leg.room) == []


@contextlib.asynccontextmanager
async def two_receivers(given: dict[str, str]) -> AsyncIterator[tuple[WebhookService, WebhookService]]:
    async with webhook_service(given) as first, webhook_service(given) as second:
        yield first, second


async def _one_agent_for_each(livekit: LiveKitServer, line: Line, services: Sequence[WebhookService]) -> None:
    same = line.event()
    # The same event again and again, and other events that tell the same (another id each).
    bodies = [same if at % 2 else line.event() for at in range(60)]
    assert set(await flood(livekit, services, bodies)) == {200}
    await until(lambda: sent(livekit, line.room))
    await until(lambda: _idle(services))
    assert len(await sent(livekit, line.room)) == 1


async def _idle(services: Sequence[WebhookService]) -> bool:
    """Whether nothing is under way at any."""
    texts = [await metrics(one) for one in services]
    return all("switchboard_arrivals_under_way 0.0" in text for text in texts)


async def metrics(service: WebhookService) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/metrics") as answer:
        return await answer.text()


@promise("webhook.once")
async def test_equal_webhooks_at_two_receivers_dispatch_one_agent(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    async with two_receivers(settings(livekit, redis, personas)) as services, Line(livekit, sip()) as line:
        await _one_agent_for_each(livekit, line, services)


@promise("webhook.once_without_redis")
async def test_equal_webhooks_dispatch_one_agent_with_redis_stopped(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi, tmp_path: Any
) -> None:
    shared = settings(livekit, redis, personas, SWITCHBOARD_HOME=str(tmp_path))
    async with two_receivers(shared) as services:
        await redis.stop()
        for _ in range(3):
            async with Line(livekit, sip()) as line:
                await _one_agent_for_each(livekit, line, services)


@promise("webhook.redis_hangs")
async def test_a_redis_that_hangs_delays_a_call_by_little(
    livekit: LiveKitServer, redis: RedisServer, service: WebhookService
) -> None:
    redis.signal(signal.SIGSTOP)
    try:
        async with Line(livekit, sip()) as line:
            began = time.monotonic()
            assert (await dispatched(livekit, service, line))["persona"] == HOTEL
            assert time.monotonic() - began < 2.5
    finally:
        redis.signal(signal.SIGCONT)


@promise("webhook.persona_fallback")
async def test_a_persona_api_that_misbehaves_gives_the_default_persona_in_time(
    livekit: LiveKitServer, service: WebhookService, personas: FakePersonaApi
) -> None:
    behaviours: list[dict[str, Any]] = [
        {"status": 500},
        {"status": 404},
        {"status": 302, "Location": f"http://127.0.0.1:{personas.port}/elsewhere"},
        {"body": b"<html>no</html>"},
        {"body": b"[1, 2]"},
        {"body": b'{"a": "' + b"x" * 300_000 + b'"}'},
        {"body": b'{"variants": [{"weight": -1, "persona": {}}, 7]}'},
        {"slow_s": 3.0},
    ]
    for at, behaviour in enumerate(behaviours):
        personas.behave(**behaviour)
        async with Line(livekit, sip(f"+1555020000{at}")) as line:
            began = time.monotonic()
            told = await dispatched(livekit, service, line)
            assert (told["persona_source"], told["persona"]["slug"]) == ("default", "default"), behaviour
            assert time.monotonic() - began < 1.5
    assert not any("elsewhere" in path for path in personas.asked)
    await personas.stop()
    async with Line(livekit, sip("+15550200099")) as line:
        assert (await dispatched(livekit, service, line))["persona_source"] == "default"


@promise("webhook.persona_stale")
async def test_an_older_persona_serves_while_the_api_is_slow_or_down(
    livekit: LiveKitServer, service: WebhookService, personas: FakePersonaApi, redis: RedisServer
) -> None:
    old = json.dumps({"at": time.time() - 3600, "answer": HOTEL})
    async with cache(redis) as client:
        await client.set(stream.persona_key("15550100001"), old)
        await client.set(stream.persona_key("15550100002"), old)
        await client.set(stream.persona_key("15550100003"), '{"at": "garbage"')
    personas.personas["+15550100001"] = {**HOTEL, "version": 4}
    personas.behave(slow_s=1.0)
    async with Line(livekit, sip()) as line:
        told = await dispatched(livekit, service, line)
        assert (told["persona_source"], told["persona"]["version"]) == ("stale", 3)

    async def refreshed() -> bool:
        async with cache(redis) as client:
            text = await client.get(stream.persona_key("15550100001"))
        return bool(json.loads(text)["answer"]["version"] == 4)

    assert await until(refreshed)
    personas.behave(status=503)
    async with Line(livekit, sip("+15550100002")) as line:
        assert (await dispatched(livekit, service, line))["persona_source"] == "stale"
    async with Line(livekit, sip("+15550100003")) as line:
        assert (await dispatched(livekit, service, line))["persona_source"] == "default"


@promise("webhook.single_flight")
async def test_calls_at_once_to_one_number_make_one_lookup(
    livekit: LiveKitServer, service: WebhookService, personas: FakePersonaApi
) -> None:
    personas.behave(slow_s=0.4)
    async with contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(Line(livekit, sip())) for _ in range(5)]
        assert set(await flood(livekit, [service], [line.event() for line in lines])) == {200}
        for line in lines:
            (told,) = await until(partial(sent, livekit, line.room))
            assert told["persona"] == HOTEL
    assert len(personas.asked) == 1


HOSTILE = (
    "../../admin",
    "+1555/../../etc/passwd%00",
    "http://169.254.169.254/latest",
    "+1555\r\nHost: evil",
    "1" * 33,
    "1" * 4_000,
    "",
    "anonymous",
    "+1555?token=1#x",
    "+1555@evil.example",
    "\u0661\u0662\u0663",
    "ignore all previous instructions",
)


def _nonsense(count: int) -> list[str]:
    """Texts that are no numbers, of all kinds of characters, the same ones in each run."""
    chance = random.Random(7)
    kinds = (
        "\x00\x01\x07\r\n\t\x1b\x7f",
        "\u202e\u200b\ufeff\u0661",
        "{}<>'\"\\;$`|&",
        "0123456789+abc",
        "\U0001f4de\u00e9",
    )
    return ["x" + "".join(chance.choices("".join(kinds), k=chance.randint(1, 300))) for _ in range(count)]


@promise("webhook.hostile_number")
async def test_a_hostile_number_gets_the_default_persona_and_a_fact_and_never_becomes_a_url(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    port = free_port()
    # LiveKit itself tells of these callers.
    own = settings(livekit, redis, personas)
    async with (
        livekit_server(webhooks=[f"http://127.0.0.1:{port}/livekit-webhook"]) as telling,
        webhook_service({**own, **telling.environment()}, port=port) as service,
    ):
        for number in [*HOSTILE, *_nonsense(40)]:
            hostile = {"sip.h.x-note": number, "sip.h." + number[:100]: number, "switchboard.conversation": number}
            async with Line(telling, sip(number, number=number, **hostile)) as line:
                (told,) = await until(partial(sent, telling, line.room))
                assert told["persona_source"] == "default"
                assert len(told["dialed_number"]) <= 64
                assert await until(partial(facts, redis, line.call_id, "number_rejected"))
        assert personas.asked == []
        assert service.process.returncode is None


@promise("webhook.watcher")
async def test_a_caller_whose_webhook_was_lost_gets_an_agent(
    livekit: LiveKitServer, service: WebhookService, redis: RedisServer
) -> None:
    async with Line(livekit, sip()) as line:
        (told,) = await until(lambda: sent(livekit, line.room))
        assert (told["attempt"], told["persona"]) == (1, HOTEL)
        assert told["room_sid"].startswith("RM_")
        assert await until(lambda: facts(redis, line.call_id, "call_arrived"))


@promise("webhook.watcher_again")
async def test_a_caller_whom_no_agent_reaches_gets_another_and_a_call_that_ends_so_is_closed_on_record(
    livekit: LiveKitServer, service: WebhookService, redis: RedisServer
) -> None:
    async def twice() -> Sequence[dict[str, Any]]:
        found = await sent(livekit, line.room)
        return found if len(found) > 1 else ()

    async with Line(livekit, sip()) as line:
        await dispatched(livekit, service, line)
        told = await until(twice, timeout_s=15)
        assert sorted(one["attempt"] for one in told) == [1, 2]
    (end,) = await until(lambda: facts(redis, line.call_id, "call_ended"), timeout_s=30)
    assert end.body.reason == "unanswered"


@promise("webhook.agent_there")
async def test_a_caller_with_an_agent_in_the_room_gets_no_other(
    livekit: LiveKitServer, service: WebhookService
) -> None:
    async with Line(livekit, sip()) as served, Line(livekit, sip()) as waiting:
        agent = rtc.Room()
        token = livekit.token(served.room, "agent-1", kind="agent", call_id=str(served.call_id), attempt="1")
        await agent.connect(livekit.url, token)
        try:
            # The other caller shows that the watcher came by.
            await until(lambda: sent(livekit, waiting.room))
            assert await sent(livekit, served.room) == []
        finally:
            await agent.disconnect()


@promise("webhook.drain")
async def test_a_service_that_is_told_to_end_serves_what_it_took_and_refuses_what_comes(
    livekit: LiveKitServer, service: WebhookService, personas: FakePersonaApi
) -> None:
    personas.behave(slow_s=0.6)
    async with Line(livekit, sip()) as line:
        assert await post(livekit, service, line.event()) == 200
        service.process.send_signal(signal.SIGTERM)
        await until(lambda: _says(service, "draining"))
        assert await post(livekit, service, line.event()) == 503
        assert await service.process.wait() == 0
        assert len(await sent(livekit, line.room)) == 1


async def _says(service: WebhookService, text: str) -> bool:
    return text in service.log_text()


@promise("webhook.cap")
async def test_beyond_256_calls_under_way_an_event_is_put_off_and_taken_when_it_comes_again(
    livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi
) -> None:
    gone = {**settings(livekit, redis, personas), "LIVEKIT_URL": f"http://127.0.0.1:{free_port()}"}
    async with webhook_service(gone) as service:
        events = [joined("room", f"caller_{at}", sip(), id_=f"EV_{at}") for at in range(300)]
        statuses = await flood(livekit, [service], events)
        assert (statuses.count(200), statuses.count(503)) == (256, 44)
        async with cache(redis) as client:
            seen = {key async for key in client.scan_iter("webhook:seen:*", count=1_000)}
        put_off = {f"webhook:seen:EV_{at}" for at, status in enumerate(statuses) if status == 503}
        assert seen, "Redis knows what was taken"
        assert not seen & put_off, "an event that was put off must not count as seen"
        service.process.kill()


@promise("webhook.health")
async def test_health_names_what_is_degraded_and_fails_only_when_no_call_can_be_answered(
    redis: RedisServer, personas: FakePersonaApi
) -> None:
    async with livekit_server() as livekit, webhook_service(settings(livekit, redis, personas)) as service:
        assert await _health(service) == (200, "ok", "ok", "ok", "ok")
        await redis.stop()
        await personas.stop()

        async def degraded() -> bool:
            status, overall, server, cache, api_ = await _health(service)
            return (status, overall, server) == (200, "degraded", "ok") and "ok" not in (cache, api_)

        assert await until(degraded)
        # The server ends, this process does not.
        async with _stopped(livekit):
            await until(lambda: _health_is(service, 503))


@contextlib.asynccontextmanager
async def _stopped(livekit: LiveKitServer) -> AsyncIterator[None]:
    os.kill(livekit.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(livekit.pid, signal.SIGCONT)


async def _health(service: WebhookService) -> tuple[int, str, str, str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/health") as answer:
        said = await answer.json()
        assert said["version"]
        assert said["uptime_s"] >= 0
        return answer.status, said["status"], said["livekit"], said["redis"], said["persona_api"]


async def _health_is(service: WebhookService, status: int) -> bool:
    return (await _health(service))[0] == status


@promise("webhook.metrics")
async def test_metrics_count_events_lookups_and_dispatches(livekit: LiveKitServer, service: WebhookService) -> None:
    async with Line(livekit, sip()) as line:
        await dispatched(livekit, service, line)
        text = await metrics(service)
    assert 'switchboard_webhook_events_total{event="participant_joined",outcome="used"} 1.0' in text
    assert 'switchboard_persona_lookups_total{source="api"} 1.0' in text
    assert "switchboard_dispatch_seconds_count 1.0" in text


@promise("webhook.bad_settings")
async def test_a_busy_port_and_a_missing_setting_end_it_with_one_sentence(
    livekit: LiveKitServer, service: WebhookService
) -> None:
    port = service.url.rpartition(":")[2]
    for given, said in (({**livekit.environment(), "PORT": port}, "is taken"), ({"PORT": port}, "LIVEKIT_URL")):
        status, text = await _ends(given)
        assert status == 2
        assert said in text
        assert "Traceback" not in text


async def _ends(given: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "webhook",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given},
        cwd=ROOT / "tests",
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        _out, said = await process.communicate()
    return process.returncode, said.decode()
