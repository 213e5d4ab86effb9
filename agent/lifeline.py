"""The lifeline: the worker knows at once when the process of a call is dead or hung, and makes sure of it.

Each job process holds a Unix socket to its worker, says who it is, and ticks from its event loop. It says `free` when
nothing more can be heard of it, so that its slot is another call's. Its last word is `over` when nobody has to
replace it, or `left` when somebody has to. A socket that closes without a word is a process that died; one that falls
silent is a process that hangs, and is killed. The worker tells that a process is lost only when it is dead for
certain. The socket has no file, so that a worker that dies leaves nothing behind.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Literal, cast
from uuid import UUID, uuid4

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = structlog.get_logger(__name__)

Reason = Literal["died", "hung", "left"]

TICK_S = 0.5
CONNECT_S = 0.5
CHECK_S = 0.2
# A checker that comes so much too late says nothing about others: everybody's patience starts again.
LATE_S = 0.5
MAX_LINE = 2_048
MOST_LINES = 256
TICK, FREE, OVER, LEFT = b"tick", b"free", b"over", b"left"
_CREDENTIALS = struct.Struct("3i")


class Hello(BaseModel):
    """Who a job process is. `call_id` is None as long as an agent that was told nothing looks for its caller."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: UUID | None
    attempt: int = Field(ge=0, le=1_000)
    room: str = Field(max_length=256)
    job: str = Field(max_length=128)


@dataclass(frozen=True, slots=True)
class Held:
    """A job process that serves a call."""

    who: Hello
    pid: int
    since: datetime

    def shown(self) -> dict[str, str | int | None]:
        """`call_id` (None as long as it is not known), `attempt`, `pid`, `job`, `room`, `since` (ISO 8601)."""
        return {**self.who.model_dump(mode="json"), "pid": self.pid, "since": self.since.isoformat()}


