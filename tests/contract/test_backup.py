"""`switchboard backup` and `restore` against a real Postgres of the user's own."""

import asyncio
import json
import os
import signal
import sys
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from cli import archive
from control.access import Actor, users
from control.access.users import NewUser
from control.conversations.log import PostgresLog
from control.db.migrate import migrate
from control.db.pool import open_database
from control.jobs.engine import PostgresJobs
from switchboard import outbox, stream
from switchboard.fact import shared_id
from tests.e2e.stack import LocalStack
from tests.facts import a_call, until
from tests.job_worker import JobWorker
from tests.postgres_server import fresh_database, query
from tests.promises import promise

NO_REDIS = "redis://127.0.0.1:1/0"


@dataclass(frozen=True)
class Installation:
    """A home with a database; no process of Switchboard runs."""

    home: Path
    url: str

    async def run(self, *words: str) -> tuple[int, str]:
        """Status and standard error of `switchboard` with these words."""
        done = await asyncio.to_thread(LocalStack(self.home, {"DATABASE_URL": self.url}).run, *words)
        return done.returncode, done.stderr

    async def tables(self) -> dict[str, list[str]]:
        """All rows of all tables, as text in order."""
        names = await query(self.url, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
        return {
            one["name"]: [
                row["row"]
                for row in await query(self.url, f"SELECT t::text AS row FROM {one['name']} t ORDER BY 1")  # noqa: S608
            ]
            for one in names
        }


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Installation]:
    """One with an ended call and a live one on record, and facts of that in a file."""
    ended, live = a_call(uuid4()), a_call(uuid4())
    async with fresh_database() as url:
        async with open_database(url) as database:
            async with database.session() as connection:
                await migrate(connection)
                await users.make(connection, Actor("test", None), NewUser("ann", "Ann", "operator"))
            await PostgresLog(database).append([*ended, *live[:5]])
        home = tmp_path / "kept"
        outbox.folder(home).mkdir(parents=True)
        lines = "".join(f"{one.model_dump_json()}\n" for one in live[:8])
        (outbox.folder(home) / f"{live[0].call_id}-1-J.jsonl").write_text(lines)
        (home / "admin.key").write_text("the admin's")
        (home / "keys.json").write_text("{}")
        yield Installation(home, url)


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[Installation]:
    async with fresh_database() as url:
        yield Installation(tmp_path / "fresh", url)


@promise("backup.restored")
async def test_what_was_backed_up_is_restored_whole(kept: Installation, fresh: Installation, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    assert await kept.run("backup", str(file)) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert await fresh.run("restore", str(file)) == (0, "")
    assert await fresh.tables() == await kept.tables()
    assert len((await fresh.tables())["users"]) == 2
    for name in ("admin.key", "keys.json"):
        assert (fresh.home / name).read_text() == (kept.home / name).read_text()
        assert (fresh.home / name).stat().st_mode & 0o777 == 0o600
    [facts, ends] = sorted(outbox.folder(fresh.home).iterdir(), key=lambda path: path.name.startswith("restored"))
    assert facts.read_bytes() == (outbox.folder(kept.home) / facts.name).read_bytes()
    [end] = outbox.facts_in(ends)
    live = outbox.facts_in(facts)[0].call_id
    assert live is not None
    assert (end.call_id, end.id) == (live, shared_id(live, "call_ended", 0))
    assert end.body.model_dump()["reason"] == "not_in_backup"


@promise("backup.jobs")
async def test_jobs_that_waited_or_ran_are_run_where_they_are_restored(
    kept: Installation, fresh: Installation, tmp_path: Path
) -> None:
    async with open_database(kept.url) as database:
        jobs = PostgresJobs(database, stream.connect(NO_REDIS))
        async with database.transaction() as connection:
            tasks = [await jobs.enqueue(connection, "clean_up") for _ in range(2)]
        async with database.session() as connection:
            # One of them is at work, at a worker that will never be heard of again.
            worker = await connection.fetchval("SELECT worker_id FROM procrastinate_register_worker_v1()")
            assert await connection.fetchval("SELECT id FROM procrastinate_fetch_job_v2(NULL, $1)", worker)
    file = tmp_path / "backup.zip"
    assert await kept.run("backup", str(file)) == (0, "")
    assert await fresh.run("restore", str(file)) == (0, "")
    settings = {"SWITCHBOARD_HOME": str(fresh.home), "DATABASE_URL": fresh.url, "REDIS_URL": NO_REDIS}
    working = JobWorker(fresh.home, settings, "control.worker")

    async def done() -> bool:
        rows = await query(fresh.url, "SELECT id FROM tasks WHERE state = 'completed' AND attempts = 1")
        return {*tasks} <= {row["id"] for row in rows}

    try:
        await working.start()
        await until(done)
    finally:
        await working.end(signal.SIGKILL)


@promise("backup.cut_off")
async def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(kept: Installation, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    connect: Any = asyncpg.connect
    connection = await connect(kept.url)
    async with connection.transaction():
        # pg_dump waits for this table, so that the end comes in the middle.
        await connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        environment = LocalStack(kept.home, {"DATABASE_URL": kept.url}).environ()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "backup", str(file)), env=environment
        )

        async def dumping() -> bool:
            waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"
            return bool(await query(kept.url, waiting))

        await until(dumping)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    await connection.close()
    assert _archives(tmp_path) == ["backup.zip.part"]
    status, said = await kept.run("restore", str(tmp_path / "backup.zip.part"), "--replace")
    assert (status, said.count("\n")) == (2, 1)
    assert await kept.run("backup", str(file)) == (0, "")
    assert _archives(tmp_path) == ["backup.zip"]


