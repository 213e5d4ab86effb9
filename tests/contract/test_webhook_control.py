"""The webhook service beside the control service: personas from it, facts to its log."""

import asyncio
import signal
from collections.abc import AsyncIterator
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio

from switchboard.outbox import folder
from tests.control_service import INTERNAL_TOKEN, ControlService, control_service
from tests.livekit_server import LiveKitServer
from tests.promises import promise
from tests.webhook_calls import AGENT, Line, dispatched, post, sent, sip, until
from tests.webhook_service import webhook_service

KINDS = ["call_arrived", "persona_resolved", "agent_dispatched"]


@pytest_asyncio.fixture
async def control() -> AsyncIterator[ControlService]:
    async with control_service() as running:
        yield running


def _settings(livekit: LiveKitServer, control: ControlService, home: Path) -> dict[str, str]:
    own = {"CONTROL_URL": control.base, "REDIS_URL": control.redis.url, "INTERNAL_TOKEN": INTERNAL_TOKEN}
    return {**livekit.environment(), **own, "AGENT_TO_DISPATCH": AGENT, "SWITCHBOARD_HOME": str(home)}


async def _events(control: ControlService, call_id: UUID) -> list[dict[str, Any]]:
    """The call's first events by place, once all three are recorded."""
    found = await control.request("GET", f"/calls/{call_id}")
    events = found.body.get("events", []) if found.status == 200 else []
    return events if len(events) >= len(KINDS) else []


async def _has(control: ControlService, call_id: UUID, kind: str) -> bool:
    return any(event["kind"] == kind for event in await _events(control, call_id))


@promise("webhook.control")
async def test_control_serves_the_persona_and_records_the_facts_in_order(
    livekit: LiveKitServer, control: ControlService, tmp_path: Path
) -> None:
    async with webhook_service(_settings(livekit, control, tmp_path)) as service, Line(livekit, sip()) as line:
        told = await dispatched(livekit, service, line)
        assert (told["persona_source"], told["persona"]["persona_name"]) == ("api", "Harbor Hotel")
        events = await until(lambda: _events(control, line.call_id))
        assert [event["kind"] for event in events] == KINDS
        assert [event["seq"] for event in events] == [1, 2, 3]


@promise("webhook.facts_survive")
async def test_a_webhook_service_killed_while_redis_is_away_loses_no_fact(
    livekit: LiveKitServer, control: ControlService, tmp_path: Path
) -> None:
    given = _settings(livekit, control, tmp_path)
    async with Line(livekit, sip()) as line:
        await control.redis.stop()
        async with webhook_service(given) as service:
            assert await post(livekit, service, line.event()) == 200
            await until(lambda: sent(livekit, line.room))
            service.process.send_signal(signal.SIGKILL)
            await service.process.wait()
        assert list(folder(tmp_path).glob("*.jsonl"))
        await control.redis.start()
        async with webhook_service(given):
            # The service that came after it sends another agent meanwhile: between the two, time is the order.
            await until(lambda: _has(control, line.call_id, "persona_resolved"), timeout_s=20)
            events = sorted(await _events(control, line.call_id), key=itemgetter("at"))
            assert [event["kind"] for event in events[:3]] == KINDS


async def _gone(home: Path) -> bool:
    return not await asyncio.to_thread(lambda: list(folder(home).glob("*.jsonl")))


@promise("webhook.files_go")
async def test_the_file_of_an_ended_service_goes_when_its_facts_are_recorded(
    livekit: LiveKitServer, control: ControlService, tmp_path: Path
) -> None:
    given = _settings(livekit, control, tmp_path)
    async with Line(livekit, sip()) as line:
        async with webhook_service(given) as service:
            await dispatched(livekit, service, line)
            await until(lambda: _events(control, line.call_id))
        async with webhook_service(given):
            assert await until(lambda: _gone(tmp_path), timeout_s=20)
