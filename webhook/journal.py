"""Facts of the webhook service: to a file first, then to the stream.

The file is changed for a new one now and then; the old one, closed, is swept up by the shipper when all
its facts are recorded.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from switchboard.fact import AnyBody, Fact, Source, shared_id
from switchboard.outbox import Outbox, folder
from webhook.call import Call

log = structlog.get_logger(__name__)

FACTS_A_FILE = 1_000
FILE_LASTS_S = 600.0
QUIET_S = 0.5


class Journal:
    def __init__(self, home: Path, redis: Redis, *, facts_a_file: int = FACTS_A_FILE) -> None:
        self._folder = folder(home)
        self._redis = redis
        self._facts_a_file = facts_a_file
        self._outbox: Outbox | None = None
        self._written = 0
        self._full = asyncio.Event()
        self._name = f"webhook-{os.getpid()}-{time.time_ns():x}"
        self._files = 0
        self._file = AsyncExitStack()
        self._last_put = float("-inf")
        self._closing: set[asyncio.Task[None]] = set()

    def put(self, call: Call, body: AnyBody, *, shared: int | None = None) -> None:
        """Keeps a fact of the call. `shared`: the attempt of a fact that another process may make too."""
        fact = Fact(conversation_id=call.conversation_id, call_id=call.call_id, source=Source.WEBHOOK, body=body)
        if shared is not None:
            fact = fact.model_copy(update={"id": shared_id(call.call_id, body.kind, shared)})
        if self._outbox is None:
            raise RuntimeError("a fact was put before the journal was opened")
        self._outbox.put(fact)
        self._written += 1
        self._last_put = time.monotonic()
        if self._written >= self._facts_a_file:
            self._full.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Journal"]:
        """Ships while the body runs."""
        await self._begin_file()
        turning = asyncio.create_task(self._turn_over(), name="journal")
        try:
            yield self
        finally:
            turning.cancel()
            await asyncio.wait([turning, *self._closing])
            await self._file.aclose()

    async def _begin_file(self) -> None:
        path = self._folder / f"{self._name}-{self._files}.jsonl"
        self._file = AsyncExitStack()
        self._outbox = await self._file.enter_async_context(Outbox(path, self._redis).shipping())
        self._files += 1
        self._written = 0
        self._full.clear()

    async def _turn_over(self) -> None:
        while True:
            await self._due()
            await self._shipped()
            former = self._file
            await self._begin_file()
            # A task of its own: the end of the process must not cut it short.
            closing = asyncio.create_task(former.aclose(), name="journal file")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _due(self) -> None:
        while not self._full.is_set():
            try:
                async with asyncio.timeout(FILE_LASTS_S):
                    await self._full.wait()
            except TimeoutError:
                if self._written:
                    return

    async def _shipped(self) -> None:
        """Waits for a quiet moment while Redis answers: two files must not ship facts of one call at once."""
        while True:
            if time.monotonic() - self._last_put >= QUIET_S and await self._redis_answers():
                return
            await asyncio.sleep(QUIET_S)

    async def _redis_answers(self) -> bool:
        try:
            return bool(await self._redis.execute_command("PING"))  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError):
            return False
