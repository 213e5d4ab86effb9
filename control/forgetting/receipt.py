"""The receipt of a request to forget: what went, by place and count, and never what it was."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from control.db.pool import Connection, Row
from control.errors import NotFound
from control.forgetting.tables import QUERIES


@dataclass(frozen=True, slots=True)
class Receipt:
    """`finished_at` is None while something is still to go; it may be again, when more is found."""

    id: UUID
    of_caller: bool
    asked_at: datetime
    asked_by: str
    user_id: UUID | None
    finished_at: datetime | None
    went: dict[str, int]
    kept: dict[str, int]

    @classmethod
    def of(cls, row: Row) -> Self:
        values: dict[str, Any] = dict(row)
        return cls(of_caller=values.pop("number") is not None, **values)


async def read(connection: Connection, id: UUID) -> Receipt:
    """Raises `NotFound`."""
    row = await connection.fetchrow(QUERIES["receipt"], id)
    if row is None:
        raise NotFound("There is no such receipt.")
    return Receipt.of(row)
