"""Coming in, going out, and who I am; and the sessions of browsers."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from control.access import cookies, links, page, sessions, users
from control.access.actor import Actor, Role
from control.access.gatekeeper import LASTS
from control.access.guard import PUBLIC, VIEWER, GuardedRoute
from control.access.shapes import Me, SessionOut, Sessions, SignedIn, SignIn, UserOut
from control.access.tokens import LinkToken
from control.db.pool import Connection
from control.errors import BadRequest, NotFound, Unauthorized, documented

log = structlog.get_logger(__name__)

_COMMON = documented(400, 401, 403, 503)
sign_in_routes = APIRouter(tags=["Sign-in"], route_class=GuardedRoute)
sessions_routes = APIRouter(prefix="/browser-sessions", tags=["Sign-in"], route_class=GuardedRoute, responses=_COMMON)

Whose = Annotated[UUID | None, Query(description="The user whose sessions are meant; left out: one's own.")]


@sign_in_routes.get("/sign-in", response_class=HTMLResponse, dependencies=[PUBLIC])
async def sign_in_page() -> HTMLResponse:
    """The page behind a link. It uses nothing up: POST does, with what stands behind the # of the link."""
    return HTMLResponse(page.HTML, headers=page.HEADERS)


@sign_in_routes.post("/sign-in", responses=documented(400, 401, 403, 413, 429, 503), dependencies=[PUBLIC])
async def sign_in(body: SignIn, request: Request, response: Response) -> SignedIn:
    """Uses a link up and begins a session, which the answer's cookie carries."""
    cookies.refuse_other_sites(request)
    parts, token = request.app.state.parts, LinkToken.read(body.token)
    await parts.throttle.address(request.client.host if request.client else "")
    async with parts.database.session() as connection:
        account = await links.account(connection, token)
    if account is not None:
        await parts.throttle.account(account)
    try:
        async with parts.database.transaction() as connection:
            user = await links.redeem(connection, token)
            opened = await sessions.open_for(connection, user, request.headers.get("User-Agent", ""))
    except Unauthorized:
        log.info("sign_in_refused")
        raise
    cookies.give(request, response, opened.token, int(LASTS.total_seconds()))
    response.headers["Cache-Control"] = "no-store"
    return SignedIn(user=UserOut.of(user), csrf_token=cookies.csrf_token(opened.token), expires_at=opened.expires_at)


@sign_in_routes.post("/sign-out", status_code=204, responses=_COMMON | documented(413))
async def sign_out(request: Request, response: Response, actor: Annotated[Actor, VIEWER]) -> None:
    """Ends this browser's session."""
    if actor.session_id is None:
        raise BadRequest("An API key has no session to end; DELETE /api-keys/{key_id} revokes it.")
    async with request.app.state.parts.database.transaction() as connection:
        await sessions.revoke(connection, actor, actor.session_id, of=actor.owner)
    cookies.take_back(request, response)


@sign_in_routes.get("/me", responses=_COMMON)
async def me(request: Request, actor: Annotated[Actor, VIEWER]) -> Me:
    """Who asks, what they may, and the token that their changes need."""
    async with request.app.state.parts.database.session() as connection:
        user = await users.get(connection, actor.owner)
    by_session = actor.session_id is not None
    return Me(
        user=UserOut.of(user),
        actor=actor.name,
        via="session" if by_session else "api_key",
        role=(actor.role or Role.VIEWER).word,
        may_listen=actor.may_listen,
        csrf_token=cookies.csrf_token(cookies.shown(request)) if by_session else None,
    )


@sessions_routes.get("", responses=documented(404))
async def list_sessions(request: Request, actor: Annotated[Actor, VIEWER], user_id: Whose = None) -> Sessions:
    """The sessions that are good now, newest first (at most 200). Those of others are for admins."""
    async with request.app.state.parts.database.session() as connection:
        whose = await _whose(connection, actor, user_id)
        found = await sessions.listed(connection, whose)
    return Sessions(browser_sessions=[SessionOut.of(one, actor) for one in found])


@sessions_routes.delete("", status_code=204, responses=documented(404))
async def revoke_all_sessions(request: Request, actor: Annotated[Actor, VIEWER], user_id: Whose = None) -> None:
    """Ends all sessions at once, this one too, and makes sign-in links that nobody used yet worthless."""
    async with request.app.state.parts.database.transaction() as connection:
        whose = await _whose(connection, actor, user_id)
        await sessions.revoke_all(connection, actor, whose)


@sessions_routes.delete("/{session_id}", status_code=204, responses=documented(404))
async def revoke_session(session_id: UUID, request: Request, actor: Annotated[Actor, VIEWER]) -> None:
    """Ends one session at once. Those of others are for admins."""
    of = None if actor.role is Role.ADMIN else actor.owner
    async with request.app.state.parts.database.transaction() as connection:
        await sessions.revoke(connection, actor, session_id, of=of)


async def _whose(connection: Connection, actor: Actor, asked: UUID | None) -> UUID:
    """Raises `NotFound` for another user, unless an admin asks for one that there is."""
    if asked is None or asked == actor.owner:
        return actor.owner
    if actor.role is not Role.ADMIN:
        raise NotFound("There is no such user.")
    return (await users.get(connection, asked)).id
