"""How far tasks are, told at once to whoever listens in Redis; the last word is in the task's row as well."""

import json
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from control.jobs.job import Task

log = structlog.get_logger(__name__)


def channel(task: UUID) -> str:
    """Where the news of one task are published."""
    return f"task:{task}"


async def tell(redis: Redis, task: Task) -> None:
    """Publishes how the task stands. With Redis away nobody hears it, and the work goes on."""
    news = {"task_id": str(task.id), "state": task.state, "progress": task.progress, "message": task.message}
    try:
        await redis.publish(channel(task.id), json.dumps(news, ensure_ascii=False))
    except (RedisError, OSError, TimeoutError) as error:
        log.debug("progress_untold", task=str(task.id), error=str(error))
