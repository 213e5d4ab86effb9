"""`switchboard user`: who may sign in with a browser."""

from typing import Annotated, Any

import typer

from cli.api import Api
from cli.fault import CommandFailed
from cli.output import Json, print_json, print_table
from switchboard.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who may sign in: list, add, remove users, and make links for them.")
Handle = Annotated[str, typer.Argument(help="The user's short name or e-mail address.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All users, those who are invited and have not come too."""
    found = Api.of(Settings.read()).pages("users")
    if as_json:
        return print_json(found)
    rows = [
        (one["handle"], one["name"], one["role"], "yes" if one["may_listen"] else "", _seen(one)) for one in found
    ]
    return print_table(("user", "name", "role", "may listen", "signed in"), rows)


@app.command()
def add(
    handle: Handle,
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "viewer",
    name: Annotated[str, typer.Option(help="Their name; else the handle.", show_default=False)] = "",
    may_listen: Annotated[bool, typer.Option("--may-listen", help="Let them listen to recordings.")] = False,
) -> None:
    """Add a user, and print a link that signs them in once, within ten minutes."""
    api = Api.of(Settings.read())
    made = api.post("users", body={"handle": handle, "name": name or None, "role": role, "may_listen": may_listen})
    typer.echo(f"{made['handle']}: {made['role']}.")
    _print_link(api, made)


@app.command()
def link(handle: Handle) -> None:
    """Print a link that signs a user in once, within ten minutes."""
    api = Api.of(Settings.read())
    _print_link(api, _named(api, handle))


@app.command()
def remove(handle: Handle) -> None:
    """Remove a user, at once and for good, with their sessions and keys."""
    api = Api.of(Settings.read())
    found = _named(api, handle)
    api.delete("users", found["id"])
    typer.echo(f"{found['handle']}: removed.")


def _print_link(api: Api, user: dict[str, Any]) -> None:
    typer.echo(api.post("users", user["id"], "links", body={})["link"])


def _named(api: Api, handle: str) -> dict[str, Any]:
    found = next((one for one in api.pages("users") if one["handle"] == handle.lower()), None)
    if found is None:
        raise CommandFailed(f"there is no user {handle!r}: `switchboard user list` shows them.")
    return dict(found)


def _seen(user: dict[str, Any]) -> str:
    if user["signed_in_at"]:
        return str(user["signed_in_at"])[:19]
    return "never" if user["joined_at"] else "invited"
