"""What waits for Redis or Postgres can be ended, with real ones."""

import asyncio
import contextlib

from redis.asyncio import Redis

from control.db.pool import Database, DatabaseAway, open_database
from switchboard import stream
from tests import postgres_server
from tests.facts import until
from tests.promises import promise
from tests.redis_server import RedisServer

# More steps of the loop than a command takes.
STEPS = 60
LIMIT_S = 5.0


async def _asks_for_ever(redis: Redis) -> None:
    while True:
        async with redis.pipeline(transaction=True) as pipe:
            pipe.xlen(stream.STREAM)
            await pipe.execute()


@promise("redis.cancelled")
async def test_a_task_that_asks_redis_ends_in_whichever_step_it_is_cancelled(redis: RedisServer) -> None:
    client = stream.connect(redis.url)
    try:
        await client.xlen(stream.STREAM)
        for steps in range(STEPS):
            task = asyncio.create_task(_asks_for_ever(client))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            # One that lost the cancellation goes on; one that is cancelled again would hide it.
            done, _ = await asyncio.wait([task], timeout=LIMIT_S)
            assert done and task.cancelled(), f"cancelled after {steps} steps of the loop, it went on"
            assert await client.xlen(stream.STREAM) == 0
    finally:
        await client.aclose()


async def _tries_for_ever(database: Database) -> None:
    while True:
        with contextlib.suppress(DatabaseAway):
            async with database.transaction() as connection:
                await connection.execute("SELECT pg_sleep(600)")


@promise("postgres.cancelled")
async def test_a_task_that_is_cancelled_while_postgres_dies_ends() -> None:
    async with postgres_server.fresh_database() as url, open_database(url) as database:
        task = asyncio.create_task(_tries_for_ever(database))

        async def asked() -> bool:
            return bool(
                await postgres_server.query(url, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            )

        await until(asked)
        task.cancel()
        # Before the task runs again: so its rolling back meets a dead server.
        postgres_server.server().kill()
        try:
            done, _ = await asyncio.wait([task], timeout=LIMIT_S)
            assert done and task.cancelled()
        finally:
            await asyncio.to_thread(postgres_server.server().start)
