"""`switchboard up`, `down` and `status`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.table import Table

from cli import first_link
from cli.condition import conditions
from cli.output import plain
from cli.report import StackPrinter
from local import state
from local.serve import prepare_home, serve
from local.stack import MARKER
from local.state import Status
from switchboard.settings import Settings

_STOP_LIMIT_S = 60.0

Only = Annotated[list[str] | None, typer.Option("--only", help="Start this part alone; may be given again.")]
AnyPort = Annotated[bool, typer.Option("--any-port", help="Take free ports for all parts.")]


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the stack is ready.")] = False,
    only: Only = None,
    any_port: AnyPort = False,
    then_log: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start the whole stack; Ctrl-C stops it. A second start finds its data again."""
    settings = Settings.read()
    if detach:
        raise typer.Exit(_detached(settings, [f"--only={name}" for name in only or []], any_port))
    printer = StackPrinter(Console(highlight=False), then_log=then_log)
    asyncio.run(serve(settings, printer, only=only or (), any_port=any_port))


def _detached(settings: Settings, only: list[str], any_port: bool) -> int:
    """Starts a supervisor of its own session and shows what it says until it is ready or has failed."""
    home = prepare_home(settings.home)
    log = home / "logs" / "supervisor.log"
    command = [sys.executable, "-P", "-m", "cli", "up", f"--then-log={log}", *only]
    command += ["--any-port"] if any_port else []
    supervisor = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        return _shown(supervisor, home, sys.stdout)
    except KeyboardInterrupt:
        supervisor.terminate()
        return supervisor.wait(timeout=_STOP_LIMIT_S)


def down() -> None:
    """Stop what `up` started here."""
    home = Settings.read().home.absolute()
    running = state.current(home)
    if running is not None:
        os.kill(running.supervisor, signal.SIGTERM)
        if not _until(lambda: state.current(home) is None, _STOP_LIMIT_S):
            os.kill(running.supervisor, signal.SIGKILL)
    left = state.sweep(home, MARKER)
    state.forget(home)
    typer.echo("Stopped." if running or left else f"Nothing runs in {home}.")


def _until(condition: Callable[[], bool], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what runs; the exit status is 0 when all of it is ready."""
    running = state.current(Settings.read().home.absolute())
    found = running.status if running else Status()
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), indent=2))
    elif running is None:
        typer.echo("Nothing runs here: start it with `switchboard up`.")
    else:
        Console(highlight=False).print(_table(found, asyncio.run(conditions(found))))
    raise typer.Exit(0 if found.ready else 1)


def _table(found: Status, says: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "pid", "port", "since", "says"):
        table.add_column(column)
    for name, part in found.parts.items():
        since = part.since.astimezone().strftime("%H:%M:%S")
        table.add_row(name, part.state, str(part.pid or ""), str(part.port or ""), since, plain(says.get(name, "")))
    return table


def _shown(supervisor: "subprocess.Popen[str]", home: Path, out: TextIO) -> int:
    """Copies what the supervisor says; it lets go of its output when ready. 0, or the status it failed with."""
    assert supervisor.stdout is not None  # noqa: S101
    for line in supervisor.stdout:
        out.write(line)
        out.flush()
    running = state.current(home)
    if running is not None and running.supervisor == supervisor.pid and running.status.ready:
        if out.isatty() and (link := first_link.read(home)):
            out.write(f"{link}\n")
        return 0
    return supervisor.wait(timeout=_STOP_LIMIT_S)
