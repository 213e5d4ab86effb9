"""What admins do: users, their links, invites, and the audit log."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from control.access import links, trail, users
from control.access.actor import Actor
from control.access.guard import ADMIN, GuardedRoute
from control.access.shapes import (
    AuditPage,
    EntryOut,
    InviteOut,
    LinkOut,
    UserChange,
    UserIn,
    UserOut,
    UserPage,
)
from control.conversations import chats
from control.errors import documented
from control.fields import Text

_COMMON = documented(400, 401, 403, 503)
users_routes = APIRouter(prefix="/users", tags=["Users"], route_class=GuardedRoute, responses=_COMMON)
invites_routes = APIRouter(prefix="/invites", tags=["Users"], route_class=GuardedRoute, responses=_COMMON)
audit_routes = APIRouter(prefix="/audit", tags=["Audit"], route_class=GuardedRoute, responses=_COMMON)

Limit = Annotated[int, Query(ge=1, le=200)]
Wanted = Annotated[Text | None, Query(min_length=1, max_length=200)]
_NEWEST = 2**63 - 1


def _base(request: Request) -> str:
    """Where browsers reach us."""
    return str(request.app.state.parts.settings.control_public_url or request.base_url)


@users_routes.get("")
async def list_users(
    request: Request,
    _actor: Annotated[Actor, ADMIN],
    cursor: Annotated[Text, Query(max_length=100)] = "",
    limit: Limit = 50,
) -> UserPage:
    """Users by handle, those who are invited and have not come too."""
    async with request.app.state.parts.database.session() as connection:
        found = await users.listed(connection, after=cursor, limit=limit + 1)
    page = found[:limit]
    return UserPage(users=[UserOut.of(one) for one in page], next=page[-1].handle if len(found) > limit else None)


@users_routes.post("", status_code=201, responses=documented(409, 413))
async def make_user(body: UserIn, request: Request, actor: Annotated[Actor, ADMIN]) -> UserOut:
    """Makes a user. POST /users/{user_id}/links lets them in."""
    async with request.app.state.parts.database.transaction() as connection:
        return UserOut.of(await users.make(connection, actor, body.new()))


@users_routes.get("/{user_id}", responses=documented(404))
async def read_user(user_id: UUID, request: Request, _actor: Annotated[Actor, ADMIN]) -> UserOut:
    """One user."""
    async with request.app.state.parts.database.session() as connection:
        return UserOut.of(await users.get(connection, user_id))


@users_routes.patch("/{user_id}", responses=documented(404, 409, 413))
async def change_user(user_id: UUID, body: UserChange, request: Request, actor: Annotated[Actor, ADMIN]) -> UserOut:
    """Changes a user, from the next request of theirs on, with their keys. The last admin stays one."""
    async with request.app.state.parts.database.transaction() as connection:
        return UserOut.of(await users.change(connection, actor, user_id, body.change()))


@users_routes.delete("/{user_id}", status_code=204, responses=documented(404, 409))
async def remove_user(user_id: UUID, request: Request, actor: Annotated[Actor, ADMIN]) -> None:
    """Removes a user, at once and for good, with their sessions, links and keys. The last admin stays.

    Calls that they went on with in a chat can be gone on with by others again, without what they wrote.
    """
    async with request.app.state.parts.database.transaction() as connection:
        await users.remove(connection, actor, user_id)
        await chats.let_go_of_calls(connection, user_id)


@users_routes.post("/{user_id}/links", status_code=201, responses=documented(404, 413))
async def make_link(user_id: UUID, request: Request, actor: Annotated[Actor, ADMIN]) -> LinkOut:
    """A link that signs this user in once, within ten minutes. The answer is the only place where it is shown."""
    async with request.app.state.parts.database.transaction() as connection:
        user = await users.get(connection, user_id)
        return LinkOut.of(await links.make(connection, actor, user, links.SIGN_IN), _base(request))


@invites_routes.post("", status_code=201, responses=documented(409, 413))
async def invite(body: UserIn, request: Request, actor: Annotated[Actor, ADMIN]) -> InviteOut:
    """Invites somebody: a user, and a link that signs them in once, within seven days.

    The answer is the only place where the link is shown. DELETE /users/{user_id} takes the invitation back.
    """
    async with request.app.state.parts.database.transaction() as connection:
        user = await users.make(connection, actor, body.new(), invited=True)
        link = await links.make(connection, actor, user, links.INVITE)
    return InviteOut(**LinkOut.of(link, _base(request)).model_dump(), user=UserOut.of(user))


@audit_routes.get("")
async def read_audit(
    request: Request,
    _actor: Annotated[Actor, ADMIN],
    actor: Wanted = None,
    action: Wanted = None,
    subject: Wanted = None,
    cursor: Annotated[int, Query(ge=1, le=_NEWEST)] = _NEWEST,
    limit: Limit = 50,
) -> AuditPage:
    """Who changed what and when, newest first; each filter is for the whole word."""
    asked = trail.Filter(actor, action, subject)
    async with request.app.state.parts.database.session() as connection:
        found = await trail.entries(connection, asked, below=cursor, limit=limit + 1)
    page = [EntryOut.of(one) for one in found[:limit]]
    return AuditPage(audit=page, next=page[-1].id if len(found) > limit else None)