class Lifeline:
    """A job process's end. Without a worker (`address` is empty) nothing is told, and nothing is missed."""

    def __init__(self, address: str, *, orphaned: Callable[[], None]) -> None:
        self._orphaned = orphaned
        self._socket = _connected(address) if address else None
        self._loop = asyncio.get_running_loop()
        self._ticking: asyncio.TimerHandle | None = None
        self._word = LEFT

    def serves(self, who: Hello) -> None:
        """Says who this is, or who it has turned out to be."""
        self._send(who.model_dump_json().encode())

    def free(self) -> None:
        """Nothing more can be heard of this agent: it takes no slot, and is still missed if it dies."""
        self._send(FREE)

    def over(self) -> None:
        """This agent's part ends well: nobody has to replace it. Said when the lifeline is let go of."""
        self._word = OVER

    @contextlib.contextmanager
    def held(self, who: Hello) -> Iterator["Lifeline"]:
        """Says who this is, ticks while the body runs, and says the last word behind it."""
        if self._socket is not None:
            self.serves(who)
            self._loop.add_reader(self._socket, self._heard)
            self._tick()
        try:
            yield self
        finally:
            self._let_go()

    def _tick(self) -> None:
        self._send(TICK)
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _send(self, line: bytes) -> None:
        if self._socket is None:
            return
        # A full buffer is a worker that does not read: it has other troubles. A broken one shows as an end, too.
        with contextlib.suppress(OSError):
            self._socket.send(line + b"\n")

    def _heard(self) -> None:
        """The worker says nothing, ever: what can be read is its end."""
        if self._socket is None:
            return
        try:
            gone = not self._socket.recv(64)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._loop.remove_reader(self._socket)
            self._orphaned()

    def _let_go(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        if self._socket is None:
            return
        self._heard()
        self._send(self._word)
        self._loop.remove_reader(self._socket)
        # Closed by the kernel when the process is dead and not before, which is what the worker waits for.
        self._socket.detach()
        self._socket = None


def _connected(address: str) -> socket.socket | None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(CONNECT_S)
        made.connect(f"\0{address}")
        made.setblocking(False)
    except OSError as error:
        made.close()
        log.warning("no_lifeline", error=str(error))
        return None
    return made


class _State(Enum):
    """What a process has said last."""

    NEW = "new"
    LIVE = "live"
    LEFT = "left"
    OVER = "over"


# How long it may be silent then, in seconds.
PATIENCE_S = {_State.NEW: 2.0, _State.LIVE: 2.0, _State.LEFT: 0.5, _State.OVER: 30.0}


class Lifelines:
    """The worker's end of all lifelines.

    `on_lost` is called once for each process that is dead without `over`. `mine` tells which pids are job processes
    of this worker: nobody else is listened to, or killed. `clock` is monotonic.
    """

    def __init__(
        self,
        on_lost: Callable[[Hello, Reason], None],
        *,
        mine: Callable[[int], bool],
        address: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_lost = on_lost
        self.mine = mine
        self.clock = clock
        self.lines: set[_Line] = set()
        self.address = address or f"switchboard-{uuid4().hex}"
        # Jobs that were ever here; the newest are enough for those whose process has just ended.
        self._known: dict[str, None] = {}
        self._checked = clock()
        self.fewer = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Lifelines"]:
        """Listens at `address`, which job processes have to know, while the body runs."""
        server = await asyncio.get_running_loop().create_unix_server(lambda: _Line(self), f"\0{self.address}")
        checking = asyncio.create_task(self._check_often(), name="lifeline.check")
        try:
            yield self
        finally:
            checking.cancel()
            await asyncio.wait([checking])
            server.close()
            for line in list(self.lines):
                line.drop()

    def calls(self) -> list[Held]:
        """The calls that run now, oldest first."""
        found = [line.held for line in self.lines if line.held is not None and line.serving]
        return sorted(found, key=lambda one: one.since)

    def knew(self, job: str) -> bool:
        """Whether this job's process was on a lifeline, so that its end was seen there."""
        return job in self._known

    def served(self, job: str) -> bool:
        """Whether this job's process, that was here, serves no call any more: it has said so, or is gone."""
        return self.knew(job) and not any(
            line.takes_slot and line.held is not None and line.held.who.job == job for line in self.lines
        )

    def remember(self, job: str) -> None:
        self._known[job] = None
        if len(self._known) > 4 * MOST_LINES:
            del self._known[next(iter(self._known))]

    def end_all(self) -> None:
        """Kills the processes of all calls that run; each is told as lost."""
        for line in list(self.lines):
            if line.serving:
                line.end("left")

    async def all_dead(self) -> None:
        """Returns when no process is left that was told to end."""
        while any(line.ending for line in self.lines):
            self.fewer.clear()
            await self.fewer.wait()

    async def _check_often(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            self.check()

    def check(self) -> None:
        """Ends what has been silent for too long; to be called every `CHECK_S`."""
        now = self.clock()
        late = now - self._checked > CHECK_S + LATE_S
        self._checked = now
        for line in list(self.lines):
            if late:
                line.restart()
            elif now > line.deadline:
                line.expire()


class _Line(asyncio.Protocol):
    """One connection: a process from its first word to its death."""

    def __init__(self, lines: Lifelines) -> None:
        self._lines = lines
        self._state = _State.NEW
        self._buffer = b""
        self._process = -1
        self._why: Reason | None = None
        self._free = False
        self.ending = False
        self.deadline = 0.0
        self.held: Held | None = None

    @property
    def serving(self) -> bool:
        return self._state is _State.LIVE

    @property
    def takes_slot(self) -> bool:
        return self.serving and not self._free

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("socket")
        self._pid, uid, _gid = _CREDENTIALS.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        full = len(self._lines.lines) >= MOST_LINES
        if full or uid != os.getuid() or not self._lines.mine(self._pid):
            log.warning("lifeline_refused", pid=self._pid, full=full)
            self._transport.abort()
            return
        try:
            # Names this very process, also when another one gets its number.
            self._process = os.pidfd_open(self._pid)
        except OSError:
            self._transport.abort()
            return
        self._lines.lines.add(self)
        self.restart()

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE or not all(self._take(line) for line in lines):
            log.warning("lifeline_nonsense", pid=self._pid)
            self._transport.abort()

    def _take(self, line: bytes) -> bool:
        """Whether the line makes sense."""
        if len(line) > MAX_LINE:
            return False
        if self._state in (_State.OVER, _State.LEFT):
            return True
        if line == TICK:
            self.restart()
            return True
        if line == FREE:
            self._free = True
            return True
        if line in (OVER, LEFT):
            self._enter(_State.OVER if line == OVER else _State.LEFT)
            return True
        try:
            who = Hello.model_validate_json(line)
        except ValidationError:
            return False
        self.held = Held(who, self._pid, self.held.since if self.held else datetime.now(UTC))
        self._lines.remember(who.job)
        self._enter(_State.LIVE)
        return True

    def _enter(self, state: _State) -> None:
        self._state = state
        self.restart()

    def restart(self) -> None:
        """Patience starts again."""
        self.deadline = self._lines.clock() + PATIENCE_S[self._state]

    def expire(self) -> None:
        """Silent for longer than it may be."""
        if self.ending:
            return
        if self._state is _State.NEW:
            self._transport.abort()
        elif self._state is _State.LIVE:
            self.end("hung")
        else:
            self.end("left" if self._state is _State.LEFT else None)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._process < 0 or self.ending:
            return
        if self._state in (_State.NEW, _State.OVER):
            self._forget()
        else:
            self.end("left" if self._state is _State.LEFT else "died")

    def end(self, why: Reason | None) -> None:
        """Kills the process; when it is dead the loss is told, unless `why` is None. The first `why` counts."""
        if self.ending:
            return
        self.ending, self._why = True, why
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        # Readable once it is dead.
        asyncio.get_running_loop().add_reader(self._process, self._dead)

    def _dead(self) -> None:
        held, why = self.held, self._why
        self._forget()
        if held is not None and why is not None:
            self._lines.on_lost(held.who, why)

    def drop(self) -> None:
        """The worker ends: so does this end of the line."""
        self._transport.abort()
        self._forget()

    def _forget(self) -> None:
        self._lines.lines.discard(self)
        self._lines.fewer.set()
        if self._process >= 0:
            asyncio.get_running_loop().remove_reader(self._process)
            os.close(self._process)
            self._process = -1
        self._transport.abort()
