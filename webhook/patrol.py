"""Looks, twice a second, for agents that died without anybody left to tell: on this host by the files that they
left, anywhere by their beats."""

import asyncio
import time
from uuid import UUID

import structlog

from webhook.beats import PERIOD_S, Beating, Beats
from webhook.remains import Remains
from webhook.replace import Replacements
from webhook.roster import Roster
from webhook.store import Store
from webhook.watch import Watcher

log = structlog.get_logger(__name__)


class Patrol:
    def __init__(
        self, watcher: Watcher, roster: Roster, store: Store, remains: Remains, replacements: Replacements
    ) -> None:
        self._watcher = watcher
        self._roster = roster
        self._store = store
        self._remains = remains
        self._replacements = replacements
        self._beats = Beats()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self._look_at_files()
                await self._look_at_beats()
            except Exception:
                # The process's border: a fault in one round must not end the patrol.
                log.exception("patrol_failed")
            await asyncio.sleep(max(0.0, PERIOD_S - (time.monotonic() - began)))

    async def _look_at_files(self) -> None:
        calls: set[UUID] = {*self._roster.calls, *self._watcher.seen.callers}
        for one in await self._remains.look(calls):
            self._replacements.lost(one.call_id, one.attempt, one.reason, one.job)

    async def _look_at_beats(self) -> None:
        """One process does, as one sees who is in the rooms; what it saw long ago does not count."""
        agents = [
            Beating(one.call_id, one.attempt, one.worker)
            for one in self._watcher.fresh.agents
            if one.call_id is not None and one.call_id in self._watcher.seen.callers and one.worker
        ]
        beating = await self._store.beating([key for one in agents for key in one.keys])
        for silent in self._beats.silent(time.monotonic(), agents, beating):
            self._replacements.lost(silent.call_id, silent.attempt, "silent")
