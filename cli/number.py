"""`switchboard number`: which number leads to which persona."""

from typing import Annotated, Any

import typer

from cli.api import Api
from cli.fault import CommandFailed
from cli.output import Json, print_json, print_table
from switchboard.number import normalise
from switchboard.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Which number leads to which persona: list, show, add, remove.")
Number = Annotated[str, typer.Argument(help="In any spelling, such as +15550100001.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All numbers. Any other number gets the default persona."""
    found = Api.of(Settings.read()).pages("numbers")
    if as_json:
        return print_json(found)
    return print_table(("number", "persona"), [(one["number"], _leads_to(one)) for one in found])


@app.command()
def show(number: Number, as_json: Json = False) -> None:
    """Where one number leads."""
    number = _checked(number)
    found = Api.of(Settings.read()).get("numbers", number)
    if as_json:
        return print_json(found)
    return typer.echo(f"{found['number']}: {_leads_to(found)}")


@app.command()
def add(number: Number, persona: Annotated[str, typer.Argument(help="The persona's short name.")]) -> None:
    """Lead a number to a persona, from its next call on."""
    number = _checked(number)
    stored = Api.of(Settings.read()).put("numbers", number, body={"persona": persona})
    typer.echo(f"{stored['number']}: {_leads_to(stored)}")


@app.command()
def remove(number: Number) -> None:
    """Forget a number; the default persona answers it from then on."""
    number = _checked(number)
    Api.of(Settings.read()).delete("numbers", number)
    typer.echo(f"{number}: removed.")


def _checked(number: str) -> str:
    if normalise(number) is None:
        raise CommandFailed(f"{number!r} is no phone number: write it like +15550100001.")
    return number


def _leads_to(one: dict[str, Any]) -> str:
    if one["persona"]:
        return str(one["persona"])
    shares = ", ".join(f"{variant['persona']} ({variant['weight']:g})" for variant in one["variants"])
    return f"campaign {one['campaign']}: {shares}"
