"""The Redis stream of facts and the names of all keys in Redis."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import ValidationError
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from switchboard import fact
from switchboard.cancellation import cancellable

STREAM = "facts"
GROUP = "recorder"
FIELD = "fact"
# The stream is trimmed only behind what is recorded; beyond this length writers keep their facts in files
# and an alarm is raised.
MAX_LENGTH = 200_000

# The live calls, text by call id, so that each is closed once it ended.
LIVE_CALLS = "webhook:calls"
# The workers that beat, or did until lately.
WORKERS = "worker:all"
BEAT_TTL_S = 3
SEEN_TTL_S = 15 * 60
DISPATCH_TTL_S = 10
# What an agent that takes a call over has to know, and how much of it is kept.
CARRIED = frozenset({"agent_joined", "call_answered", "item", "recording_paused", "recording_resumed"})
ITEMS_KEPT = 400
ITEMS_TTL_S = 3600


def persona_key(number: str) -> str:
    return f"persona:{number}"


def seen_key(event_id: str) -> str:
    return f"webhook:seen:{event_id}"


def dispatch_key(call_id: UUID, attempt: int) -> str:
    return f"dispatch:{call_id}:{attempt}"


def taken_key(call_id: UUID, attempt: int) -> str:
    return f"dispatch:{call_id}:{attempt}:taken"


def beat_key(call_id: UUID) -> str:
    return f"call:{call_id}:beat"


def worker_key(worker_id: str) -> str:
    return f"worker:{worker_id}:beat"


def items_key(call_id: UUID) -> str:
    return f"call:{call_id}:items"


def recording_key(call_id: UUID) -> str:
    """What operators want of the call's recording, as `switchboard.recordings.Wanted`."""
    return f"call:{call_id}:recording"


def connect(url: str, *, timeout_s: float = 0.5) -> Redis:
    """A client whose every command fails after `timeout_s` instead of waiting: callers decide what then."""
    pool = ConnectionPool.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    pool.connection_class = cancellable(pool.connection_class)
    return Redis.from_pool(pool)


def write(one: fact.Fact) -> dict[str, str]:
    """A fact as the fields of a stream entry."""
    return {FIELD: one.model_dump_json()}


def read(fields: dict[str, str]) -> fact.Fact | None:
    """The fact in a stream entry; None for anything else that was put there."""
    text = fields.get(FIELD, "")
    if not text or len(text) > fact.MAX_BYTES:
        return None
    try:
        return fact.Fact.model_validate_json(text)
    except ValidationError:
        return None


async def add(redis: Redis, facts: Sequence[fact.Fact]) -> None:
    """Appends facts in order, all or none, and keeps what another agent would have to know of their calls.

    Raises redis errors, and `StreamFull` beyond the cap, with nothing appended.
    """
    if not facts:
        return
    # Asked before: a writer tries again and again, and each try must not make the stream longer.
    length: int = await redis.execute_command("XLEN", STREAM)  # type: ignore[no-untyped-call]
    if length > MAX_LENGTH:
        raise StreamFull(f"the stream of facts holds {length} entries: is the control service running?")
    async with redis.pipeline(transaction=True) as pipe:
        for one in facts:
            pipe.xadd(STREAM, write(one))  # type: ignore[arg-type]
            _carry(pipe, one)
        await pipe.execute()


def _carry(pipe: Pipeline, one: fact.Fact) -> None:
    if one.call_id is None:
        return
    key = items_key(one.call_id)
    if one.kind == "call_ended":
        pipe.delete(key)
    elif one.kind in CARRIED:
        pipe.rpush(key, one.model_dump_json())
        pipe.ltrim(key, -ITEMS_KEPT, -1)
        pipe.expire(key, ITEMS_TTL_S)


async def carried(redis: Redis, call_id: UUID) -> list[fact.Fact]:
    """What is kept of a call for an agent that takes it over, each fact once. Raises redis errors."""
    texts: list[str] = await redis.execute_command("LRANGE", items_key(call_id), -ITEMS_KEPT, -1)  # type: ignore[no-untyped-call]
    found = (read({FIELD: text}) for text in texts)
    return list({one.id: one for one in found if one is not None and one.call_id == call_id}.values())


class StreamFull(Exception):
    """Nobody records facts; they are kept."""
