"""Tasks that run behind an answer, one at a time for each key, with an owner and a cap."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable

import structlog

log = structlog.get_logger(__name__)

MAX_TASKS = 1_024


class Background:
    """`left` and `failed` are the events that are logged for what is not begun at the cap, and for what fails:
    the watcher finds the call of either again."""

    def __init__(self, name: str, *, left: str, failed: str) -> None:
        self._name = name
        self._left = left
        self._failed = failed
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, key: Hashable, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Nothing happens when the same is under way."""
        if key in self._tasks:
            return
        if len(self._tasks) >= MAX_TASKS:
            log.warning(self._left, under_way=len(self._tasks))
            return
        task = self._tasks[key] = asyncio.create_task(work(), name=f"{self._name} {key}")
        task.add_done_callback(lambda done: self._settled(key, done))

    def _settled(self, key: Hashable, done: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error(self._failed, key=str(key), exc_info=error)

    async def close(self) -> None:
        """Gives up what is under way: another process, or the next start, finds it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
