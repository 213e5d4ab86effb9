"""Who asks, and whether they may: a bearer key with a role, or the installation's internal token.

Every route declares what it needs, and a route that does not cannot be made (`GuardedRoute`). The check comes
before the request's body is read.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from control.db.pool import Connection, Database
from control.db.queries import load
from control.errors import Forbidden, Unauthorized

QUERIES = load(Path(__file__).parent)

PREFIX = "sb_"
_BEARER = HTTPBearer(auto_error=False, description="An API key, or INTERNAL_TOKEN for internal routes.")


class Role(IntEnum):
    """What a key allows; each role may what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `role` is None for the installation's own processes."""

    name: str
    role: Role | None


class Guard(Protocol):
    """What one who asks must show."""

    def admits(self, actor: Actor | None) -> None:
        """Raises `Unauthorized` or `Forbidden` for those who may not."""


@dataclass(frozen=True)
class Needs:
    """The route's declaration: at least `role`, or, when `internal`, the internal token as well.

    `role` None with `internal`: the internal token alone.
    """

    role: Role | None
    internal: bool = False

    async def __call__(
        self, request: Request, _shown: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None
    ) -> Actor:
        return cast(Actor, request.state.actor)

    def admits(self, actor: Actor | None) -> None:
        if actor is None:
            raise Unauthorized("Send `Authorization: Bearer KEY` with a key that is valid.")
        if actor.role is None and not self.internal:
            raise Forbidden("The internal token opens internal routes only; use an API key.")
        if actor.role is not None and (self.role is None or actor.role < self.role):
            needed = self.role.word if self.role else "internal"
            raise Forbidden(f"This needs the role {needed}; the key has {actor.role.word}.")


@dataclass(frozen=True)
class Open:
    """The route's declaration that anybody may ask."""

    async def __call__(self) -> None:
        return None

    def admits(self, actor: Actor | None) -> None:
        return None


VIEWER = Depends(Needs(Role.VIEWER))
OPERATOR = Depends(Needs(Role.OPERATOR))
ADMIN = Depends(Needs(Role.ADMIN))
INTERNAL = Depends(Needs(None, internal=True))
VIEWER_OR_INTERNAL = Depends(Needs(Role.VIEWER, internal=True))
PUBLIC = Depends(Open())


def declared(dependant: Dependant) -> Guard | None:
    """What a route says it needs."""
    if isinstance(dependant.call, Needs | Open):
        return dependant.call
    return next((guard for inner in dependant.dependencies if (guard := declared(inner))), None)


class GuardedRoute(APIRoute):
    """A route that checks who asks before it reads what they ask."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        guard = declared(self.dependant)
        if guard is None:
            raise TypeError(f"{self.path} declares no role")

        async def guarded(request: Request) -> Response:
            if not isinstance(guard, Open):
                actor = await request.app.state.parts.gatekeeper.actor(request.headers.get("Authorization"))
                guard.admits(actor)
                request.state.actor = actor
            return await handle(request)

        return guarded


class Gatekeeper:
    """Knows who shows which credentials."""

    def __init__(self, database: Database, internal_token: str) -> None:
        self._database = database
        self._internal = internal_token.encode()

    async def actor(self, header: str | None) -> Actor | None:
        """Who shows this `Authorization` header. Raises `DatabaseAway`."""
        scheme, _, shown = (header or "").partition(" ")
        shown = shown.strip()
        if scheme.lower() != "bearer" or not shown:
            return None
        if self._internal and hmac.compare_digest(shown.encode(errors="replace"), self._internal):
            return Actor("internal", None)
        if not shown.startswith(PREFIX):
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(QUERIES["key_by_hash"], hashed(shown))
        return Actor(f"key:{row['name']}", Role[row["role"].upper()]) if row else None


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> bytes:
    """What is kept of a key: its bits are random, so that one pass of SHA-256 is enough."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


async def audit(
    connection: Connection, actor: Actor, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """Writes down a change, in the transaction that makes it."""
    await connection.execute(QUERIES["add_audit"], actor.name, action, subject, dict(detail or {}))
