"""Where a text is found in an installation: every column of every table, every key of Redis, every file."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from control.db.pool import open_database
from control.jobs.engine import PostgresJobs
from switchboard import stream
from switchboard.fact import CallArrived, Fact, Item, MessageTaken, Source
from switchboard.outbound import Outbound
from switchboard.outbox import folder
from switchboard.shipper import Shipper
from tests.control_service import INTERNAL_TOKEN, ControlService
from tests.facts import a_call, said, until
from tests.job_worker import JobWorker
from tests.postgres_server import query

COLUMNS = """
SELECT c.table_name AS table, c.column_name AS column, c.data_type AS type FROM information_schema.columns AS c
JOIN information_schema.tables AS t USING (table_schema, table_name)
WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema') AND t.table_type = 'BASE TABLE'
"""


async def in_tables(url: str, text: str) -> list[str]:
    """`table.column` of each that holds the text."""
    columns = await query(url, COLUMNS)
    assert len({one["table"] for one in columns}) > 20
    found = []
    for one in columns:
        value = f"encode(\"{one['column']}\", 'escape')" if one["type"] == "bytea" else f'"{one["column"]}"::text'
        rows = await query(url, f'SELECT 1 FROM "{one["table"]}" WHERE strpos({value}, $1) > 0 LIMIT 1', text)  # noqa: S608
        found += [f"{one['table']}.{one['column']}"] * len(rows)
    return found


async def rows_with(url: str, text: str) -> dict[str, list[str]]:
    """All rows that hold the text, whole, by table."""
    tables = {name.partition(".")[0] for name in await in_tables(url, text)}
    return {
        table: [
            row["row"]
            for row in await query(
                url,
                f'SELECT t::text AS row FROM "{table}" AS t WHERE strpos(t::text, $1) > 0 ORDER BY 1',  # noqa: S608
                text,
            )
        ]
        for table in sorted(tables)
    }


async def in_redis(redis: Redis, text: str) -> list[str]:
    """The keys that hold the text, or are called so."""
    read: Mapping[str, tuple[str, ...]] = {
        "string": ("GET",),
        "hash": ("HGETALL",),
        "list": ("LRANGE", "0", "-1"),
        "set": ("SMEMBERS",),
        "zset": ("ZRANGE", "0", "-1"),
        "stream": ("XRANGE", "-", "+"),
    }
    found = []
    async for key in redis.scan_iter("*"):
        kind = str(await redis.type(key))
        command, *more = read[kind]
        held: Any = await redis.execute_command(command, key, *more)  # type: ignore[no-untyped-call]
        found += [key] * (text in f"{key} {held}")
    return found


def in_files(text: str, *folders: Path) -> list[str]:
    """The files that hold the text, or are called so."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if text in path.name or text.encode() in path.read_bytes()]


class Traces:
    """An installation with a job worker in the same home, as on one machine."""

    def __init__(self, control: ControlService, redis: Redis) -> None:
        self.control = control
        self.redis = redis
        self.url = control.database_url
        names = ("SWITCHBOARD_HOME", "DATABASE_URL", "REDIS_URL")
        self.worker = JobWorker(control.home, {name: control.settings[name] for name in names}, "control.worker")

    async def of(self, *texts: str) -> list[str]:
        """Each place where one of the texts is found."""
        found = []
        for text in texts:
            found += await in_tables(self.url, text)
            found += await in_redis(self.redis, text)
            found += in_files(text, self.control.home, self.control.redis.folder)
        return found

    async def finished(self, receipt: str, *, refused: int = 0) -> dict[str, Any]:
        """The receipt, when all is gone, and so many facts that came again were refused."""
        found: dict[str, Any] = {}

        async def whole() -> bool:
            answer = await self.control.request("GET", f"/receipts/{receipt}")
            if answer.status != 200:
                return False
            found.update(answer.body)
            return bool(found["state"] == "forgotten" and found["went"].get("refused", 0) >= refused)

        await until(whole)
        return found

    async def forget(self, path: str) -> dict[str, Any]:
        """The receipt of a request that is done."""
        answer = await self.control.request("DELETE", path)
        assert answer.status == 202, answer
        assert answer.body["state"] == "forgetting"
        return await self.finished(answer.body["receipt_id"])

    @asynccontextmanager
    async def shipper(self) -> AsyncIterator[Shipper]:
        """That of a webhook service in the same home."""
        host = self.control.base.removeprefix("http://")
        async with Outbound.opened([host]) as outbound:
            yield Shipper(self.control.home, self.redis, outbound, self.control.base, INTERNAL_TOKEN)

    async def shipped(self, path: Path) -> None:
        """Returns when the file is gone, as those of ended processes go."""
        async with self.shipper() as shipper:

            async def gone() -> bool:
                shipper._not_before.clear()
                await shipper.sweep()
                return not await asyncio.to_thread(path.exists)

            await until(gone)

    @asynccontextmanager
    async def jobs(self) -> AsyncIterator[PostgresJobs]:
        async with open_database(self.url) as database:
            yield PostgresJobs(database, self.redis)

    async def recorded(self) -> None:
        """Returns when nothing waits on the stream."""

        async def empty() -> bool:
            return int(await self.redis.xlen(stream.STREAM)) == 0

        await until(empty)


def call_of(call_id: Any, number: str, word: str, *, ended: bool = True) -> list[Fact]:
    """A call by this number with the word in all that can be said, called, taken and named."""
    arrived, *others = a_call(call_id)
    assert isinstance(arrived.body, CallArrived)
    body = arrived.body.model_copy(update={"caller": number, "headers": {"x-name": f"{word} of the header"}})
    conversation = str(call_id)
    call: dict[str, Any] = {"type": "function_call", "call_id": "f", "name": f"find_{word}", "arguments": f'"{word}"'}
    output: dict[str, Any] = {"type": "function_call_output", "call_id": "f", "output": f"{word} is 7"}
    bodies: list[Any] = [
        Item(item=call),
        Item(item=output),
        MessageTaken(name=word, number=number, text=f"from {word}"),
    ]
    more = [
        Fact(conversation_id=conversation, call_id=call_id, at=arrived.at, source=Source.AGENT, body=one)
        for one in bodies
    ]
    words = said(conversation, f"My name is {word}", call_id=call_id)
    facts = [arrived.model_copy(update={"body": body}), *others[:-1], words, *more]
    return [*facts, others[-1]] if ended else facts


@asynccontextmanager
async def installation(control: ControlService, *, working: bool = True) -> AsyncIterator[Traces]:
    redis = stream.connect(control.redis.url, timeout_s=5)
    traces = Traces(control, redis)
    try:
        if working:
            await traces.worker.start()
        yield traces
    finally:
        if traces.worker.process is not None:
            await traces.worker.end(signal.SIGKILL)
        await redis.aclose()


def written(traces: Traces, name: str, facts: list[Fact]) -> Path:
    """A file of facts whose writer has ended."""
    path = folder(traces.control.home) / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{one.model_dump_json()}\n" for one in facts))
    return path
