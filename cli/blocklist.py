"""`switchboard blocklist`: which callers get no agent."""

from typing import Annotated

import typer

from cli.api import Api
from cli.fault import CommandFailed
from cli.output import Json, print_json, print_table
from switchboard.blocklist import pattern_of
from switchboard.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Which callers get no agent: list, add, remove.")
Number = Annotated[
    str, typer.Argument(help="In any spelling, such as +15550100001; '+1555*' for all that begin so; or anonymous.")
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All blocked callers."""
    found = Api.of(Settings.read()).pages("blocklist")
    if as_json:
        return print_json(found)
    rows = [(one["number"], one["reason"], one["added_by"], one["added_at"][:19]) for one in found]
    return print_table(("number", "reason", "by", "since"), rows)


@app.command()
def add(
    number: Number, reason: Annotated[str, typer.Option(help="Why, for who reads the list.", show_default=False)] = ""
) -> None:
    """Block a caller: within seconds their calls are refused while they ring."""
    stored = Api.of(Settings.read()).post("blocklist", body={"number": _checked(number), "reason": reason})
    typer.echo(f"{stored['number']}: blocked.")


@app.command()
def remove(number: Number) -> None:
    """Let a caller through again."""
    number = _checked(number)
    Api.of(Settings.read()).delete("blocklist", number)
    typer.echo(f"{number}: no longer blocked.")


def _checked(number: str) -> str:
    if pattern_of(number) is None:
        raise CommandFailed(f"{number!r} can block nobody: write it like +15550100001, '+1555*' or anonymous.")
    return number
