"""Personas and their versions in Postgres."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from control.access import Actor, audit
from control.db.pool import Connection
from control.db.queries import load
from control.errors import Conflict, NotFound
from control.personas.document import DEFAULT

QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Stored:
    """A persona as it is now; `body` is as it was written."""

    slug: str
    version: int
    body: dict[str, Any]
    numbers: list[str]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    version: int
    body: dict[str, Any]
    created_at: datetime
    created_by: str


async def get(connection: Connection, slug: str) -> Stored:
    """Raises `NotFound`."""
    row = await connection.fetchrow(QUERIES["persona"], slug)
    if row is None:
        raise missing(slug)
    return Stored(**row)


async def listed(connection: Connection, *, after: str, limit: int) -> list[Stored]:
    """Personas by slug, from the one behind `after` on."""
    return [Stored(**row) for row in await connection.fetch(QUERIES["list_personas"], after, limit)]


async def make(connection: Connection, actor: Actor, slug: str, body: Mapping[str, Any]) -> int:
    """Makes a persona; returns its version. Raises `Conflict` when the slug is taken."""
    version = await connection.fetchval(QUERIES["make_persona"], slug)
    if version is None:
        raise Conflict(f"There is a persona {slug} already; PUT /personas/{slug} changes it.")
    await _keep(connection, actor, slug, version, body)
    await audit(connection, actor, "persona.made", slug, {"version": version})
    return int(version)


async def change(connection: Connection, actor: Actor, slug: str, body: Mapping[str, Any]) -> int | None:
    """Makes the next version of a persona and returns its number; None when there is no such persona."""
    version = await connection.fetchval(QUERIES["advance_persona"], slug)
    if version is None:
        return None
    await _keep(connection, actor, slug, version, body)
    await audit(connection, actor, "persona.changed", slug, {"version": version})
    return int(version)


async def _keep(connection: Connection, actor: Actor, slug: str, version: int, body: Mapping[str, Any]) -> None:
    await connection.execute(QUERIES["add_version"], slug, version, dict(body), actor.name)


async def remove(connection: Connection, actor: Actor, slug: str) -> None:
    """Removes a persona; its versions stay. Raises `NotFound`, and `Conflict` while numbers lead to it."""
    if await connection.fetchrow(QUERIES["lock_persona"], slug) is None:
        raise missing(slug)
    if slug == DEFAULT:
        raise Conflict("The default persona stays: it answers where no other one does.")
    numbers = [row["written"] for row in await connection.fetch(QUERIES["numbers_of"], slug)]
    if numbers:
        raise Conflict(f"{slug} answers {', '.join(numbers[:5])}: give these numbers another persona first.")
    await connection.execute(QUERIES["remove_persona"], slug)
    await audit(connection, actor, "persona.removed", slug)


async def versions(connection: Connection, slug: str, *, below: int, limit: int) -> list[Version]:
    """The versions of a persona, newest first, those of a removed one too."""
    return [Version(**row) for row in await connection.fetch(QUERIES["versions"], slug, below, limit)]


def missing(slug: str) -> NotFound:
    return NotFound(f"There is no persona {slug}.")
