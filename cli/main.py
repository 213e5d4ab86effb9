"""The command `switchboard`: every expected failure is one sentence on standard error and a status."""

import sys

import typer

from cli import backup, blocklist, call, doctor, number, persona, stack, trunk, user, worker
from cli.fault import CommandFailed, Unsuccessful
from local.part import PartFailed
from switchboard.settings import SettingsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Answers phone calls with an AI persona chosen by the dialed number.",
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(worker.worker)
app.command()(call.call)
app.command()(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)
app.add_typer(persona.app, name="persona")
app.add_typer(number.app, name="number")
app.add_typer(trunk.app, name="trunk")
app.add_typer(blocklist.app, name="blocklist")
app.add_typer(user.app, name="user")


def main() -> None:
    """Runs the command line. Status 0: done; 1: a part, check or call failed; 2: settings or input are wrong."""
    try:
        app()
    except (SettingsError, CommandFailed) as error:
        sys.exit(_said(error, 2))
    except (PartFailed, Unsuccessful) as error:
        sys.exit(_said(error, 1))
    except KeyboardInterrupt:
        sys.exit(130)


def _said(error: Exception, status: int) -> int:
    sys.stderr.write(f"switchboard: {error}\n")
    return status
