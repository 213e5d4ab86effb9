"""A door before a server: everything that reaches it goes through, until the door is shut.

A door has a thread of its own, so that it carries on while the one who shuts it is busy.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal

# Where the server listens: a port of this machine or a Unix socket. Asked at each connection.
Behind = Callable[[], int | Path]
# `gone`: connections are cut and refused. `hangs`: they are taken, and nothing goes through.
State = Literal["open", "gone", "hangs"]
CHUNK = 64 * 1024
WAITS_S = 5.0


class Door:
    """Listens on `port` of 127.0.0.1 for the server at `behind`."""

    def __init__(self, behind: Behind, loop: asyncio.AbstractEventLoop) -> None:
        self._behind = behind
        self._loop = loop
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0
        self._on_loop(self._listen())

    def set(self, state: State) -> None:
        """Takes effect before it returns. What waits in a door that hangs goes through when it opens."""
        self._on_loop(self._set(state))

    def close(self) -> None:
        self._on_loop(self._shut())

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAITS_S)

    async def _set(self, state: State) -> None:
        if state == "gone":
            await self._shut()
            return
        (self._open.clear if state == "hangs" else self._open.set)()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        self._open.set()
        if self._server is not None:
            self._server.close()
            self._server = None
        passing = list(self._passing)
        for task in passing:
            task.cancel()
        if passing:
            await asyncio.wait(passing, timeout=WAITS_S)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._passing.add(task)
        try:
            with contextlib.closing(writer):
                await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            # Cut: the one side sees it by the socket that is closed, the other by its own.
            return
        finally:
            self._passing.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        place = self._behind()
        opened = (
            asyncio.open_unix_connection(str(place))
            if isinstance(place, Path)
            else asyncio.open_connection("127.0.0.1", place)
        )
        inner, outer = await opened
        with contextlib.closing(outer):
            both = [asyncio.create_task(self._pump(reader, outer)), asyncio.create_task(self._pump(inner, writer))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._open.wait()
            writer.write(data)
            await writer.drain()


class Doors:
    """The doors of one bench and the thread that they run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="doors", daemon=True)
        self._thread.start()
        self._made: list[Door] = []

    def before(self, behind: Behind) -> Door:
        door = Door(behind, self._loop)
        self._made.append(door)
        return door

    def close(self) -> None:
        for door in self._made:
            door.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAITS_S)
        self._loop.close()


@contextlib.contextmanager
def doors() -> Iterator[Doors]:
    made = Doors()
    try:
        yield made
    finally:
        made.close()
