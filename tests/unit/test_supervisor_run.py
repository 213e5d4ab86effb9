"""What the supervisor does with its parts, shown with small real processes."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil
import pytest

from local import supervisor as supervising
from local.part import Command, Part, PartFailed, Say
from local.state import PartStatus
from local.supervisor import Pauses, Supervisor
from switchboard.settings import SettingsError

LIMIT_S = 10.0

# Touches a file when it is up, then waits; ends at SIGTERM.
SERVES = "import sys, pathlib, signal; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
IGNORES_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVES
HAS_CHILD = (
    "import subprocess, sys, pathlib, signal;"
    "child = subprocess.Popen(['sleep', '1000']);"
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); signal.pause()"
)


class Told:
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.pauses: list[float] = []
        self.states: dict[str, PartStatus] = {}
        self.order: list[tuple[str, str]] = []
        self.change = asyncio.Event()

    def note(self, part: str, text: str) -> None:
        self.lines.append(f"{part} {text}")

    def ready(self, part: Part, after_s: float) -> None:
        self.lines.append(f"{part.name} ready")

    def restarting(self, part: Part, why: str, pause_s: float) -> None:
        self.lines.append(f"{part.name} {why}")
        self.change.set()
        self.pauses.append(pause_s)

    def changed(self, states: Mapping[str, PartStatus]) -> None:
        for name, status in states.items():
            if name not in self.states or self.states[name].state != status.state:
                self.order.append((name, status.state))
        self.states = dict(states)
        self.change.set()

    async def until_line(self, text: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not any(text in line for line in self.lines):
                self.change.clear()
                await self.change.wait()

    async def until(self, name: str, state: str, *, other_than: int | None = None) -> int:
        """The pid of the part once it is in `state` (as another process than `other_than`)."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                status = self.states.get(name)
                if status and status.state == state and status.pid != other_than:
                    return status.pid or 0
                self.change.clear()
                await self.change.wait()


def a_part(name: str, folder: Path, program: str = SERVES, **more: object) -> Part:
    up = folder / f"{name}.up"

    async def prepare(_say: Say) -> Command:
        up.unlink(missing_ok=True)
        return Command((sys.executable, "-c", program, str(up)), {"PATH": os.environ["PATH"]})

    async def ready() -> bool:
        return up.exists()

    return Part(**{"name": name, "prepare": prepare, "ready": ready, "patience_s": 2.0, **more})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(folder: Path, *parts: Part) -> AsyncIterator[Told]:
    told, stop = Told(), asyncio.Event()
    run = Supervisor(parts, logs=folder, report=told, changed=told.changed).run(stop)
    async with asyncio.timeout(3 * LIMIT_S):
        async with asyncio.TaskGroup() as group:
            group.create_task(run)
            yield told
            stop.set()


async def test_a_part_waits_until_what_it_needs_is_ready(tmp_path: Path) -> None:
    async with running(tmp_path, a_part("server", tmp_path), a_part("program", tmp_path, needs=("server",))) as told:
        await told.until("program", "ready")
    order = [step for step in told.order if step in (("server", "ready"), ("program", "starting"))]
    assert order == [("server", "ready"), ("program", "starting")]


async def test_a_part_that_dies_is_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, a_part("server", tmp_path)) as told:
        first = await told.until("server", "ready")
        os.kill(first, signal.SIGKILL)
        second = await told.until("server", "ready", other_than=first)
        assert psutil.pid_exists(second)
        assert "server it was ended by SIGKILL" in told.lines


async def test_stopping_goes_in_reverse_order_and_leaves_no_process(tmp_path: Path) -> None:
    async with running(tmp_path, a_part("server", tmp_path), a_part("program", tmp_path, needs=("server",))) as told:
        pids = [await told.until("server", "ready"), await told.until("program", "ready")]
    assert told.order[-2:] == [("program", "stopped"), ("server", "stopped")]
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_part_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, a_part("stubborn", tmp_path, IGNORES_TERM, patience_s=0.2)) as told:
        pid = await told.until("stubborn", "ready")
    assert not psutil.pid_exists(pid)


