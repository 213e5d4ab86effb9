"""What a route needs of those who ask.

Every route declares it, and a route that does not cannot be made (`GuardedRoute`). The check comes before the
request's body is read.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from control.access import cookies
from control.access.actor import Actor, Role
from control.errors import Forbidden, Unauthorized

_BEARER = HTTPBearer(auto_error=False, description="An API key, or INTERNAL_TOKEN for internal routes.")
_COOKIE = APIKeyCookie(
    name=cookies.NAME,
    auto_error=False,
    description="A browser session, begun by POST /sign-in; over https the name is "
    f"`{cookies.SECURE_NAME}`. Changes need the header `X-CSRFToken` beside it, with the token of GET /me.",
)


class Guard(Protocol):
    """What one who asks must show."""

    def admits(self, actor: Actor | None) -> None:
        """Raises `Unauthorized` or `Forbidden` for those who may not."""


@dataclass(frozen=True)
class Needs:
    """The route's declaration: at least `role`, or, when `internal`, the internal token as well.

    `role` None with `internal`: the internal token alone. `listening`: the permission to hear recordings too.
    """

    role: Role | None
    internal: bool = False
    listening: bool = False

    async def __call__(
        self,
        request: Request,
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
        _cookie: Annotated[str | None, Security(_COOKIE)] = None,
    ) -> Actor:
        return cast(Actor, request.state.actor)

    def admits(self, actor: Actor | None) -> None:
        if actor is None:
            raise Unauthorized("Sign in, or send `Authorization: Bearer KEY` with a key that is valid.")
        if actor.role is None and not self.internal:
            raise Forbidden("The internal token opens internal routes only; use an API key.")
        if actor.role is not None and (self.role is None or actor.role < self.role):
            needed = self.role.word if self.role else "internal"
            raise Forbidden(f"This needs the role {needed}; {actor.name} has {actor.role.word}.")
        if self.listening and not actor.may_listen:
            raise Forbidden(f"This needs the permission to listen to recordings, which {actor.name} does not have.")


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
LISTENER = Depends(Needs(Role.VIEWER, listening=True))
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
            if isinstance(guard, Open):
                return await handle(request)
            actor = await request.app.state.parts.gatekeeper.actor(request)
            guard.admits(actor)
            if actor.session_id is not None:
                await cookies.refuse_forged(request)
            request.state.actor = actor
            response = await handle(request)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return guarded
