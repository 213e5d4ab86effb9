"""Tasks over HTTP: listed, shown, cancelled; whether a worker works; with a real Postgres and Redis."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from control.db.pool import open_database
from control.jobs.engine import PostgresJobs
from control.jobs.progress import channel
from switchboard import stream
from tests.control_service import ControlService, control_service
from tests.facts import until
from tests.job_worker import JobWorker
from tests.postgres_server import query
from tests.promises import promise


@pytest.fixture
async def control() -> AsyncIterator[ControlService]:
    async with control_service() as running:
        yield running


@asynccontextmanager
async def jobs_of(control: ControlService) -> AsyncIterator[PostgresJobs]:
    redis = stream.connect(control.redis.url)
    async with open_database(control.database_url) as database:
        yield PostgresJobs(database, redis)
    await redis.aclose()


async def enqueued(control: ControlService, *kinds: str) -> list[str]:
    """The ids of these tasks, in order; no worker runs."""
    made = []
    async with jobs_of(control) as jobs, open_database(control.database_url) as database:
        for kind in kinds:
            async with database.transaction() as connection:
                made.append(str(await jobs.enqueue(connection, kind, {"say": "to nobody"}, owner="ann")))
    return made


@promise("jobs.api")
async def test_tasks_are_listed_newest_first_in_pages_and_filtered(control: ControlService) -> None:
    made = await enqueued(control, *["clean_up", "expire"] * 3)
    await control.request("POST", f"/tasks/{made[0]}/cancel")
    found: list[str] = []
    place: str | None = ""
    while place is not None:
        page = (await control.request("GET", f"/tasks?limit=4{f'&cursor={place}' if place else ''}")).body
        found += [one["task_id"] for one in page["tasks"]]
        place = page["next"]
    assert found == made[::-1]
    for asked, expected in (
        ("kind=expire", made[1::2]),
        ("state=cancelled", made[:1]),
        ("kind=clean_up&state=queued", made[2::2]),
        ("kind=unheard-of", []),
    ):
        listed = (await control.request("GET", f"/tasks?{asked}")).body["tasks"]
        assert [one["task_id"] for one in listed] == expected[::-1]
    for wrong in ("state=lost", "cursor=nonsense", "limit=0"):
        assert (await control.request("GET", f"/tasks?{wrong}")).status == 400


@promise("jobs.api")
async def test_a_task_is_shown_to_who_may_and_one_that_is_not_there_is_a_404(control: ControlService) -> None:
    [task] = await enqueued(control, "clean_up")
    shown = await control.request("GET", f"/tasks/{task}")
    assert shown.status == 200 and "to nobody" not in json.dumps(shown.body)
    assert {name: shown.body[name] for name in ("state", "progress", "owner", "attempts", "result", "error")} == {
        **{"state": "queued", "progress": 0, "owner": "ann", "attempts": 0},
        **{"result": None, "error": None},
    }
    viewer = (await control.request("POST", "/api-keys", json={"name": "v", "role": "viewer"})).body["key"]
    assert (await control.request("GET", f"/tasks/{task}", key=viewer)).status == 200
    assert (await control.request("POST", f"/tasks/{task}/cancel", key=viewer)).status == 403
    for method, path in (("GET", f"/tasks/{uuid4()}"), ("POST", f"/tasks/{uuid4()}/cancel")):
        answer = await control.request(method, path)
        assert (answer.status, answer.body["code"]) == (404, "not_found")


@promise("jobs.api")
async def test_a_task_is_cancelled_once_on_record_and_one_that_ended_is_not(control: ControlService) -> None:
    waiting, done = await enqueued(control, "clean_up", "expire")
    await query(control.database_url, f"UPDATE tasks SET state = 'completed' WHERE id = '{done}'")  # noqa: S608
    redis = stream.connect(control.redis.url, timeout_s=5)
    async with redis.pubsub() as heard:
        await heard.subscribe(channel(UUID(waiting)))
        first = await control.request("POST", f"/tasks/{waiting}/cancel")
        news: Any = None
        while news is None or news["type"] != "message":
            news = await heard.get_message(timeout=5)
    await redis.aclose()
    assert (first.status, first.body["state"], json.loads(news["data"])["state"]) == (200, "cancelled", "cancelled")
    assert (await control.request("POST", f"/tasks/{waiting}/cancel")).body == first.body
    refused = await control.request("POST", f"/tasks/{done}/cancel")
    assert (refused.status, refused.body["message"]) == (409, "The task has ended already: it is completed.")
    rows = await query(control.database_url, "SELECT subject FROM audit WHERE action = 'task.cancelled'")
    assert [row["subject"] for row in rows] == [waiting]


@promise("jobs.api")
async def test_health_says_whether_a_job_worker_works_and_is_well_without_one(
    control: ControlService, tmp_path: Path
) -> None:
    async def says(jobs: str) -> bool:
        answer = await control.request("GET", "/health", key=None)
        return (answer.status, answer.body["status"], answer.body["jobs"]) == (200, "ok", jobs)

    assert await says("away")
    told = {name: control.settings[name] for name in ("DATABASE_URL", "REDIS_URL")}
    worker = JobWorker(tmp_path, {**told, "SWITCHBOARD_HOME": str(tmp_path)}, "control.worker")
    try:
        await worker.start()
        await until(lambda: says("ok"))
        assert await worker.end() == 0
        assert await says("away")
    finally:
        await worker.end(signal.SIGKILL)
