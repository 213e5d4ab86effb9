"""The Redis stream of facts and the names of all keys in Redis."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from switchboard import fact

STREAM = "facts"
GROUP = "recorder"
FIELD = "fact"
# The stream is trimmed only behind what is recorded; beyond this length writers keep their facts in files
# and an alarm is raised.
MAX_LENGTH = 200_000

BEAT_TTL_S = 3
SEEN_TTL_S = 15 * 60
DISPATCH_TTL_S = 10


def persona_key(number: str) -> str:
    return f"persona:{number}"


def seen_key(event_id: str) -> str:
    return f"webhook:seen:{event_id}"


def dispatch_key(call_id: UUID, attempt: int) -> str:
    return f"dispatch:{call_id}:{attempt}"


def beat_key(call_id: UUID) -> str:
    return f"call:{call_id}:beat"


def connect(url: str, *, timeout_s: float = 0.5) -> Redis:
    """A client whose every command fails after `timeout_s` instead of waiting: callers decide what then."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


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
    """Appends facts in order, all or none. Raises redis errors, and `StreamFull` beyond the cap."""
    if not facts:
        return
    async with redis.pipeline(transaction=True) as pipe:
        pipe.xlen(STREAM)
        for one in facts:
            pipe.xadd(STREAM, write(one))  # type: ignore[arg-type]
        length, *_ids = await pipe.execute()
    if length > MAX_LENGTH:
        raise StreamFull(f"the stream of facts holds {length} entries: is the control service running?")


class StreamFull(Exception):
    """Nobody records facts; they are kept."""
