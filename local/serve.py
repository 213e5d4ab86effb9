"""Runs the stack of one home until it is told to stop: locks, keys, ports, servers, signals."""

import asyncio
import functools
import signal
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from local import external, keys, postgres, state
from local.part import Part
from local.ports import Ports
from local.stack import MARKER, Stack, build
from local.state import PartStatus, Status
from local.supervisor import Report, Supervisor
from switchboard.settings import Settings, SettingsError


class StackReport(Report, Protocol):
    """What the user is told: of each part, and of the whole."""

    def moved(self, name: str, wanted: int, chosen: int) -> None: ...
    def swept(self, processes: int) -> None: ...
    def up(self, stack: Stack, after_s: float) -> None: ...
    def stopping(self) -> None: ...


async def serve(
    settings: Settings, report: StackReport, *, only: Collection[str] = (), any_port: bool = False
) -> None:
    """Runs until SIGINT or SIGTERM. Raises `SettingsError` (exit 2) or `PartFailed` (exit 1)."""
    began = time.monotonic()
    home = prepare_home(settings.home)
    ports = Ports()
    with state.only_one(home):
        if swept := state.sweep(home, MARKER):
            report.swept(swept)
        try:
            stack = build(settings, keys.load_or_make(home), ports, home=home, only=only, any_port=any_port)
            for name, (wanted, chosen) in stack.moved.items():
                report.moved(name, wanted, chosen)
            await external.check(stack.outside, stack.environment)
            state.write_environment(home, stack.environment)
            await _run(stack, ports, report, began)
        finally:
            ports.close()
            state.forget(home)
            postgres.forget_sockets(home)


def prepare_home(home: Path) -> Path:
    """The home with its folders, closed to others. Raises `SettingsError` when it cannot be made or written."""
    home = home.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("logs", "run"):
            (home / name).mkdir(exist_ok=True, mode=0o700)
        (home / "run" / ".probe").write_text("")
        (home / "run" / ".probe").unlink()
    except OSError as error:
        raise SettingsError(
            f"SWITCHBOARD_HOME={home} cannot be written ({error.strerror}): name a folder of yours."
        ) from None
    return home


async def _run(stack: Stack, ports: Ports, report: StackReport, began: float) -> None:
    def changed(parts: Mapping[str, PartStatus]) -> None:
        state.write(stack.home, _status(stack, parts))

    def before_start(part: Part) -> None:
        for port in part.ports:
            ports.release(port)

    supervisor = Supervisor(
        stack.parts, logs=stack.home / "logs", report=report, changed=changed, before_start=before_start
    )
    changed(supervisor.status())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, functools.partial(_stop, stop, supervisor, report))
    await supervisor.run(stop, lambda: report.up(stack, time.monotonic() - began))


def _stop(stop: asyncio.Event, supervisor: Supervisor, report: StackReport) -> None:
    if stop.is_set():
        supervisor.kill()
        return
    report.stopping()
    stop.set()


def _status(stack: Stack, parts: Mapping[str, PartStatus]) -> Status:
    elsewhere = {
        name: PartStatus(state="external", since=stack.built_at) for name in stack.outside if name not in parts
    }
    return Status(
        ready=all(part.state == "ready" for part in parts.values()), urls=stack.urls, parts={**elsewhere, **parts}
    )
