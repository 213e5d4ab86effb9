"""What all benches share of the command line: the stack, its models, where the JSON goes."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.figures import Figures, show
from bench.sounds import VOICE
from bench.stack import MODELS, BenchFailed, Measured, measured

HOTEL = "+15550100001"


def parser(program: str, about: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    made.add_argument(
        "--models",
        choices=MODELS,
        default="scripted",
        help="scripted: fixed times; local: the bundled ones; mixed: hears with the local one (scripted)",
    )
    made.add_argument("--number", default=HOTEL, help=f"the number that is dialed ({HOTEL})")
    made.add_argument("--voice", default=VOICE, help=f"the callers' voice ({VOICE})")
    made.add_argument("--home", type=Path, help="measure the stack that runs in this SWITCHBOARD_HOME")
    made.add_argument("--scripted", metavar="URL", help="with --home: where its scripted models listen")
    made.add_argument("--record", type=Path, metavar="DIR", help="keep each call as a stereo WAV, caller left")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures, and every case, as JSON")
    return made


Run = Callable[[argparse.Namespace, Measured], Coroutine[Any, Any, Figures]]


def main(made: argparse.ArgumentParser, run: Run) -> None:
    """Starts the stack, runs, shows. Status 0 even when a target is missed; 1 when the run itself failed."""
    options = made.parse_args()
    if options.record is not None:
        options.record.mkdir(parents=True, exist_ok=True)
    try:
        with measured(options.models, home=options.home, scripted=options.scripted) as found:
            show(asyncio.run(run(options, found)), options.json)
    except BenchFailed as failed:
        sys.stderr.write(f"bench: {failed}\n")
        sys.exit(1)
