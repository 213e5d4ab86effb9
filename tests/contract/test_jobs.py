"""Background jobs: a real Postgres and Redis, and worker processes that are killed, drained, left without either."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from bench import jobs as bench
from control.db.pool import open_database
from control.jobs.engine import PostgresJobs
from control.jobs.job import Overtaken, Passing
from control.jobs.progress import channel
from control.jobs.schedule import SCHEDULE
from tests import postgres_server
from tests.facts import until
from tests.job_worker import Workshop, workshop
from tests.promises import promise
from tests.trial_jobs import CATALOGUE_OF_TESTS, SCHEDULE_OF_TESTS, SECRET

# What the spec promises; a worker that is killed is missed after a quarter of a minute.
AGAIN_S = 90.0


@pytest.fixture
async def shop() -> AsyncIterator[Workshop]:
    async with workshop() as made:
        yield made


@promise("jobs.transaction")
async def test_a_job_runs_when_the_transaction_that_needs_it_is_committed_and_never_otherwise(shop: Workshop) -> None:
    async with shop.worker():
        with suppress(Passing):
            async with shop.database.transaction() as connection:
                never = await shop.jobs.enqueue(connection, "note")
                raise Passing("It was rolled back.")
        async with shop.database.transaction() as connection:
            later = await shop.jobs.enqueue(connection, "note", {"say": "committed"})
            # Asked from outside, there is nothing yet.
            assert await shop.jobs.status(later) is None
        ended = await shop.ended(later)
    assert (ended.state, ended.result, ended.progress) == ("completed", {"said": "committed"}, 1.0)
    assert await shop.jobs.status(never) is None
    assert [row["task"] for row in await shop.trials("effect")] == [later]
    assert await shop.rows("SELECT FROM procrastinate_jobs WHERE args->>'task' <> (SELECT id::text FROM tasks)") == []


@promise("jobs.once")
async def test_a_job_enqueued_again_with_its_id_is_one_job(shop: Workshop) -> None:
    task = uuid4()
    # At once, and from several connections; the first that commits is the one that counts.
    await asyncio.gather(*(shop.enqueue("note", {"say": 1}, task=task, owner="ann") for _ in range(8)))
    async with shop.worker():
        ended = await shop.ended(task)
        await shop.enqueue("note", {"say": 2}, task=task)
        await shop.ended(await shop.enqueue("crawled"))
    assert (ended.result, ended.owner) == ({"said": 1}, "ann")
    assert len(await shop.trials("effect", task)) == 1


@promise("jobs.priority")
async def test_what_is_urgent_runs_first_and_a_worker_takes_its_queues_alone(shop: Workshop) -> None:
    kinds = ("crawled", "note", "urgent")
    enqueued = {kind: await shop.enqueue(kind) for kind in kinds}
    async with shop.worker("--at-once", "1"):
        for task in enqueued.values():
            await shop.ended(task)
    order = [row["task"] for row in await shop.trials("effect")]
    assert order == [enqueued["urgent"], enqueued["note"], enqueued["crawled"]]
    crawled, urgent = await shop.enqueue("crawled"), await shop.enqueue("urgent")
    async with shop.worker("--queues", "ai_high_priority, embeddings"):
        await shop.ended(urgent)
        assert (await shop.rows(f"SELECT state FROM tasks WHERE id = '{crawled}'"))[0]["state"] == "queued"  # noqa: S608


@promise("jobs.retry")
async def test_what_may_pass_is_tried_again_after_growing_pauses(shop: Workshop) -> None:
    async with shop.worker():
        task = await shop.enqueue("flaky", {"faults": 3})
        ended = await shop.ended(task)
        hopeless = await shop.ended(await shop.enqueue("flaky", {"faults": 9}))
    assert (ended.state, ended.attempts, ended.error) == ("completed", 4, None)
    at = [row["at"] for row in await shop.trials("begun", task)]
    for (before, after), pause_s in zip(pairwise(at), CATALOGUE_OF_TESTS["flaky"].pauses_s, strict=True):
        assert after - before >= timedelta(seconds=pause_s)
    assert (hopeless.state, hopeless.attempts, hopeless.error) == ("failed", 4, "It is too early.")


@promise("jobs.failed")
async def test_what_cannot_pass_fails_at_once_with_a_sentence(shop: Workshop) -> None:
    async with shop.worker() as worker:
        refused = await shop.ended(await shop.enqueue("refused"))
        broken = await shop.ended(await shop.enqueue("broken", {"say": SECRET}))
        endless = await shop.ended(await shop.enqueue("endless"))
    for ended, sentence in (
        (refused, "There is no such thing."),
        (broken, "Something went wrong here; it is in the log."),
        (endless, "It took longer than 0.005 minutes."),
    ):
        assert (ended.state, ended.attempts, ended.error) == ("failed", 1, sentence)
    assert "ValueError" in worker.log() and SECRET not in worker.log()
    # What a job was given is nobody's business any more.
    assert [row["args"] for row in await shop.rows("SELECT DISTINCT args FROM tasks")] == [{}]


@promise("jobs.cancel")
async def test_a_cancelled_task_never_runs_and_one_that_runs_stops_without_effect(shop: Workshop) -> None:
    waiting = await shop.enqueue("note")
    assert (await _cancel(shop, waiting)).state == "cancelled"
    async with shop.worker():
        running = await shop.enqueue("held")
        await shop.begun(running)
        cancelled = await _cancel(shop, running)
        await shop.open_gate(running)

        async def stopped() -> bool:
            rows = await shop.rows("SELECT status::text FROM procrastinate_jobs ORDER BY id")
            return [row["status"] for row in rows] == ["cancelled", "aborted"]

        await until(stopped)
        assert await _cancel(shop, running) == cancelled
        done = await shop.ended(await shop.enqueue("note"))
        assert (await _cancel(shop, done.id)).state == "completed"
    assert [row["task"] for row in await shop.trials("effect")] == [done.id]
    async with shop.database.transaction() as connection:
        assert await shop.jobs.cancel(connection, uuid4()) is None


async def _cancel(shop: Workshop, task: UUID) -> Any:
    async with shop.database.transaction() as connection:
        return await shop.jobs.cancel(connection, task)


@promise("jobs.progress")
async def test_progress_is_told_at_once_and_its_last_word_is_kept(shop: Workshop) -> None:
    task = uuid4()
    async with shop.redis.pubsub() as heard, shop.worker():
        await heard.subscribe(channel(task))
        await shop.enqueue("reporting", task=task)
        await shop.ended(task)
        news = [await _next(heard) for _ in range(3)]
    assert [(one["state"], one["progress"], one["message"]) for one in news] == [
        ("processing", 0, ""),
        ("processing", 0.4, "beginning"),
        ("completed", 1, "beginning"),
    ]
    # Another attempt begins anew, and what was said stands; one that is over says nothing more.
    held = await shop.enqueue("held")
    async with shop.database.session() as connection:
        await connection.execute(
            "UPDATE tasks SET state = 'processing', attempts = 2, progress = 0.6 WHERE id = $1", held
        )
    await shop.jobs.progress(held, 2, 0.3, "again")
    status = await shop.jobs.status(held)
    assert status is not None and (status.progress, status.message) == (0.6, "again")
    with pytest.raises(Overtaken):
        await shop.jobs.progress(held, 1, 0.9, "late")


async def _next(heard: Any) -> dict[str, Any]:
    async for message in heard.listen():
        if message["type"] == "message":
            return dict(json.loads(message["data"]))
    raise AssertionError("the channel ended")


@promise("jobs.progress")
async def test_without_redis_jobs_go_on(shop: Workshop) -> None:
    async with shop.worker():
        await shop.server.stop()
        assert (await shop.ended(await shop.enqueue("reporting"))).state == "completed"


@promise("jobs.killed")
async def test_a_job_whose_worker_is_killed_runs_again_and_has_its_effect_once(shop: Workshop) -> None:
    task = await shop.enqueue("held")
    for kill in range(1, 4):
        async with shop.worker() as worker:
            await shop.begun(task, kill, AGAIN_S)
            await worker.end(signal.SIGKILL)
    async with shop.worker():
        await shop.begun(task, 4, AGAIN_S)
        await shop.open_gate(task)
        ended = await shop.ended(task)
    assert (ended.state, ended.attempts, ended.progress) == ("completed", 4, 1.0)
    assert [row["attempt"] for row in await shop.trials("effect")] == [4]


@promise("jobs.killed")
async def test_workers_killed_in_mid_job_and_as_one_ends_double_no_effect() -> None:
    figures = await bench.run(2, random.Random(1))
    assert [target.what for target in figures.targets if not target.met] == []


@promise("jobs.overtaken")
async def test_an_attempt_that_was_taken_for_dead_changes_nothing_any_more(shop: Workshop) -> None:
    task = await shop.enqueue("held")
    async with shop.worker() as frozen, shop.worker() as other:
        await shop.begun(task)
        first, second = (frozen, other) if '"event": "task_begun"' in frozen.log() else (other, frozen)
        assert first.process is not None
        first.process.send_signal(signal.SIGSTOP)
        await shop.begun(task, 2, AGAIN_S)
        await shop.open_gate(task)
        await shop.ended(task)
        first.process.send_signal(signal.SIGCONT)
        await first.says("task_overtaken")
        # And it works on: as a new worker, since the old one counts as dead.
        await second.end()
        assert (await shop.ended(await shop.enqueue("note"))).state == "completed"
    assert [row["attempt"] for row in await shop.trials("effect", task)] == [2]


@promise("jobs.lost")
async def test_a_task_that_procrastinate_forgot_is_run_all_the_same(shop: Workshop) -> None:
    task = await shop.enqueue("note")
    await shop.rows("DELETE FROM procrastinate_jobs")
    async with shop.worker() as worker:
        assert (await shop.ended(task)).state == "completed"
        assert "tasks_recovered" in worker.log()
    assert len(await shop.trials("effect", task)) == 1


@promise("jobs.lost")
async def test_a_worker_that_the_engine_forgot_begins_anew_and_loses_nothing(shop: Workshop) -> None:
    task = await shop.enqueue("held")
    async with shop.worker() as worker:
        await shop.begun(task)
        await shop.rows("DELETE FROM procrastinate_workers")
        await worker.says("worker_forgotten")
        await shop.begun(task, 2, AGAIN_S)
        await shop.open_gate(task)
        assert (await shop.ended(task)).state == "completed"
        assert worker.process is not None and worker.process.returncode is None
    assert len(await shop.trials("effect", task)) == 1


@promise("jobs.limits")
async def test_what_takes_far_too_long_or_kills_its_workers_is_given_up(shop: Workshop) -> None:
    deadly = await shop.enqueue("note")
    await shop.rows("UPDATE tasks SET attempts = 10")
    async with shop.worker():
        assert (await shop.ended(deadly)).error == (
            "It was begun 10 times, and its worker died or was stopped each time."
        )
        long = await shop.enqueue("held")
        await shop.begun(long)
        await shop.rows("UPDATE tasks SET started_at = started_at - interval '11 minutes' WHERE state = 'processing'")
        assert (await shop.ended(long)).error == "It took longer than 10 minutes."

        async def stopped() -> bool:
            return bool(await shop.rows("SELECT FROM procrastinate_jobs WHERE status = 'aborted'"))

        await until(stopped)
        await shop.open_gate(long)
        await shop.ended(await shop.enqueue("note"))
    assert await shop.trials("effect", long) == [] == await shop.trials("effect", deadly)


@promise("jobs.limits")
async def test_a_job_of_a_newer_version_waits_for_a_worker_that_knows_it(shop: Workshop) -> None:
    task = await shop.enqueue("note")
    async with shop.worker(module="control.worker") as older:
        await older.says("task_set_back")
        assert await older.end() == 0
    waiting = await shop.jobs.status(task)
    assert waiting is not None
    assert (waiting.state, waiting.error) == ("queued", "This version knows no such job.")


@promise("jobs.drain")
async def test_a_worker_told_to_end_finishes_what_it_can_and_leaves_the_rest_to_another(shop: Workshop) -> None:
    async with shop.worker() as worker:
        quick, slow = await shop.enqueue("held"), await shop.enqueue("held")
        await shop.begun(quick)
        await shop.begun(slow)
        assert worker.process is not None
        worker.process.send_signal(signal.SIGTERM)
        await worker.says("worker_drains")
        untouched = await shop.enqueue("note")
        await shop.open_gate(quick)
        assert (await shop.ended(quick)).attempts == 1
        assert await worker.end() == 0
    given_back = await shop.jobs.status(slow)
    assert given_back is not None and given_back.state == "queued"
    async with shop.worker():
        await shop.open_gate(slow)
        assert (await shop.ended(slow)).attempts == 2
        assert (await shop.ended(untouched)).state == "completed"
    assert len(await shop.trials("effect", slow)) == 1


@promise("jobs.postgres")
async def test_a_worker_outlives_postgres_and_nothing_is_lost(shop: Workshop) -> None:
    async with shop.worker() as worker:
        assert worker.process is not None
        held = await shop.enqueue("held")
        await shop.begun(held)
        tasks = [await shop.enqueue("note", at=datetime.now(UTC) + timedelta(seconds=2)) for _ in range(20)]
        await asyncio.to_thread(postgres_server.server().kill)
        await worker.says("worker_waits", 2)
        await asyncio.to_thread(postgres_server.server().start)
        await until(lambda: _reachable(shop))
        await shop.open_gate(held)
        for task in (*tasks, held):
            assert (await shop.ended(task, AGAIN_S)).state == "completed"
        assert worker.process.returncode is None
        assert "Traceback" not in worker.log()
    assert sorted(row["task"] for row in await shop.trials("effect")) == sorted((*tasks, held))


async def _reachable(shop: Workshop) -> bool:
    with suppress(Exception):
        return len(await shop.rows("SELECT 1")) == 1
    return False


@promise("jobs.schedule")
async def test_each_tick_is_one_task_whoever_keeps_the_schedule(shop: Workshop) -> None:
    now = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
    async with open_database(shop.url) as database:
        others = [PostgresJobs(database, shop.redis, CATALOGUE_OF_TESTS, SCHEDULE_OF_TESTS) for _ in range(4)]
        for hour in range(3):
            at = now + timedelta(hours=hour)
            new = await asyncio.gather(*(one.schedule(at) for one in (shop.jobs, *others) for _ in range(3)))
            assert sum(map(len, new)) == 1
            assert await shop.jobs.schedule(at + timedelta(minutes=59)) == []
    async with shop.worker(), shop.worker():
        for row in await shop.rows("SELECT id FROM tasks"):
            await shop.ended(row["id"])
    assert len(await shop.trials("effect")) == 3


@promise("jobs.clock")
async def test_a_clock_that_jumps_runs_no_tick_twice_and_makes_up_for_the_latest_alone(shop: Workshop) -> None:
    now = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
    hour, minute, year = timedelta(hours=1), timedelta(minutes=1), timedelta(days=365)
    for at, new in (
        (now, 1),
        (now - minute, 1),
        (now, 0),
        (now + 5 * hour, 1),
        (now, 0),
        (now + hour, 1),
        (now + year, 1),
        (now + hour, 0),
        (now + 2 * hour, 1),
        (now + year, 0),
    ):
        assert len(await shop.jobs.schedule(at)) == new, at
    assert len(await shop.rows("SELECT FROM tasks")) == 6


@promise("jobs.housekeeping")
async def test_workers_started_again_and_again_tidy_up_once_an_hour(shop: Workshop) -> None:
    await _leave_behind(shop)
    kept = await shop.enqueue("urgent", at=datetime.now(UTC) + timedelta(days=1))
    for _ in range(2):
        async with shop.worker(module="control.worker") as one, shop.worker(module="control.worker") as two:
            await until(lambda: _tidied(shop))
            assert [await one.end(), await two.end()] == [0, 0]
    ended = {row["kind"]: row for row in await shop.rows("SELECT * FROM tasks WHERE kind <> 'urgent'")}
    assert len(await shop.rows("SELECT FROM tasks WHERE kind <> 'urgent'")) == len(ended) == len(SCHEDULE)
    assert ended["clean_up"]["result"] == {"jobs": 1, "tasks": 1, "refused_facts": 1, "codes": 1}
    assert ended["expire"]["result"] == {"api_keys": 1, "browser_sessions": 1, "sign_in_links": 1}
    assert [row["why"] for row in await shop.rows("SELECT why FROM refused_facts")] == ["new"]
    [key] = await shop.rows("SELECT expires_at, revoked_at FROM api_keys WHERE name = 'over'")
    assert key["revoked_at"] == key["expires_at"]
    [entry] = await shop.rows("SELECT actor, action FROM audit")
    assert (entry["actor"], entry["action"]) == ("job:expire", "api_key.expired")
    left = await shop.jobs.status(kept)
    assert left is not None and left.state == "queued"


async def _leave_behind(shop: Workshop) -> None:
    """A task, job, refused fact, key, session, link and code that are over, and of most one that is not."""
    for statement in (
        "INSERT INTO tasks (id, kind, state, finished_at)"
        " VALUES (gen_random_uuid(), 'note', 'completed', now() - interval '8 days')",
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES ('q', 'old', 'succeeded'),"
        " ('q', 'new', 'failed')",
        "INSERT INTO procrastinate_events (job_id, type, at) SELECT id, 'succeeded',"
        " now() - interval '2 days' FROM procrastinate_jobs WHERE task_name = 'old'",
        "INSERT INTO procrastinate_events (job_id, type) SELECT id, 'failed'"
        " FROM procrastinate_jobs WHERE task_name = 'new'",
        "INSERT INTO refused_facts (at, why, entry)"
        " VALUES (now() - interval '91 days', 'old', ''), (now(), 'new', '')",
        "INSERT INTO api_keys (id, user_id, name, role, hash, created_by, expires_at)"
        " SELECT gen_random_uuid(), users.id, keys.name, 'viewer', keys.name::bytea, 't', now() + age FROM users,"
        " (VALUES ('over', interval '-1 day'), ('good', interval '1 day')) AS keys (name, age)",
        "INSERT INTO browser_sessions (id, user_id, hash, browser, expires_at)"
        " SELECT gen_random_uuid(), id, age::text::bytea, '', now() - age"
        " FROM users, (VALUES (interval '31 days'), (interval '1 day')) AS over (age)",
        "INSERT INTO sign_in_links (id, user_id, hash, created_by, expires_at)"
        " SELECT gen_random_uuid(), id, '', 't', now() - age"
        " FROM users, (VALUES (interval '31 days'), (interval '1 day')) AS over (age)",
        "INSERT INTO conversations (id) VALUES ('c')",
        "INSERT INTO codes (hash, conversation_id, user_id, expires_at) SELECT age::text::bytea, 'c', id, now() + age"
        " FROM users, (VALUES (interval '-1 second'), (interval '9 minutes')) AS over (age)",
    ):
        await shop.rows(statement)


async def _tidied(shop: Workshop) -> bool:
    rows = await shop.rows("SELECT state FROM tasks WHERE kind <> 'urgent'")
    return [row["state"] for row in rows] == ["completed"] * len(SCHEDULE)


@promise("jobs.start")
async def test_a_setting_that_keeps_the_worker_from_starting_is_named(shop: Workshop, tmp_path: Path) -> None:
    whole = shop.settings(tmp_path)
    newer = "INSERT INTO migrations VALUES (9000, 'of a newer version')"
    faults: list[tuple[dict[str, str], tuple[str, ...], str]] = [
        ({"DATABASE_URL": ""}, (), "DATABASE_URL is not set"),
        ({"DATABASE_URL": "postgresql://me:hush-hush@127.0.0.1:1/none"}, (), "127.0.0.1/none cannot be reached"),
        ({"DATABASE_URL": "postgresql://me:hush-hush@h/db?surprise=1"}, (), "surprise"),
        ({"DATABASE_URL": postgres_server.server().url("no_such_database")}, (), "no_such_database"),
        ({}, ("--queues", "crawling,slow"), "slow"),
        ({}, ("--at-once", "0"), "--at-once must be from 1"),
        ({}, ("--at-once", "many"), "--at-once"),
        ({}, ("--quues", "crawling"), "--quues is no option"),
    ]
    ends = await asyncio.gather(*(_refused(whole | change, words) for change, words, _ in faults))
    for (status, said), (_, _, named) in zip(ends, faults, strict=True):
        assert (status, named in said, "hush" in said, "Traceback" in said) == (2, True, False, False), said
        assert said.count("\n") == 0
    await shop.rows(newer)
    status, said = await _refused(whole, ())
    assert (status, "run the newer version" in said) == (2, True)


async def _refused(settings: dict[str, str], words: tuple[str, ...]) -> tuple[int | None, str]:
    """Status and words of a worker that does not start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control.worker", *words), env=os.environ | settings, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode, said.decode().strip()
