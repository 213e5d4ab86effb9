"""Brings recorded sound from the files of job processes to where recordings are kept: of those that go on recording,
of those that ended, and of those that died."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid5

import structlog
from prometheus_client import CollectorRegistry, Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent import spool
from switchboard import stream
from switchboard.fact import Fact, RecordingStored, Source
from switchboard.recording_store import RecordingStore, StoreAway
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

SWEEP_S = 1.0
LONGEST_PAUSE_S = 30.0
LAST_SWEEP_S = 5.0
# What keeps all files from being shipped; whatever else goes wrong is a file's own.
_AWAY = (StoreAway, RedisError, stream.StreamFull, ConnectionError, TimeoutError)


class Shipping:
    """One for a worker; several may share the folder, as a file is shipped by one at a time."""

    def __init__(self, home: Path, store: RecordingStore, redis: Redis) -> None:
        self._home = home
        self._store = store
        self._redis = redis
        self._trouble = ""
        self._faulty: set[str] = set()
        self.registry = CollectorRegistry()
        self._bytes = Gauge(
            "switchboard_recordings_waiting_bytes", "Sound that waits to be stored.", registry=self.registry
        )
        self._seconds = Gauge(
            "switchboard_recordings_waiting_seconds", "How long the oldest of it has.", registry=self.registry
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, settings: Settings, store: RecordingStore) -> AsyncIterator["Shipping"]:
        """Ships while the body runs, and for a few seconds what is left then."""
        async with stream.connect(settings.redis_url) as redis:
            shipping = cls(settings.home, store, redis)
            task = asyncio.create_task(shipping._run(), name="shipping")
            try:
                yield shipping
            finally:
                task.cancel()
                await asyncio.wait([task])
                with contextlib.suppress(*_AWAY, OSError):
                    async with asyncio.timeout(LAST_SWEEP_S):
                        await shipping.sweep()

    async def _run(self) -> None:
        pause_s = SWEEP_S
        while True:
            try:
                await self.sweep()
                pause_s, self._trouble = SWEEP_S, ""
            except (*_AWAY, OSError) as error:
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                self._waits(error)
            except Exception:
                # The border of shipping: a fault in it must not end that of all later sound.
                pause_s = LONGEST_PAUSE_S
                log.exception("shipping_failed", pause_s=pause_s)
            await asyncio.sleep(pause_s)

    def _waits(self, error: Exception) -> None:
        # Said once for each trouble.
        why = str(error) or type(error).__name__
        if why != self._trouble:
            log.warning("recordings_wait", error=why)
        self._trouble = why

    async def sweep(self) -> None:
        """Ships what waits and nobody writes any more; a file that cannot be shipped keeps no other one from it.

        Raises what keeps all of them; they stay then.
        """
        waiting = await asyncio.to_thread(spool.waiting, self._home)
        self._bytes.set(sum(one.bytes for one in waiting))
        self._seconds.set(max(time.time() - waiting[0].written_at, 0) if waiting else 0)
        self._faulty &= {one.path.name for one in waiting}
        for one in waiting:
            await self._ship(one.path)

    async def _ship(self, path: Path) -> None:
        try:
            with contextlib.ExitStack() as claim:
                # Read under the lock, which is held until the file is gone.
                found = await asyncio.to_thread(claim.enter_context, spool.claimed(path))
                if found is not None:
                    await self._keep(found)
                    spool.done(path)
        except _AWAY:
            raise
        except spool.Unreadable as error:
            log.error("recording_unreadable", path=path.name, error=str(error))  # noqa: TRY400 (it says it all)
            spool.put_aside(path)
        except Exception:  # the border between one file and all others: its disk, what packs its sound
            # Tried again each time, and said once.
            if path.name not in self._faulty:
                log.exception("recording_not_shipped", path=path.name)
            self._faulty.add(path.name)

    async def _keep(self, found: spool.Waiting) -> None:
        head, piece = found.head, found.piece
        if not piece.samples:
            return
        size = await self._store.put(piece, found.sound)
        stored = Fact(
            id=uuid5(head.recording, piece.key),
            conversation_id=head.conversation_id,
            call_id=head.call_id,
            source=Source.AGENT,
            body=RecordingStored(start=piece.start, seconds=round(piece.seconds, 3), bytes=size),
        )
        # The file goes when it is on record; done twice it is the same piece and the same fact.
        await stream.add(self._redis, [stored])
