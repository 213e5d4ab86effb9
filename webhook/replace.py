"""Agents that are lost are replaced at once, by whichever process is told; agents that are out of date are removed.

Whatever is told again, or to two processes, is done once: a lost attempt is a mark that stays, and what LiveKit
lists says whether the next one was sent.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Literal
from uuid import UUID

import structlog

from switchboard.fact import AgentLost
from webhook.arrivals import Arrivals
from webhook.attempts import Attempts
from webhook.background import Background
from webhook.dispatch import Errand
from webhook.journal import Journal
from webhook.rooms import LiveKitAway, Rooms
from webhook.scene import Scene, Scenes
from webhook.survey import Agent

log = structlog.get_logger(__name__)

Reason = Literal["died", "hung", "left", "silent"]

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
# Then the watcher goes on with it.
TRIES_FOR_S = 60.0


class Replacements:
    def __init__(
        self, rooms: Rooms, scenes: Scenes, arrivals: Arrivals, attempts: Attempts, journal: Journal
    ) -> None:
        self._rooms = rooms
        self._scenes = scenes
        self._arrivals = arrivals
        self._attempts = attempts
        self._journal = journal
        self._background = Background("replacement", left="replacement_left_to_watcher", failed="replacement_failed")

    def lost(self, call_id: UUID, attempt: int, reason: Reason, job: str = "") -> None:
        """The agent of this attempt is dead: another one is sent, behind, while its caller is there.

        Without Redis two may be sent as one attempt: then the dead one is that of this `job`, and while the other
        lives it serves the call.
        """
        progress = self._attempts.of(call_id)
        if not job:
            progress.lost(attempt, self._attempts.clock())
        elif job not in progress.dead_jobs:
            progress.dead_jobs.append(job)
        self._background.start((call_id, attempt, job), lambda: self._replace(call_id, attempt, reason, job))

    def joined(self, agent: Agent) -> None:
        """An agent came: removes it, behind, when it is not the newest that was sent."""
        call_id = agent.call_id
        if call_id is not None:
            self._background.start(agent.identity, lambda: self._judge(agent, call_id))

    def remove(self, agent: Agent) -> None:
        """Removes, behind, an agent that is out of date."""
        self._background.start(agent.identity, lambda: self._remove_one(agent))

    async def close(self) -> None:
        await self._background.close()

    async def _replace(self, call_id: UUID, attempt: int, reason: Reason, job: str) -> None:
        since, pause = time.monotonic(), FIRST_PAUSE_S
        while time.monotonic() - since < TRIES_FOR_S:
            try:
                if await self._once(call_id, attempt, reason, job, since):
                    return
            except LiveKitAway as error:
                log.warning("replacement_waits", call_id=str(call_id), attempt=attempt, error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _once(self, call_id: UUID, attempt: int, reason: Reason, job: str, since: float) -> bool:
        """Whether nothing is left to do. Raises `LiveKitAway`."""
        scene = await self._scenes.of(call_id)
        if scene is not None and job and _another_lives(scene, attempt):
            return await self._remove(one for one in scene.agents if one.job == job)
        self._attempts.of(call_id).lost(attempt, self._attempts.clock())
        if scene is None:
            return True
        dead = [one for one in scene.agents if one.call_id == call_id and one.attempt <= attempt]
        if scene.latest > attempt:
            return await self._remove(dead)
        if scene.progress.first_told(attempt):
            self._journal.put(scene.call, AgentLost(attempt=attempt, reason=reason), shared=attempt)
            log.warning("agent_lost", call_id=str(call_id), attempt=attempt, reason=reason)
        removed, sent = await asyncio.gather(self._remove(dead), self._send(scene, attempt, reason, since))
        return removed and sent

    async def _send(self, scene: Scene, attempt: int, reason: Reason, since: float) -> bool:
        early = scene.progress.next_after() - self._attempts.clock()
        if early > 0:
            await asyncio.sleep(early)
        # What only looks at LiveKit is seen by every process at once.
        told = reason in ("died", "hung")
        await asyncio.wait([self._arrivals.send(Errand(scene.call, attempt + 1, since, reason, told))])
        return scene.progress.sent_to > attempt

    async def _judge(self, agent: Agent, call_id: UUID) -> None:
        progress = self._attempts.of(call_id)
        try:
            if not progress.stale(agent.attempt):
                for one in await self._rooms.dispatches(agent.room):
                    if one.call_id == str(call_id):
                        progress.sent(one.attempt, self._attempts.clock(), one.age_s)
        except LiveKitAway:
            # The watcher looks again.
            return
        if progress.stale(agent.attempt):
            await self._remove([agent])
        else:
            progress.there(agent.attempt)

    async def _remove_one(self, agent: Agent) -> None:
        await self._remove([agent])

    async def _remove(self, agents: Iterable[Agent]) -> bool:
        """Whether none of these is left in its room."""
        gone = [await self._removed(one) for one in agents]
        return all(gone)

    async def _removed(self, agent: Agent) -> bool:
        try:
            await self._rooms.remove(agent.room, agent.identity)
        except LiveKitAway as error:
            log.warning("agent_not_removed", room=agent.room, attempt=agent.attempt, error=str(error))
            return False
        log.info("agent_removed", call_id=str(agent.call_id), attempt=agent.attempt)
        return True


def _another_lives(scene: Scene, attempt: int) -> bool:
    """Whether an agent of this attempt, and of a job that is not dead, is in the room and may serve."""
    if scene.latest > attempt or scene.progress.stale(attempt):
        return False
    jobs = {one.job for one in scene.agents if one.call_id == scene.call.call_id and one.attempt == attempt}
    return bool(jobs - {"", *scene.progress.dead_jobs})
