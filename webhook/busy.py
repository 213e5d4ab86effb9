"""Calls that no worker has room for: a caller who never had an agent hears busy, one who had keeps trying."""

import asyncio
import contextlib
from collections.abc import Callable
from uuid import UUID

import structlog

from webhook.arrivals import Arrivals
from webhook.attempts import Attempts, Progress
from webhook.background import Background
from webhook.refusal import Refusals
from webhook.rooms import LiveKitAway
from webhook.scene import Scene, Scenes
from webhook.store import Store

log = structlog.get_logger(__name__)


class Busy:
    def __init__(
        self, scenes: Scenes, store: Store, arrivals: Arrivals, attempts: Attempts, refusals: Refusals
    ) -> None:
        self._scenes = scenes
        self._store = store
        self._arrivals = arrivals
        self._attempts = attempts
        self._refusals = refusals
        self._background = Background("busy", left="refusal_left_to_watcher", failed="busy_failed")

    async def accepted(self, call_id: UUID, attempt: int) -> None:
        """A worker took the job."""
        self._attempts.of(call_id).accepted(attempt, self._attempts.clock())
        # A worker that is full may tell another process than this one.
        await self._store.took(call_id, attempt)

    def refused(self, call_id: UUID, attempt: int, worker: str) -> None:
        """A worker is full; what follows when no other takes the job happens behind."""
        progress = self._attempts.of(call_id)
        progress.refused(attempt, self._attempts.clock(), worker)
        self._background.start(call_id, lambda: self._settle(call_id, progress))

    async def close(self) -> None:
        await self._background.close()

    async def _settle(self, call_id: UUID, progress: Progress) -> None:
        await settled(progress, self._store, self._attempts.clock)
        try:
            await self._decide(call_id, progress.refused_to)
        except LiveKitAway as error:
            log.warning("busy_waits", call_id=str(call_id), error=str(error))

    async def _decide(self, call_id: UUID, attempt: int) -> None:
        scene = await self._scenes.of(call_id)
        if scene is None or scene.latest != attempt or await self._store.was_taken(call_id, attempt):
            return
        if any(self._attempts.current(call_id, one) for one in scene.agents):
            return
        if await self._is_taken_up(scene):
            await self._try_again(scene, attempt)
        elif await self._refusals.refuse(scene.call, attempt, "busy"):
            log.info("call_refused", call_id=str(call_id), reason="busy")

    async def _is_taken_up(self, scene: Scene) -> bool:
        if scene.progress.is_taken_up or scene.active:
            return True
        # A phone that was served is active; of a browser's later agents nobody can tell, with Redis away, that
        # there was none before.
        if scene.latest > 1 and scene.call.channel != "sip":
            return True
        return await self._store.had_agent(scene.call.call_id)

    async def _try_again(self, scene: Scene, attempt: int) -> None:
        early = scene.progress.again_at() - self._attempts.clock()
        if early > 0:
            await asyncio.sleep(early)
        if scene.progress.sent_to == attempt:
            self._arrivals.start(scene.call, attempt + 1, why="refused")


async def settled(progress: Progress, store: Store, clock: Callable[[], float]) -> None:
    """Returns when every worker that beats has refused, or none has told anything for a while."""
    while (wait := progress.refusal_settled_at - clock()) > 0:
        progress.refusal.clear()
        beating = await store.workers()
        # Of workers that told another process, this one knows nothing, and waits.
        if beating and beating <= progress.refused_by:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await progress.refusal.wait()
