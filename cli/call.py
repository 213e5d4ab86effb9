"""`switchboard call`: a real SIP call, spoken by the bundled caller."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.fault import Unsuccessful
from switchboard.settings import Settings

if TYPE_CHECKING:
    from cli import calling


def call(
    number: Annotated[str, typer.Argument(help="A number of the line here, or any sip: address.")],
    caller: Annotated[str, typer.Option("--from", metavar="NUMBER", help="The caller's number.")] = "+15550109999",
    say: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Say this; may be given again.")] = None,
    play: Annotated[Path | None, typer.Option(metavar="FILE.wav", help="Play this, after all texts.")] = None,
    record: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep a stereo WAV there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Call a number and talk: caller left, agent right, and how long each reply took."""
    # Hearing and speaking take a second to import, which other commands need not wait for.
    from cli import calling

    asked = calling.asked(Settings.read(), number, caller, say or [], play, record)
    try:
        outcome = asyncio.run(calling.run(asked, tell=(lambda _: None) if as_json else typer.echo))
    except calling.NotAnswered as refused:
        _print(calling.Outcome(), as_json)
        raise Unsuccessful(str(refused)) from None
    _print(outcome, as_json)
    silent = [turn.said for turn in outcome.turns if turn.voice_to_voice_s is None]
    if silent:
        raise Unsuccessful(f"no reply came to {silent[0]!r}.")
    if len(outcome.turns) < len(asked.speeches):
        raise Unsuccessful("the call ended before everything was said.")


def _print(outcome: "calling.Outcome", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(outcome), indent=2, ensure_ascii=False))
