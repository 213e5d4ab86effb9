"""`python -m bench.chaos [SCENARIO …]`: what callers notice when a part fails. Prints a table."""

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.disasters.scene import Options, Row
from bench.stack import BenchFailed, measured

# Each is a module of `bench.disasters` with `async def run(options: Options) -> list[Row]`. The long ones come last.
SCENARIOS = (
    "killed",
    "stopped",
    "worker",
    "drained",
    "overload",
    "webhook",
    "models",
    "outages",
    "restarted",
    "soak",
    "alarm",
)
# A table whose lines break cannot be pasted.
WIDTH = 180


def main() -> int:
    """Runs the scenarios one after another. Status 0 even when a figure is missed; 1 when one could not be run."""
    # As Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told = _parser().parse_args()
    if told.record is not None:
        told.record.mkdir(parents=True, exist_ok=True)
    try:
        options = _options(told)
    except BenchFailed as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    rows: list[Row] = []
    failed = False
    console = Console(highlight=False, width=WIDTH)
    for name in told.scenarios or SCENARIOS:
        began, load = time.monotonic(), os.getloadavg()[0]
        try:
            found = asyncio.run(importlib.import_module(f"bench.disasters.{name}").run(options))
        except Exception as error:  # the border between scenarios: the next one runs all the same
            failed = True
            found = [Row(name, f"not run: {_why(error)}", "", met=False)]
        rows += found
        took = time.monotonic() - began
        title = f"{name}: {took:.0f} s, {os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}"
        console.print(f"\n[bold]{title}[/bold]")
        console.print(_table(found))
        sys.stdout.flush()
        if told.json is not None:
            told.json.write_text(json.dumps(_as_json(rows, options), indent=2, default=str) + "\n")
    return 1 if failed else 0


def _why(error: Exception) -> str:
    """The first fault of those that happened at once. What no scenario expects is shown whole."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, BenchFailed):
        return str(found)
    traceback.print_exception(error)
    return repr(found)


def _options(told: argparse.Namespace) -> Options:
    given = {name: getattr(told, name) for name in ("calls", "at_once", "minutes", "quick", "record")}
    if told.home is None:
        return Options(**given)
    with measured("scripted", home=told.home, scripted=told.scripted) as running:
        return Options(**given, running=running)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("what", "seen", "wanted", ""):
        table.add_column(column, no_wrap=True)
    for row in rows:
        verdict = "" if not row.wanted else "met" if row.met else "[bold]missed[/bold]"
        table.add_row(row.what, row.figure, row.wanted, verdict)
    return table


def _as_json(rows: Sequence[Row], options: Options) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "quick": options.quick,
        "rows": [asdict(row) for row in rows],
        "cases": options.cases,
    }


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.chaos", description="What callers notice when a part fails.")
    made.add_argument("scenarios", nargs="*", metavar="SCENARIO", choices=(*SCENARIOS, []), help=", ".join(SCENARIOS))
    made.add_argument("--calls", type=int, help="calls in all, instead of the scenario's own number")
    made.add_argument("--at-once", type=int, help="how many of them at any time")
    made.add_argument("--minutes", type=float, help="how long the ones last that take their time")
    made.add_argument("--quick", action="store_true", help="few calls and short outages")
    made.add_argument("--home", type=Path, help="harm the stack that runs in this SWITCHBOARD_HOME")
    made.add_argument("--scripted", metavar="URL", help="with --home: where its scripted models listen")
    made.add_argument("--record", type=Path, metavar="DIR", help="keep each call as a stereo WAV, caller left")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows, and every case, as JSON")
    return made


if __name__ == "__main__":
    sys.exit(main())
