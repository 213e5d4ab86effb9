"""A worker's slots: none is taken twice, none is kept by a job that never began."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import structlog
from prometheus_client import generate_latest

from agent.admission import Admission
from agent.lifeline import Reason
from agent.registration import RegisteredServer

CALL = UUID("00000000-0000-4000-8000-000000000001")
METADATA = json.dumps({"conversation_id": "c", "call_id": str(CALL), "attempt": 2})


class Notices:
    def __init__(self) -> None:
        self.told: list[tuple[str, UUID, int]] = []

    def accepted(self, call_id: UUID, attempt: int) -> None:
        self.told.append(("accepted", call_id, attempt))

    def refused(self, call_id: UUID, attempt: int) -> None:
        self.told.append(("refused", call_id, attempt))

    def lost(self, call_id: UUID, attempt: int, reason: Reason, job: str) -> None:
        assert job == "AJ_1"
        self.told.append((reason, call_id, attempt))


class Request:
    """A job that is offered; `assigned` is what comes of it when it is accepted."""

    def __init__(self, job: str) -> None:
        self.id = job
        self.job = SimpleNamespace(metadata=METADATA)
        self.assigned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rejected: list[bool] = []
        self.attributes: dict[str, str] = {}

    async def accept(self, *, attributes: dict[str, str]) -> None:
        self.attributes = attributes
        await self.assigned

    async def reject(self, *, terminate: bool) -> None:
        self.rejected.append(terminate)


class Processes:
    def __init__(self) -> None:
        self.idle = 4

    def set_target_idle_processes(self, count: int) -> None:
        self.idle = count


def made(most: int, served: frozenset[str] = frozenset()) -> tuple[Admission, Notices, list[Any]]:
    notices, active = Notices(), list[Any]()
    server = SimpleNamespace(active_jobs=active, _proc_pool=Processes())
    admission = Admission(server, most, "w1", notices, served.__contains__)  # type: ignore[arg-type]
    return admission, notices, active


async def test_a_slot_is_taken_from_the_acceptance_on_and_counted_once_when_the_job_runs() -> None:
    admission, notices, active = made(1)
    first, second = Request("AJ_1"), Request("AJ_2")
    deciding = asyncio.create_task(admission.decide(first))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert admission.taken() == 1
    await admission.decide(second)  # type: ignore[arg-type]
    assert second.rejected == [False]
    active.append(SimpleNamespace(job=SimpleNamespace(id="AJ_1")))
    assert admission.taken() == 1
    first.assigned.set_result(None)
    await deciding
    assert admission.taken() == 1
    # A full worker is still offered jobs, which it refuses for all to know.
    assert admission.load() < 0.7
    assert notices.told == [("accepted", CALL, 2), ("refused", CALL, 2)]
    assert first.attributes == {"call_id": str(CALL), "attempt": "2", "job_id": "AJ_1", "worker_id": "w1"}


async def test_a_process_that_has_served_its_call_and_is_about_to_end_takes_no_slot() -> None:
    admission, notices, active = made(1, frozenset({"AJ_0"}))
    active.append(SimpleNamespace(job=SimpleNamespace(id="AJ_0")))
    assert admission.taken() == 0
    request = Request("AJ_1")
    request.assigned.set_result(None)
    await admission.decide(request)  # type: ignore[arg-type]
    assert notices.told == [("accepted", CALL, 2)]


async def test_no_more_processes_wait_than_calls_can_come_and_one_always_does() -> None:
    admission, _notices, active = made(6)
    found = []
    for number in range(6):
        request = Request(f"AJ_{number}")
        request.assigned.set_result(None)
        await admission.decide(request)  # type: ignore[arg-type]
        active.append(SimpleNamespace(job=request))
        found.append(admission.server._proc_pool.idle)  # type: ignore[attr-defined]
    assert found == [4, 4, 3, 2, 1, 1]
    active.clear()
    admission.load()
    assert admission.server._proc_pool.idle == 4  # type: ignore[attr-defined]


async def test_a_job_that_is_never_assigned_gives_its_slot_back_and_is_told_as_lost() -> None:
    admission, notices, _active = made(1)
    request = Request("AJ_1")
    request.assigned.set_exception(TimeoutError())
    with structlog.testing.capture_logs():
        await admission.decide(request)  # type: ignore[arg-type]
    assert admission.taken() == 0
    assert notices.told == [("accepted", CALL, 2), ("died", CALL, 2)]
    assert b'switchboard_agent_lost_total{reason="died"} 1.0' in generate_latest(admission.registry)


async def test_jobs_that_wait_on_a_lost_connection_are_given_up_at_once() -> None:
    server = RegisteredServer(ws_url="ws://127.0.0.1:1", api_key="key", api_secret="secret")
    waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server._pending_assignments = {"AJ_1": waiting}
    server._give_up_assignments()
    with pytest.raises(ConnectionError):
        await waiting
    assert server._pending_assignments == {}
    assert not server.registered
