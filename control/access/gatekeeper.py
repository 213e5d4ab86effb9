"""Knows who shows which credentials."""

import hmac
from datetime import timedelta

from starlette.requests import HTTPConnection

from control.access import cookies
from control.access.actor import Actor, Role
from control.access.tokens import KEY_PREFIX, hashed
from control.access.trail import QUERIES
from control.db.pool import Database

# A session ends when it was not used for so long, or after so long whatever its use.
IDLE = timedelta(hours=12)
LASTS = timedelta(days=7)


class Gatekeeper:
    """A user's role and permissions are read on each request, so that changes count at once."""

    def __init__(self, database: Database, internal_token: str) -> None:
        self._database = database
        self._internal = internal_token.encode()

    async def actor(self, connection: HTTPConnection) -> Actor | None:
        """Who asks, by `Authorization` or else by cookie; None for credentials that are not good.

        Raises `DatabaseAway`.
        """
        header = connection.headers.get("Authorization")
        if header is not None:
            return await self._by_bearer(header)
        token = cookies.shown(connection)
        return await self._by_session(token) if token else None

    async def _by_bearer(self, header: str) -> Actor | None:
        scheme, _, shown = header.partition(" ")
        shown = shown.strip()
        if scheme.lower() != "bearer" or not shown:
            return None
        if self._internal and hmac.compare_digest(shown.encode(errors="replace"), self._internal):
            return Actor("internal", None)
        if not shown.startswith(KEY_PREFIX):
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(QUERIES["key_by_hash"], hashed(shown))
        if row is None:
            return None
        # A key may never more than its owner.
        role = min(Role.of(row["role"]), Role.of(row["owners_role"]))
        return Actor(f"key:{row['name']}", role, row["user_id"], row["may_listen"])

    async def _by_session(self, token: str) -> Actor | None:
        async with self._database.session() as connection:
            row = await connection.fetchrow(QUERIES["session_by_hash"], hashed(token), IDLE)
            if row is None:
                return None
            if row["stale"]:
                await connection.execute(QUERIES["touch_session"], row["id"])
        return Actor(
            f"user:{row['handle']}", Role.of(row["role"]), row["user_id"], row["may_listen"], session_id=row["id"]
        )
