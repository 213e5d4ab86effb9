"""`switchboard persona`: list, show, add, remove."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cli.api import Api, Refused
from cli.fault import CommandFailed
from cli.output import Json, print_json, print_table
from switchboard.settings import Settings

_MAX_BYTES = 1024 * 1024
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

app = typer.Typer(no_args_is_help=True, help="Who answers: list, show, add, remove personas.")
Slug = Annotated[str, typer.Argument(help="The persona's short name.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All personas, with the numbers that lead to them."""
    found = Api.of(Settings.read()).pages("personas")
    if as_json:
        return print_json(found)
    rows = [(one["slug"], one["persona_name"], one["version"], ", ".join(one["numbers"])) for one in found]
    return print_table(("slug", "name", "version", "numbers"), rows)


@app.command()
def show(slug: Slug, as_json: Json = False) -> None:
    """One persona as it was written."""
    found = Api.of(Settings.read()).get("personas", slug)
    if as_json:
        return print_json(found)
    return typer.echo(yaml.safe_dump(found["persona"], sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="YAML or JSON.")],
    slug: Annotated[str, typer.Option(help="Its short name; else the file's field `slug`, or the file's name.")] = "",
) -> None:
    """Add a persona, or a new version of it. Calls from now on use it."""
    persona = read(file)
    name = slug or str(persona.get("slug") or file.stem)
    if not _SLUG.fullmatch(name):
        raise CommandFailed(f"{name!r} is no short name: give one of small letters, digits and dashes by --slug.")
    try:
        stored = Api.of(Settings.read()).put("personas", name, body={**persona, "slug": name})
    except Refused as error:
        raise CommandFailed(f"{file}: {error}") from None
    typer.echo(f"{stored['slug']}: version {stored['version']} of {stored['persona_name']}.")


@app.command()
def remove(slug: Slug) -> None:
    """Remove a persona that no number leads to."""
    Api.of(Settings.read()).delete("personas", slug)
    typer.echo(f"{slug}: removed.")


def read(file: Path) -> dict[str, Any]:
    """The persona in a file. Raises `CommandFailed` naming the file and what is wrong."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise CommandFailed(f"{file} is larger than {_MAX_BYTES >> 20} MiB: a persona is not.")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read ({error.strerror}): name a YAML or JSON file.") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{file} is no text: name a YAML or JSON file.") from None
    try:
        found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        # What YAML reads as a date has no place in JSON.
        json.dumps(found)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CommandFailed(f"{file} is no YAML ({line}{error.problem}): mend that line.") from None
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise CommandFailed(f"{file} is no persona ({error}): mend it.") from None
    if not isinstance(found, dict):
        raise CommandFailed(f"{file} holds no persona: its top level must be names and values.")
    return {str(name): value for name, value in found.items()}
