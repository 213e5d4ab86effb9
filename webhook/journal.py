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

from switchboard.fact import AnyBody, Fact, Source, shared_id
from switchboard.outbox import Outbox, folder
from webhook.call import Call

log = structlog.get_logger(__name__)

FACTS_A_FILE = 1_000
FILE_LASTS_S = 600.0


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

    def put(self, call: Call, body: AnyBody, *, shared: int | None = None) -> None:
        """Keeps a fact of the call. `shared`: the attempt of a fact that another process may make too."""
        fact = Fact(conversation_id=call.conversation_id, call_id=call.call_id, source=Source.WEBHOOK, body=body)
        if shared is not None:
            fact = fact.model_copy(update={"id": shared_id(call.call_id, body.kind, shared)})
        if self._outbox is None:
            raise RuntimeError("a fact was put before the journal was opened")
        self._outbox.put(fact)
        self._written += 1
        if self._written >= self._facts_a_file:
            self._full.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Journal"]:
        """Ships while the body runs."""
        current = await self._next()
        turning = asyncio.create_task(self._turn_over(current), name="journal")
        try:
            yield self
        finally:
            turning.cancel()
            await asyncio.wait([turning])

    async def _next(self) -> AsyncExitStack:
        stack = AsyncExitStack()
        path = self._folder / f"{self._name}-{self._files}.jsonl"
        self._outbox = await stack.enter_async_context(Outbox(path, self._redis).shipping())
        self._files += 1
        self._written = 0
        self._full.clear()
        return stack

    async def _turn_over(self, current: AsyncExitStack) -> None:
        try:
            while True:
                await self._due()
                former = current
                current = await self._next()
                await former.aclose()
        finally:
            await current.aclose()

    async def _due(self) -> None:
        while not self._full.is_set():
            try:
                async with asyncio.timeout(FILE_LASTS_S):
                    await self._full.wait()
            except TimeoutError:
                if self._written:
                    return
