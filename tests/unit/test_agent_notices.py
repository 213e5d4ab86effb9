"""What a worker tells the webhook service: until it is heard, within limits, and never in the way of a call."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from aiohttp import web

from agent import notices
from agent.notices import Notices
from local.ports import free_port
from switchboard.settings import Settings

CALL = UUID("00000000-0000-4000-8000-000000000001")
TOKEN = "a-token-of-the-test"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "PAUSES_S", (0.01, 0.01))
    monkeypatch.setattr(notices, "LONG_PAUSE_S", 0.02)
    monkeypatch.setattr(notices, "LAST_S", 0.2)
    for name in ("INTERNAL_TOKEN", "WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)


@dataclass(eq=False)
class Service:
    """The webhook service: answers with these statuses in turn, and with 202 from then on."""

    statuses: list[int] = field(default_factory=list)
    taken: list[tuple[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        self.taken.append((request.path, await request.json()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 202)


@asynccontextmanager
async def listening(service: Service, port: int) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/{path:.*}", service.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def settings(port: int, token: str = TOKEN) -> Settings:
    return Settings.model_validate({"WEBHOOK_URL": f"http://127.0.0.1:{port}", "INTERNAL_TOKEN": token})


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_lost_call_is_told_until_the_service_is_back_and_once_then() -> None:
    service, port = Service(statuses=[503, 429, 408]), free_port()
    async with Notices.opened(settings(port), "w1") as told:
        told.lost(CALL, 3, "died", "AJ_3")
        told.lost(CALL, 3, "died", "AJ_3")
        await asyncio.sleep(0.05)
        async with listening(service, port):
            await until(lambda: len(service.taken) == 4)
            await until(lambda: not told._pending)
    path = f"/internal/calls/{CALL}/lost"
    assert service.taken == [(path, {"attempt": 3, "reason": "died", "job": "AJ_3"})] * 4


async def test_what_came_of_a_job_is_tried_twice_and_that_a_worker_is_ready_until_heard() -> None:
    service, port = Service(statuses=[503, 503]), free_port()
    async with listening(service, port), Notices.opened(settings(port), "w1") as told:
        told.refused(CALL, 1)
        await until(lambda: not told._pending)
        assert len(service.taken) == 2
        told.accepted(CALL, 1)
        await until(lambda: len(service.taken) == 3)
        service.statuses += [503] * 4
        told.ready()
        await until(lambda: not told._pending)
    assert service.taken[0] == (f"/internal/calls/{CALL}/refused", {"attempt": 1, "worker": "w1"})
    assert service.taken[2] == (f"/internal/calls/{CALL}/accepted", {"attempt": 1, "worker": "w1"})
    assert service.taken[3:] == [("/internal/workers/ready", {"worker": "w1"})] * 5


async def test_a_refusal_is_final_and_named_once() -> None:
    service, port = Service(statuses=[401, 401]), free_port()
    with structlog.testing.capture_logs() as logs:
        async with listening(service, port), Notices.opened(settings(port), "w1") as told:
            for attempt in (1, 2):
                told.lost(CALL, attempt, "hung")
                await until(lambda: not told._pending)
    assert len(service.taken) == 2
    (failed,) = [one for one in logs if one["event"] == "notice_failed"]
    assert "INTERNAL_TOKEN" in failed["error"]
    assert TOKEN not in str(logs)


async def test_without_a_token_or_a_service_a_worker_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST_PENDING", 3)
    with structlog.testing.capture_logs() as logs:
        async with Notices.opened(settings(free_port(), token=""), "w1") as told:
            told.lost(CALL, 1, "died")
            assert not told._pending
        async with Notices.opened(settings(free_port()), "w1") as told:
            for _ in range(5):
                told.lost(uuid4(), 1, "died")
            assert len(told._pending) == 3
        assert not told._pending
    events = [one["event"] for one in logs]
    assert (events.count("no_notices"), events.count("notice_failed"), events.count("notice_dropped")) == (1, 1, 2)