@promise("backup.refused")
async def test_a_restore_that_would_do_harm_is_refused_in_one_sentence(kept: Installation, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    assert await kept.run("backup", str(file)) == (0, "")
    before = await kept.tables()
    newer, short, none = tmp_path / "newer.zip", tmp_path / "short.zip", tmp_path / "none.zip"
    _changed(
        file, newer, archive.MANIFEST, lambda text: json.dumps({**json.loads(text), "migration": 9_000}).encode()
    )
    short.write_bytes(file.read_bytes()[:-100])
    none.write_bytes(b"no backup\n")
    for words, says in (
        ([str(file)], "is not empty (2 calls"),
        ([str(newer), "--replace"], "restore it with the newer version"),
        ([str(short), "--replace"], "was cut short"),
        ([str(none), "--replace"], "is no backup"),
        ([str(tmp_path / "nowhere.zip")], "No such file"),
    ):
        status, said = await kept.run("restore", *words)
        assert (status, said.count("\n")) == (2, 1), said
        assert says in said
    async with open_database(kept.url) as control, control.session():
        status, said = await kept.run("restore", str(file), "--replace")
        assert (status, said.count("\n")) == (2, 1), said
        assert "in use by 1 other connection" in said
    status, said = await kept.run("backup", str(file))
    assert (status, said) == (2, f"switchboard: {file} is there already: name a new file.\n")
    assert await kept.tables() == before


@promise("backup.all_or_nothing")
async def test_a_restore_that_fails_half_way_changes_nothing(
    kept: Installation, fresh: Installation, tmp_path: Path
) -> None:
    file, broken = tmp_path / "backup.zip", tmp_path / "broken.zip"
    assert await kept.run("backup", str(file)) == (0, "")
    # Whole as an archive; what pg_dump wrote in it ends too early.
    _changed(file, broken, archive.DATABASE, lambda dumped: dumped[: len(dumped) * 3 // 4])
    before = await kept.tables()
    for installation, words in ((kept, ["--replace"]), (fresh, [])):
        status, said = await installation.run("restore", str(broken), *words)
        assert (status, said.count("\n")) == (2, 1), said
        assert said.startswith("switchboard: The database is as it was, as restoring failed: ")
    assert await kept.tables() == before
    assert await fresh.tables() == {}
    assert await kept.run("restore", str(file), "--replace") == (0, "")
    assert await kept.tables() == before


def _archives(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.zip*")]


def _changed(file: Path, into: Path, name: str, change: Any) -> None:
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(into, "w") as new:
        for one in old.namelist():
            content = old.read(one)
            new.writestr(one, change(content) if one == name else content)
