"""Blocked callers: kept over HTTP by control, refused by the webhook service; all of it real."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio
from livekit import api, rtc

from switchboard.blocklist import MAX_BYTES, PATH
from switchboard.call import CALL_ID, DIALED
from tests.control_service import INTERNAL_TOKEN, ControlService, control_service
from tests.livekit_server import LiveKitServer
from tests.persona_api import FakePersonaApi, persona_api
from tests.promises import promise
from tests.redis_server import RedisServer
from tests.webhook_calls import Line, cache, dispatched, facts, post, sent, settings, sip, until
from tests.webhook_service import WebhookService, joined, webhook_service
from webhook.store import BLOCKLIST

NUISANCE = "+15550199666"
# 5 s on a machine that has nothing else to do.
WITHIN_S = 20.0


@pytest_asyncio.fixture
async def control() -> AsyncIterator[ControlService]:
    async with control_service() as running:
        yield running


@pytest_asyncio.fixture
async def lists() -> AsyncIterator[FakePersonaApi]:
    """Stands in for control where only its answer matters; and for the Persona API, which then knows nobody."""
    async with persona_api() as server:
        yield server


def _listed(*patterns: str) -> bytes:
    return json.dumps({"patterns": patterns}).encode()


def _settings(livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi) -> dict[str, str]:
    own = {"CONTROL_URL": f"http://127.0.0.1:{lists.port}", "INTERNAL_TOKEN": INTERNAL_TOKEN}
    return settings(livekit, redis, lists, **own)


async def _is_gone(livekit: LiveKitServer, room: str) -> bool:
    async with livekit.client() as client:
        return not (await client.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms


async def _refused(livekit: LiveKitServer, service: WebhookService, number: str) -> bool:
    """Whether a call from this number, which ends with it, is refused; else it got an agent."""
    async with Line(livekit, sip(number=number)) as line:
        assert await post(livekit, service, line.event()) == 200
        found = await until(lambda: _outcome(livekit, line.room), timeout_s=WITHIN_S)
        return bool(found == "refused")


async def _outcome(livekit: LiveKitServer, room: str) -> str:
    if await _is_gone(livekit, room):
        return "refused"
    try:
        return "served" if await sent(livekit, room) else ""
    except api.ServerError:
        # The room went meanwhile.
        return ""


async def _taken(redis: RedisServer, *patterns: str) -> None:
    """Returns when the service has taken this list, and then put it in Redis."""

    async def there() -> bool:
        async with cache(redis) as client:
            return bool(json.loads(await client.get(BLOCKLIST) or "{}") == {"patterns": list(patterns)})

    await until(there, timeout_s=WITHIN_S)


async def _ended(control: ControlService, call_id: UUID) -> dict[str, Any] | None:
    found = await control.request("GET", f"/calls/{call_id}")
    return dict(found.body) if found.status == 200 and found.body["status"] == "ended" else None


@promise("blocklist.api")
async def test_operators_keep_the_list_and_it_is_on_record(control: ControlService) -> None:
    made = await control.request(
        "POST", "/blocklist", json={"number": "+1 (555) 019-9666", "reason": "rings nightly"}
    )
    assert made.status == 201
    assert {name: made.body[name] for name in ("number", "pattern", "reason", "added_by")} == {
        "number": "+1 (555) 019-9666",
        "pattern": "15550199666",
        "reason": "rings nightly",
        "added_by": "key:first admin",
    }
    again = await control.request("POST", "/blocklist", json={"number": "0015550199666"})
    assert (again.status, again.body["reason"], again.body["added_at"]) == (200, "", made.body["added_at"])
    for number in ("+49 30*", "Anonymous"):
        assert (await control.request("POST", "/blocklist", json={"number": number})).status == 201
    first = await control.request("GET", "/blocklist?limit=2")
    rest = await control.request("GET", f"/blocklist?cursor={first.body['next'].replace('*', '%2A')}")
    shown = [one["pattern"] for page in (first, rest) for one in page.body["blocklist"]]
    assert (shown, rest.body["next"]) == (["15550199666", "4930*", "anonymous"], None)
    listed = await control.request("GET", PATH, key=INTERNAL_TOKEN)
    assert (listed.status, listed.body) == (200, {"patterns": shown})
    for number in ("15550199666", "+4930%2A", "anonymous"):
        assert (await control.request("DELETE", f"/blocklist/{number}")).status == 204
        assert (await control.request("DELETE", f"/blocklist/{number}")).status == 404
    assert (await control.request("GET", PATH, key=INTERNAL_TOKEN)).body == {"patterns": []}


@promise("blocklist.api")
async def test_only_operators_change_the_list_and_faults_are_one_sentence(control: ControlService) -> None:
    keys = {}
    for role in ("viewer", "operator"):
        made = await control.request("POST", "/api-keys", json={"name": role, "role": role})
        keys[role] = made.body["key"]
    body = {"number": NUISANCE}
    assert (await control.request("GET", "/blocklist", key=keys["viewer"])).status == 200
    assert (await control.request("POST", "/blocklist", key=keys["viewer"], json=body)).status == 403
    assert (await control.request("DELETE", f"/blocklist/{NUISANCE}", key=keys["viewer"])).status == 403
    assert (await control.request("POST", "/blocklist", key=keys["operator"], json=body)).status == 201
    assert (await control.request("GET", PATH)).status == 403
    for number in ("", "*", "alice", "1*2", "1" * 33, "1\0", 7, None):
        refused = await control.request("POST", "/blocklist", json={"number": number})
        assert (refused.status, refused.body["code"]) == (400, "bad_request"), number
        assert refused.body["message"].startswith("number: ")
    long = await control.request("POST", "/blocklist", json={"number": "1", "reason": "x" * 501})
    assert (long.status, long.body["message"].startswith("reason: ")) == (400, True)
    assert (await control.request("DELETE", "/blocklist/alice")).status == 400
    assert (await control.request("GET", "/blocklist?cursor=x")).status == 400


@promise("blocklist.refused")
async def test_a_blocked_caller_is_refused_while_it_rings_and_others_are_served(
    livekit: LiveKitServer, control: ControlService, lists: FakePersonaApi, tmp_path: Path
) -> None:
    own = {"CONTROL_URL": control.base, "INTERNAL_TOKEN": INTERNAL_TOKEN, "SWITCHBOARD_HOME": str(tmp_path)}
    async with webhook_service(settings(livekit, control.redis, lists, **own)) as service:
        assert not await _refused(livekit, service, NUISANCE)
        assert (await control.request("POST", "/blocklist", json={"number": "001 555 019 9666"})).status == 201
        await _taken(control.redis, "15550199666")
        lists.asked.clear()
        async with Line(livekit, sip(dialed="+15550100077", number=NUISANCE)) as line:
            assert await post(livekit, service, line.event()) == 200
            assert await until(lambda: _is_gone(livekit, line.room), timeout_s=WITHIN_S)
        ended = await until(lambda: _ended(control, line.call_id))
        assert (ended["reason"], ended["caller"], ended["persona"]) == ("blocked", NUISANCE, None)
        assert [one["kind"] for one in ended["events"]] == ["call_arrived", "call_ended"]
        assert lists.asked == []
        assert not await _refused(livekit, service, "+15550199667")
        assert (await control.request("DELETE", f"/blocklist/{NUISANCE}")).status == 204
        await _taken(control.redis)
        assert not await _refused(livekit, service, NUISANCE)


@promise("blocklist.refused")
async def test_callers_without_a_number_are_refused_and_browsers_are_not(
    livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi
) -> None:
    lists.behave(body=_listed("anonymous", "1555019*"))
    async with webhook_service(_settings(livekit, redis, lists)) as service:
        assert await _refused(livekit, service, "anonymous")
        assert await _refused(livekit, service, NUISANCE)
        assert not await _refused(livekit, service, "+15550200000")
        async with Line(livekit, {DIALED: "+15550100001"}, browser=True) as line:
            permission = {"canSubscribe": True, "canPublish": True}
            body = joined(line.room, line.identity, line.attributes, id_="EV", kind="STANDARD", permission=permission)
            assert await post(livekit, service, body) == 200
            assert await until(lambda: sent(livekit, line.room))


@promise("blocklist.watcher")
async def test_a_blocked_caller_whose_webhook_was_lost_is_refused(
    livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi
) -> None:
    lists.behave(body=_listed("15550199666"))
    async with webhook_service(_settings(livekit, redis, lists)), Line(livekit, sip(number=NUISANCE)) as line:
        assert await until(lambda: _is_gone(livekit, line.room), timeout_s=WITHIN_S)
        told = await until(lambda: facts(redis, line.call_id, "call_ended"))
        assert [one.body.reason for one in told] == ["blocked"]


@promise("blocklist.shared_room")
async def test_others_in_the_room_of_a_blocked_caller_stay(
    livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi
) -> None:
    lists.behave(body=_listed("15550199666"))
    async with webhook_service(_settings(livekit, redis, lists)) as service, Line(livekit, sip()) as other:
        await dispatched(livekit, service, other)
        blocked = Line(livekit, sip(number=NUISANCE), room=other.room)
        async with blocked:
            assert await post(livekit, service, blocked.event()) == 200
            assert await until(lambda: _present(livekit, other.room, but=blocked.identity))
            assert await until(lambda: facts(redis, blocked.call_id, "call_ended"))
            assert {one["call_id"] for one in await sent(livekit, other.room)} == {str(other.call_id)}


async def _present(livekit: LiveKitServer, room: str, *, but: str) -> list[str]:
    """Who is in the room; nobody as long as this one is there."""
    async with livekit.client() as client:
        found = await client.room.list_participants(api.ListParticipantsRequest(room=room))
    names = [one.identity for one in found.participants]
    return [] if but in names else names


@promise("blocklist.answered")
async def test_an_answered_call_goes_on_when_its_caller_is_blocked_and_its_agent_is_lost(
    livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi
) -> None:
    lists.behave(body=_listed())
    async with (
        webhook_service(_settings(livekit, redis, lists)) as service,
        Line(livekit, sip(number=NUISANCE) | {"sip.callStatus": "active"}) as line,
    ):
        await dispatched(livekit, service, line)
        agent = rtc.Room()
        token = livekit.token(line.room, "agent-1", kind="agent", **{CALL_ID: str(line.call_id), "attempt": "1"})
        await agent.connect(livekit.url, token)
        lists.behave(body=_listed("15550199666"))
        await _taken(redis, "15550199666")
        assert await post(livekit, service, line.event()) == 200
        await agent.disconnect()
        assert await until(lambda: _attempt(livekit, line.room, 2), timeout_s=30)
        assert not await _is_gone(livekit, line.room)


async def _attempt(livekit: LiveKitServer, room: str, attempt: int) -> bool:
    return any(one["attempt"] == attempt for one in await sent(livekit, room))


@promise("blocklist.away")
async def test_the_last_list_holds_with_control_away_and_for_a_service_that_starts_meanwhile(
    livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi
) -> None:
    lists.behave(body=_listed("15550199666"))
    given = _settings(livekit, redis, lists)
    async with webhook_service(given) as service:
        await _taken(redis, "15550199666")
        await lists.stop()
        assert await until(lambda: _complained(service), timeout_s=WITHIN_S)
        assert await _refused(livekit, service, NUISANCE)
    async with webhook_service(given) as service:
        assert await _refused(livekit, service, NUISANCE)
        assert not await _refused(livekit, service, "+15550200000")
        await redis.stop()
        assert await _refused(livekit, service, NUISANCE)


async def _complained(service: WebhookService) -> bool:
    return "blocklist_not_refreshed" in service.log_text()


@promise("blocklist.nonsense")
async def test_what_is_no_list_changes_nothing(
    livekit: LiveKitServer, redis: RedisServer, lists: FakePersonaApi
) -> None:
    async with cache(redis) as client:
        await client.set(BLOCKLIST, '{"patterns": ["*"]}')
    lists.behave(body=b"\xff")
    async with webhook_service(_settings(livekit, redis, lists)) as service:
        assert not await _refused(livekit, service, NUISANCE)
        lists.behave(body=_listed("15550199666"))
        await _taken(redis, "15550199666")
        for nonsense in (_listed("15550200000", "*"), b" " * (MAX_BYTES + 1)):
            lists.behave(body=nonsense)
            lists.asked.clear()
            await until(lambda: _asked_twice(lists), timeout_s=WITHIN_S)
            assert await _refused(livekit, service, NUISANCE)
            assert not await _refused(livekit, service, "+15550200000")


async def _asked_twice(lists: FakePersonaApi) -> bool:
    return lists.asked.count(PATH) > 1
