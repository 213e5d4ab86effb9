"""Dialed numbers: each leads to a persona, or to weighted variants of one campaign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control.access import Actor, audit
from control.db.pool import Connection
from control.errors import BadRequest, NotFound
from control.personas.document import served
from control.personas.store import QUERIES
from switchboard.number import normalise


@dataclass(frozen=True, slots=True)
class Share:
    """A persona's part of a number's calls; weights count against each other."""

    persona: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Number:
    """`number` as it was written; `campaign` is None for a number with a persona of its own."""

    number: str
    campaign: str | None
    shares: tuple[Share, ...]
    key: str
    updated_at: datetime


async def answering(connection: Connection, dialed: str) -> dict[str, Any]:
    """What the Persona API says of a number: a persona, or the variants of a campaign. Raises `NotFound`."""
    rows = await connection.fetch(QUERIES["answering"], normalise(dialed) or "")
    if not rows:
        raise NotFound("No persona answers this number.")
    personas = [served(row["body"], row["slug"], row["version"]) for row in rows]
    if rows[0]["campaign"] is None:
        return personas[0]
    variants = [{"weight": row["weight"], "persona": one} for row, one in zip(rows, personas, strict=True)]
    return {"campaign": rows[0]["campaign"], "variants": variants}


async def get(connection: Connection, number: str) -> Number:
    """Raises `NotFound`."""
    row = await connection.fetchrow(QUERIES["number"], normalise(number) or "")
    if row is None:
        raise NotFound("There is no such number.")
    return _number(row)


async def listed(connection: Connection, *, after: str, limit: int) -> list[Number]:
    return [_number(row) for row in await connection.fetch(QUERIES["list_numbers"], after, limit)]


async def put(
    connection: Connection, actor: Actor, number: str, shares: Sequence[Share], campaign: str | None = None
) -> bool:
    """Leads `number` to these personas; True when it is new. Raises `BadRequest` for an unknown persona."""
    key = normalise(number)
    if key is None:
        raise BadRequest("number: is no phone number.")
    slugs = sorted({share.persona for share in shares})
    known = {row["slug"] for row in await connection.fetch(QUERIES["known_slugs"], slugs)}
    for slug in slugs:
        if slug not in known:
            raise BadRequest(f"persona: there is no persona {slug}.")
    made = await connection.fetchval(QUERIES["set_number"], key, number.strip(), campaign)
    await connection.execute(QUERIES["forget_personas_of"], key)
    for position, share in enumerate(shares):
        await connection.execute(QUERIES["add_persona_of"], key, position, share.persona, share.weight)
    await audit(connection, actor, "number.set", key, {"personas": slugs, "campaign": campaign})
    return bool(made)


async def remove(connection: Connection, actor: Actor, number: str) -> None:
    """Raises `NotFound`."""
    key = normalise(number) or ""
    if await connection.fetchval(QUERIES["remove_number"], key) is None:
        raise NotFound("There is no such number.")
    await audit(connection, actor, "number.removed", key)


def _number(row: Mapping[str, Any]) -> Number:
    shares = tuple(Share(slug, weight) for slug, weight in zip(row["slugs"], row["weights"], strict=True))
    return Number(row["written"], row["campaign"], shares, row["number"], row["updated_at"])
