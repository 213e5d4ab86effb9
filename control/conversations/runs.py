"""The runs under way of a program: counted, answered at once or as server-sent events, and ended with it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from agents import Agent
from fastapi.responses import StreamingResponse

from control import errors
from control.conversations.run import Run
from control.conversations.session import DatabaseSession
from control.conversations.turn import turn
from control.db.pool import DatabaseAway
from control.errors import TooMany

# Each holds a conversation and a stream of a model; more callers are told to come again.
MAX_RUNS = 64
# Events that wait for a slow reader; one who is further behind has gone away.
MAX_WAITING = 4_000
# Proxies close what says nothing for longer.
KEEP_ALIVE_S = 15.0
# More than the SDK and the database are given for the end of one run.
STOP_S = 10.0


class Runs:
    """The runs under way, so many at once; streams have a task of their own until they have ended."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Ends what still runs when the program does; what was produced is kept."""
        try:
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        for task in self._tasks:
            _cancel(task)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)

    async def answer(self, agent: Agent[Any], name: str, session: DatabaseSession, words: str) -> Any:
        """The final output as JSON. Raises `TooMany`, `Conflict` for a busy conversation, and as `Run.answer`."""
        with self._counted():
            async with turn(session) as begun:
                return await Run(agent, name, begun, words).answer()

    async def stream(self, agent: Agent[Any], name: str, session: DatabaseSession, words: str) -> StreamingResponse:
        """Begins the run; errors of the beginning are raised, later ones are events."""
        events: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last: list[bytes | None] = [_event("done", {}), None]

        async def work() -> None:
            try:
                with self._counted():
                    async with turn(session) as own:
                        begun.set_result(None)
                        await _tell(Run(agent, name, own, words), events)
            except asyncio.CancelledError:
                begun.cancel()
                with contextlib.suppress(asyncio.QueueFull):
                    events.put_nowait(None)
                raise
            except Exception as error:  # the border of the task: who asked is told
                if not begun.done():
                    begun.set_exception(error)
                    return
                last.insert(0, _event("error", _fault(error)))
            # Nobody may be left to take them.
            with contextlib.suppress(asyncio.QueueFull):
                for event in last:
                    events.put_nowait(event)

        task = asyncio.create_task(work(), name="agent.stream")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(begun)
        except asyncio.CancelledError:
            task.cancel()
            raise
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_heard(events, task), media_type="text/event-stream", headers=headers)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._count >= MAX_RUNS:
            raise TooMany("Too many runs are under way; try again in a moment.", 2)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


async def _tell(run: Run, events: "asyncio.Queue[bytes | None]") -> None:
    async with contextlib.aclosing(run.events()) as stream:
        async for one in stream:
            more = {"session_id": run.turn.session_id, "success": True} if one.kind == "final" else {}
            try:
                events.put_nowait(_event(one.kind, {**one.data, **more}))
            except asyncio.QueueFull:
                # Leaving the stream ends the run, as when the client goes.
                return


async def _heard(events: "asyncio.Queue[bytes | None]", task: "asyncio.Task[None]") -> AsyncIterator[bytes]:
    """The events for as long as somebody listens; who goes away ends the run."""
    try:
        while not (task.done() and events.empty()):
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    event = await events.get()
            except TimeoutError:
                event = b": still here\n\n"
            if event is None:
                return
            yield event
    finally:
        # Not waited for: what keeps the turn is the task's own, and its owner is the set it is in.
        _cancel(task)


def _cancel(task: "asyncio.Task[None]") -> None:
    """Once: a second time would end what the first one makes it keep."""
    if not task.done() and not task.cancelling():
        task.cancel()


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _fault(error: Exception) -> dict[str, str]:
    errors.log.warning("stream_failed", error=f"{type(error).__name__}: {error}"[:300])
    if isinstance(error, DatabaseAway):
        return {"code": "unavailable", "message": errors.AWAY}
    if isinstance(error, errors.ApiError):
        return {"code": error.code, "message": str(error.detail)}
    return {"code": "internal", "message": errors.UNFORESEEN}
