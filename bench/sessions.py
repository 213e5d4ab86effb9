"""Conversations in Postgres: `python -m bench.sessions` measures reading and adding beside a million items."""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from agents import TResponseInputItem

from bench.figures import Figures, Spread, Target, show
from control.conversations.log import QUERIES
from control.conversations.session import DatabaseSession
from control.db.migrate import migrate
from control.db.pool import Database, open_database
from tests.postgres_server import PostgresServer

ITEMS, CONVERSATIONS = 1_000_000, 100_000
READS, WRITERS, WRITES = 5_000, 8, 500
MANY_WRITERS, ITEMS_EACH = 50, 100
READ_MS, APPEND_MS = 5.0, 10.0
# In the order in which a year of calls would have written them: conversations beside one another.
_FILL = """
INSERT INTO events (conversation_id, seq, id, at, source, kind, body)
SELECT 'c' || n % $2, n / $2 + 1, gen_random_uuid(), now(), 'agent', 'item',
    jsonb_build_object('item', jsonb_build_object('role', 'user', 'content', repeat('word ', 5 + n % 40)),
        'interrupted', false, 'offset_s', null, 'latency', '{}'::jsonb)
FROM generate_series(0, $1 - 1) AS n
"""
_HEADS = "INSERT INTO conversations (id, last_seq) SELECT 'c' || n, $1 FROM generate_series(0, $2 - 1) AS n"
_FILL_S = 600.0


async def run(items: int, conversations: int) -> Figures:
    """Fills a database of its own, and reads and adds."""
    figures = Figures("sessions", {"items": items, "conversations": conversations})
    server = PostgresServer(durable=True)
    try:
        await asyncio.to_thread(server.start)
        async with open_database(server.url("postgres"), size=WRITERS + 2) as database:
            await _fill(database, items, conversations)
            await _measure(figures, database, conversations)
    finally:
        await asyncio.to_thread(server.close)
    return figures


async def _fill(database: Database, items: int, conversations: int) -> None:
    async with database.session() as connection:
        await migrate(connection)
        await connection.execute(_HEADS, items // conversations, conversations, timeout=_FILL_S)
        await connection.execute(_FILL, items, conversations, timeout=_FILL_S)
        await connection.execute("VACUUM (ANALYZE)", timeout=_FILL_S)


async def _measure(figures: Figures, database: Database, conversations: int) -> None:
    def session() -> DatabaseSession:
        return DatabaseSession(f"c{random.randrange(conversations)}", database)

    reads = [await _timed(lambda: session().get_items(limit=30)) for _ in range(READS)]

    async def write() -> list[float]:
        return [await _timed(lambda: session().add_items(_turn())) for _ in range(WRITES)]

    writes = [one for part in await asyncio.gather(*(write() for _ in range(WRITERS))) for one in part]
    read = figures.spreads["get_items(limit=30)"] = Spread.of(reads)
    written = figures.spreads[f"add_items of two, {WRITERS} writers"] = Spread.of(writes)
    figures.counts["one session, items in order"] = await _one_session(database)
    plans = await _plans(database)
    figures.counts["plans"] = plans
    figures.targets = [
        Target("get_items(limit=30), p95 in ms", _ms(read), READ_MS),
        Target("add_items, p95 in ms", _ms(written), APPEND_MS),
        Target(f"{MANY_WRITERS} writers of {ITEMS_EACH}: items", figures.counts["one session, items in order"], 5_000,
               at_least=True),
        Target("plans without an index", sum("Seq Scan" in plan for plan in plans.values()), 0),
    ]  # fmt: skip


async def _one_session(database: Database) -> int:
    """How many items stand in one session that 50 wrote to, each in its own order, counted once."""
    name = f"shared-{uuid4()}"

    async def write(writer: int) -> None:
        for at in range(ITEMS_EACH):
            await DatabaseSession(name, database).add_items([_message(f"{writer} {at}")])

    await asyncio.gather(*(write(writer) for writer in range(MANY_WRITERS)))
    found = [str(cast(dict[str, Any], one)["content"]) for one in await DatabaseSession(name, database).get_items()]
    for writer in range(MANY_WRITERS):
        own = [text for text in found if text.startswith(f"{writer} ")]
        if own != [f"{writer} {at}" for at in range(ITEMS_EACH)]:
            return 0
    return len(set(found))


async def _plans(database: Database) -> dict[str, str]:
    """The scan that each query of a session chooses."""
    asked: dict[str, tuple[object, ...]] = {
        "latest_items": ("c7", 30, None),
        "read_events": ("c7", 0),
        "lock_conversations": (["c7"],),
        "known_ids": ([uuid4()],),
    }
    found = {}
    async with database.session() as connection:
        for name, args in asked.items():
            rows = await connection.fetch(f"EXPLAIN {QUERIES[name]}", *args)
            found[name] = next(row["QUERY PLAN"].strip() for row in rows if "Scan" in row["QUERY PLAN"])
    return found


def _ms(spread: Spread | None) -> float | None:
    return None if spread is None else spread.p95 * 1000


def _message(text: str) -> TResponseInputItem:
    return cast(TResponseInputItem, {"role": "user", "content": text})


def _turn() -> list[TResponseInputItem]:
    return [_message("Where is my parcel?"), _message("On its way.")]


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--conversations", type=int, default=CONVERSATIONS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    told = parser.parse_args()
    show(asyncio.run(run(told.items, told.conversations)), told.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
