"""The command `switchboard`: every expected failure is one sentence on standard error and a status."""

import sys

import typer

from cli import stack
from local.part import PartFailed
from switchboard.settings import SettingsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Answers phone calls with an AI persona chosen by the dialed number.",
)
stack.add_to(app)


class CommandFailed(Exception):
    """A command could not do what it was asked; the text says why and what to do. Exit status 2."""


def main() -> None:
    """Runs the command line. Status 0: done; 1: a part or check failed; 2: settings or input are wrong."""
    try:
        app()
    except (SettingsError, CommandFailed) as error:
        sys.exit(_said(error, 2))
    except PartFailed as error:
        sys.exit(_said(error, 1))


def _said(error: Exception, status: int) -> int:
    sys.stderr.write(f"switchboard: {error}\n")
    return status
