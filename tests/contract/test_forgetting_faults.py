"""Forgetting while parts die or are away, and after a backup brought back what was forgotten."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from control.db.pool import DatabaseAway, open_database
from local.ports import free_port
from switchboard import stream
from switchboard.outbox import folder
from tests import postgres_server
from tests.control_service import ControlService, control_service, settings_for
from tests.e2e.stack import LocalStack
from tests.facts import until
from tests.postgres_server import fresh_database, query
from tests.promises import promise
from tests.traces import Traces, call_of, in_files, in_tables, installation, written

NUMBER, OTHER = "+491711234567", "+491719876543"


@pytest.fixture
async def control() -> AsyncIterator[ControlService]:
    async with control_service() as running:
        yield running


async def said_and_left(traces: Traces, canary: str) -> int:
    """A recorded call whose facts also lie in a file, and in Redis for another agent; how many facts."""
    call = uuid4()
    facts = call_of(call, NUMBER, canary)
    await traces.control.record(facts)
    await stream.add(traces.redis, facts[8:9])
    await traces.recorded()
    written(traces, f"{call}-1-J", facts)
    return len(facts)


def whole(facts: int) -> dict[str, int]:
    """What the receipt says of such a call."""
    return {"events": facts, "calls": 1, "conversations": 1, "outbox": facts, "carried": 1}


@asynccontextmanager
async def held(url: str, mode: str) -> AsyncIterator[None]:
    """While the body runs, whoever changes the events, or looks through them for what is dead, waits."""
    async with open_database(url) as database, database.transaction() as connection:
        await connection.execute(f"LOCK TABLE events IN {mode} MODE")
        yield


async def waits(url: str) -> bool:
    """Whether somebody waits for what is held."""
    return bool(await query(url, "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass"))


@promise("forget.killed")
@pytest.mark.parametrize("mode", ["SHARE", "SHARE UPDATE EXCLUSIVE"], ids=["erasing", "at the end"])
async def test_a_worker_killed_in_the_middle_is_followed_and_the_receipt_is_whole(
    control: ControlService, mode: str
) -> None:
    canary = f"canary{uuid4().hex}"
    async with installation(control) as traces:
        facts = await said_and_left(traces, canary)
        async with held(traces.url, mode):
            asked = (await control.request("DELETE", f"/callers/{NUMBER}")).body["receipt_id"]
            await until(lambda: waits(traces.url))
            await traces.worker.end(signal.SIGKILL)
            assert in_files(canary, folder(control.home)) == []
            assert (await control.request("GET", f"/receipts/{asked}")).body["state"] == "forgetting"
        await traces.worker.start()
        gone = await traces.finished(asked)
        assert gone["went"] == whole(facts)
        assert await traces.of(canary, NUMBER) == []
        [task, *_ticks] = (await control.request("GET", "/tasks?kind=forget&state=completed")).body["tasks"]
        assert task["attempts"] == 2


@promise("forget.away")
async def test_with_redis_away_it_is_tried_again_and_the_receipt_is_whole(control: ControlService) -> None:
    canary = f"canary{uuid4().hex}"
    async with installation(control) as traces:
        facts = await said_and_left(traces, canary)
        await control.redis.stop()
        asked = (await control.request("DELETE", f"/callers/{NUMBER}")).body["receipt_id"]
        await traces.worker.says("task_set_back")
        [task, *_ticks] = (await control.request("GET", "/tasks?kind=forget")).body["tasks"]
        assert (task["state"], task["error"]) == ("queued", "A service that it needs is away.")
        await control.redis.start()
        assert (await traces.finished(asked))["went"] == whole(facts)
        assert await traces.of(canary, NUMBER) == []


@promise("forget.away")
async def test_postgres_killed_in_the_middle_is_a_503_and_then_it_goes_on(control: ControlService) -> None:
    canary = f"canary{uuid4().hex}"
    async with installation(control) as traces:
        facts = await said_and_left(traces, canary)
        # What was held is gone with the server.
        with suppress(DatabaseAway):
            async with held(traces.url, "SHARE"):
                asked = (await control.request("DELETE", f"/callers/{NUMBER}")).body["receipt_id"]
                await until(lambda: waits(traces.url))
                await asyncio.to_thread(postgres_server.server().kill)
        for path in (f"/callers/{OTHER}", f"/conversations/{uuid4()}"):
            answer = await control.request("DELETE", path)
            assert (answer.status, answer.body["code"]) == (503, "unavailable")
        await asyncio.to_thread(postgres_server.server().start)
        assert (await traces.finished(asked))["went"] == whole(facts)
        assert await traces.of(canary, NUMBER) == []


async def told(control: ControlService, *words: str) -> None:
    """`switchboard` with these words, of the home of this service."""
    stack = LocalStack(control.home, {"DATABASE_URL": control.database_url})
    done = await asyncio.to_thread(stack.run, *words)
    assert done.returncode == 0, done.stderr


@promise("forget.restored")
async def test_what_a_backup_brings_back_is_forgotten_again(control: ControlService, tmp_path: Path) -> None:
    canary, early, late = f"canary{uuid4().hex}", tmp_path / "early.zip", tmp_path / "late.zip"
    async with installation(control) as traces:
        await control.record(call_of(uuid4(), NUMBER, canary))
        await control.record(call_of(chat := uuid4(), OTHER, canary))
        await control.request("POST", "/blocklist", json={"number": NUMBER, "reason": canary})
        await control.request("DELETE", f"/blocklist/{NUMBER}")
        unshipped = call_of(uuid4(), NUMBER, canary)
        path = written(traces, f"{unshipped[0].call_id}-1-J", unshipped)
        await told(control, "backup", str(early))
        await asyncio.to_thread(path.unlink)
        receipts = [
            (await traces.forget(place))["receipt_id"] for place in (f"/callers/{NUMBER}", f"/conversations/{chat}")
        ]
        assert await traces.of(canary) == []
        await told(control, "backup", str(late))
        await control.end()
        await traces.worker.end()
        await told(control, "restore", str(early), "--replace")
        await forgotten_again(traces, canary, receipts)
    # A home of its own learns from the later backup what the earlier one must not bring back.
    async with fresh_database() as url:
        home = tmp_path / "other"
        home.mkdir()
        other = replace(
            control,
            home=home,
            database_url=url,
            settings=settings_for(home, url, control.redis.url, free_port()),
            process=None,
        )
        await told(other, "restore", str(late))
        await told(other, "restore", str(early), "--replace")
        async with installation(other, working=False) as traces:
            try:
                await forgotten_again(traces, canary, receipts)
            finally:
                await other.end(signal.SIGKILL)


async def forgotten_again(traces: Traces, canary: str, receipts: list[str]) -> None:
    """Starts what was restored, and looks."""
    assert {"audit.detail", "events.body"} <= {*await in_tables(traces.url, canary)}
    await traces.control.start()
    await traces.worker.start()
    async with traces.shipper() as shipper:
        await shipper.sweep()
    for receipt in receipts:
        gone = await traces.finished(receipt)
        assert gone["went"]["calls"] == 1
    # The file that the backup held is shipped, refused, and let go.
    for left in in_files(canary, folder(traces.control.home)):
        await traces.shipped(Path(left))
        await traces.finished(receipts[0], refused=1)
    assert await traces.of(canary, NUMBER) == []
    assert in_files(NUMBER, traces.control.home) == []
