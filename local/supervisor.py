"""Starts the parts in order, restarts what dies, stops them in reverse order and leaves nothing behind."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from local.part import Part, PartFailed, State, until_ready
from local.process import Process
from local.state import PartStatus
from switchboard.settings import SettingsError

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
# A part that ran this long is taken to be well: its next pause is the first one again.
STEADY_S = 60.0
# A part that never came up is tried this often, then the whole start is given up.
FIRST_TRIES = 3
LOG_LIMIT = 5 * 1024 * 1024
_BAD_SETTINGS = 2


class Report(Protocol):
    """What the user is told meanwhile."""

    def note(self, part: str, text: str) -> None: ...
    def ready(self, part: Part, after_s: float) -> None: ...
    def restarting(self, part: Part, why: str, pause_s: float) -> None: ...


@dataclass(slots=True)
class Pauses:
    """How long to wait before the next start: doubled each time, from the start after a steady run."""

    _next: float = field(default_factory=lambda: FIRST_PAUSE_S)

    def after(self, ran_s: float) -> float:
        """The pause after a run of `ran_s` seconds."""
        if ran_s >= STEADY_S:
            self._next = FIRST_PAUSE_S
        pause, self._next = self._next, min(self._next * 2, LONGEST_PAUSE_S)
        return pause


@dataclass(slots=True)
class _Kept:
    """A part and how it stands."""

    part: Part
    state: State = "waiting"
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    process: Process | None = None
    came_up: asyncio.Event = field(default_factory=asyncio.Event)

    def status(self) -> PartStatus:
        alive = self.process is not None and self.process.running
        pid = self.process.pid if self.process and alive else None
        return PartStatus(state=self.state, pid=pid, port=self.part.port, since=self.since)


class Supervisor:
    """Runs `parts`, whose `needs` name parts before them.

    `changed` is told of every change of state; `before_start` right before a part's process is made.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        logs: Path,
        report: Report,
        changed: Callable[[Mapping[str, PartStatus]], None] = lambda _: None,
        before_start: Callable[[Part], None] = lambda _: None,
    ) -> None:
        self._kept = {part.name: _Kept(part) for part in parts}
        self._logs = logs
        self._report = report
        self._changed = changed
        self._before_start = before_start

    def status(self) -> dict[str, PartStatus]:
        return {name: kept.status() for name, kept in self._kept.items()}

    async def run(self, stop: asyncio.Event, when_ready: Callable[[], None] = lambda: None) -> None:
        """Runs all parts until `stop` is set. Raises `PartFailed` or `SettingsError` when one never comes up."""
        try:
            async with asyncio.TaskGroup() as group:
                keepers = [group.create_task(self._keep(kept), name=name) for name, kept in self._kept.items()]
                teller = group.create_task(self._tell(when_ready))
                await stop.wait()
                for task in (*keepers, teller):
                    task.cancel()
        except* (PartFailed, SettingsError) as failures:
            raise _first(failures) from None
        finally:
            await self._stop_all()

    def kill(self) -> None:
        """Ends all processes at once; for a user who will not wait."""
        for kept in self._kept.values():
            if kept.process is not None:
                kept.process.kill()

    async def _tell(self, when_ready: Callable[[], None]) -> None:
        for kept in self._kept.values():
            await kept.came_up.wait()
        when_ready()

    async def _keep(self, kept: _Kept) -> None:
        for need in kept.part.needs:
            await self._kept[need].came_up.wait()
        pauses, tries = Pauses(), 0
        while True:
            began = time.monotonic()
            why = await self._bring_up(kept)
            if why is None:
                kept.came_up.set()
                self._mark(kept, "ready")
                self._report.ready(kept.part, time.monotonic() - began)
                why = await self._until_it_ends(kept)
            elif not kept.came_up.is_set() and (tries := tries + 1) >= FIRST_TRIES:
                raise PartFailed(self._sentence(kept.part, why))
            pause = pauses.after(time.monotonic() - began)
            self._mark(kept, "restarting")
            self._report.restarting(kept.part, why, pause)
            await asyncio.sleep(pause)

    async def _bring_up(self, kept: _Kept) -> str | None:
        """Starts the part's process and waits until it is ready; else says why it is not.

        At its first start, what another try cannot mend is raised. Later the other parts go on without it.
        """
        try:
            return await self._start(kept)
        except (PartFailed, SettingsError) as error:
            if not kept.came_up.is_set():
                raise
            return str(error)

    async def _start(self, kept: _Kept) -> str | None:
        part, log = kept.part, self._log_of(kept.part)
        try:
            command = await part.prepare(lambda text: self._report.note(part.name, text))
            self._before_start(part)
            kept.process = await Process.start(command, log, part.death_signal)
        except OSError as error:
            raise PartFailed(self._sentence(part, f"{error.filename or part.name}: {error.strerror}")) from None
        self._mark(kept, "starting")
        try:
            status = await _ready_or_ended(part, kept.process)
        except TimeoutError:
            await kept.process.stop(part.stop_signal, part.patience_s)
            raise PartFailed(self._sentence(part, f"not ready after {part.deadline_s:.0f} s")) from None
        if status == _BAD_SETTINGS:
            raise SettingsError(f"{part.name}: {_last_line(log)}")
        return None if status is None else _ending(status)

    async def _until_it_ends(self, kept: _Kept) -> str:
        assert kept.process is not None  # noqa: S101
        return _ending(await kept.process.wait())

    def _mark(self, kept: _Kept, state: State) -> None:
        kept.state, kept.since = state, datetime.now(UTC)
        self._changed(self.status())

    def _log_of(self, part: Part) -> Path:
        log = self._logs / f"{part.name}.log"
        # Nobody writes to it now, so that nothing is lost when it moves.
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        return log

    def _sentence(self, part: Part, why: str) -> str:
        return f"{part.name} did not come up ({why}): {part.advice}. Its log: {self._logs / f'{part.name}.log'}"

    async def _stop_all(self) -> None:
        for level in reversed(_levels([kept.part for kept in self._kept.values()])):
            await asyncio.gather(*(self._stop(self._kept[name]) for name in level))

    async def _stop(self, kept: _Kept) -> None:
        if kept.process is not None:
            await kept.process.stop(kept.part.stop_signal, kept.part.patience_s)
        self._mark(kept, "stopped")


async def _ready_or_ended(part: Part, process: Process) -> int | None:
    """None when the part is ready, its exit status when it ended before. Raises TimeoutError at its deadline."""
    ended = asyncio.create_task(process.wait())
    ready = asyncio.create_task(until_ready(part))
    try:
        await asyncio.wait({ended, ready}, timeout=part.deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        if ready.done():
            return ready.result()
        raise TimeoutError
    finally:
        for task in (ended, ready):
            task.cancel()
        await asyncio.gather(ended, ready, return_exceptions=True)


def _ending(status: int) -> str:
    if status >= 0:
        return f"it ended with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it says that a setting is wrong, and not which."


def _levels(parts: Sequence[Part]) -> list[list[str]]:
    """Names by how many parts stand below: what is in one level can start and stop together."""
    depth: dict[str, int] = {}
    for part in parts:
        depth[part.name] = 1 + max((depth[need] for need in part.needs), default=-1)
    return [[name for name in depth if depth[name] == level] for level in range(max(depth.values(), default=-1) + 1)]


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, Exception) else PartFailed(str(found))