async def test_what_a_part_started_goes_with_it(tmp_path: Path) -> None:
    async with running(tmp_path, a_part("parent", tmp_path, HAS_CHILD)) as told:
        await told.until("parent", "ready")
        child = psutil.Process(int((tmp_path / "parent.up").read_text()))
    gone, _ = psutil.wait_procs([child], timeout=LIMIT_S)
    assert gone


async def test_a_part_that_never_gets_ready_is_named_with_its_log(tmp_path: Path) -> None:
    part = a_part("silent", tmp_path, "import signal; signal.pause()", deadline_s=0.3, advice="set SILENT_URL")
    told = Told()
    run = Supervisor([part], logs=tmp_path, report=told, changed=told.changed).run(asyncio.Event())
    with pytest.raises(PartFailed, match=r"^silent did not come up .*: set SILENT_URL\. Its log: .*silent\.log$"):
        await asyncio.wait_for(run, LIMIT_S)
    assert told.states["silent"].state == "stopped"


async def test_a_part_that_dies_at_every_start_is_given_up_after_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "FIRST_PAUSE_S", 0.01)
    told = Told()
    parts = [a_part("well", tmp_path), a_part("broken", tmp_path, "raise SystemExit(3)")]
    run = Supervisor(parts, logs=tmp_path, report=told, changed=told.changed).run(asyncio.Event())
    with pytest.raises(PartFailed, match=r"broken did not come up .it ended with status 3"):
        await asyncio.wait_for(run, LIMIT_S)
    assert len(told.pauses) == supervising.FIRST_TRIES - 1
    assert {status.state for status in told.states.values()} == {"stopped"}


async def test_a_part_that_refuses_its_settings_is_not_tried_again(tmp_path: Path) -> None:
    says = "import sys; sys.stderr.write('STT_BASE_URL must be a URL.\\n'); sys.exit(2)"
    told = Told()
    run = Supervisor([a_part("agent", tmp_path, says)], logs=tmp_path, report=told).run(asyncio.Event())
    with pytest.raises(SettingsError, match=r"^agent: STT_BASE_URL must be a URL\.$"):
        await asyncio.wait_for(run, LIMIT_S)
    assert told.pauses == []


async def test_a_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    async def prepare(_say: Say) -> Command:
        return Command((str(tmp_path / "missing"),), {})

    part = a_part("server", tmp_path, prepare=prepare)
    run = Supervisor([part], logs=tmp_path, report=Told()).run(asyncio.Event())
    with pytest.raises(PartFailed, match=r"server did not come up .*missing: No such file"):
        await asyncio.wait_for(run, LIMIT_S)


async def test_a_part_that_cannot_start_again_does_not_take_the_others_down(tmp_path: Path) -> None:
    full = asyncio.Event()
    well = a_part("server", tmp_path)

    async def prepare(say: Say) -> Command:
        if full.is_set():
            raise OSError(28, "No space left on device", "server.conf")
        return await well.prepare(say)

    async with running(tmp_path, a_part("server", tmp_path, prepare=prepare), a_part("other", tmp_path)) as told:
        first, other = await told.until("server", "ready"), await told.until("other", "ready")
        full.set()
        os.kill(first, signal.SIGKILL)
        await told.until_line("No space left on device")
        full.clear()
        assert await told.until("server", "ready", other_than=first)
        assert told.states["other"].pid == other


def test_pauses_grow_to_half_a_minute_and_shrink_after_a_steady_run() -> None:
    pauses = Pauses()
    assert [pauses.after(1) for _ in range(10)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]
    assert pauses.after(61) == 0.1


async def test_a_log_that_grew_is_moved_aside_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "LOG_LIMIT", 10)
    (tmp_path / "server.log").write_text("what an earlier run said")
    async with running(tmp_path, a_part("server", tmp_path)) as told:
        await told.until("server", "ready")
    assert (tmp_path / "server.log.1").read_text() == "what an earlier run said"
    assert (tmp_path / "server.log").read_text() == ""
