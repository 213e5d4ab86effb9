"""An operator's pause reaches the agent by a key in Redis, and the agent answers with a fact."""

import asyncio
import time
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from control.db.pool import Connection, Database
from control.errors import Conflict, Unavailable
from control.recordings import recordings
from control.recordings.recordings import Recording
from switchboard import stream
from switchboard.recordings import WANTED_TTL_S, Wanted

ANSWER_S = 5.0
POLL_S = 0.1


async def steer(database: Database, redis: Redis, call_id: UUID, days: int, *, paused: bool) -> Recording:
    """The recording once its agent has done it.

    Raises `NotFound`, `Conflict` when nothing is recorded any more, `Unavailable` when Redis is away or no agent
    answers: in that case it stays asked for.
    """
    try:
        wanted = Wanted(paused=paused, at=time.time())
        await redis.set(stream.recording_key(call_id), wanted.model_dump_json(), ex=WANTED_TTL_S)
    except (RedisError, OSError, TimeoutError):
        raise Unavailable(
            "Redis does not answer, so that the agent may not be told: look at the recording's state, and ask again."
        ) from None
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        async with database.session() as connection:
            found = await live(connection, call_id, days)
        if ("operator" in found.paused_by) if paused else not found.paused_by:
            return found
        await asyncio.sleep(POLL_S)
    raise Unavailable("The call's agent has not answered yet: it stays asked for, look at the recording's state.")


async def live(connection: Connection, call_id: UUID, days: int) -> Recording:
    """The recording of a call that runs. Raises `NotFound`, and `Conflict` for one of a call that is over."""
    found = await recordings.of_call(connection, call_id, days)
    if not found.live:
        raise Conflict("The call is over: nothing of it is recorded any more.")
    return found
