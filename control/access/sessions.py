"""Browser sessions in Postgres."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from control.access.actor import Actor
from control.access.gatekeeper import IDLE, LASTS
from control.access.tokens import hashed, new_secret
from control.access.trail import QUERIES, audit
from control.access.users import User
from control.db.pool import Connection, storable
from control.errors import NotFound

_BROWSER_KEPT = 200


@dataclass(frozen=True, slots=True)
class Session:
    """`browser` is what it calls itself."""

    id: UUID
    user_id: UUID
    browser: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session; the token is for its cookie alone."""

    token: str
    expires_at: datetime


async def open_for(connection: Connection, user: User, browser: str) -> Opened:
    """Begins a session of somebody who has just shown a good link."""
    token, session_id = new_secret(), uuid4()
    expires_at = await connection.fetchval(
        QUERIES["add_session"], session_id, user.id, hashed(token), storable(browser)[:_BROWSER_KEPT], LASTS
    )
    actor = Actor(f"user:{user.handle}", None, user.id)
    await audit(connection, actor, "session.opened", str(session_id))
    return Opened(token, expires_at)


async def listed(connection: Connection, user_id: UUID) -> list[Session]:
    """Those of a user that are good now, newest first."""
    return [Session(**row) for row in await connection.fetch(QUERIES["sessions"], user_id, IDLE)]


async def revoke(connection: Connection, actor: Actor, session_id: UUID, *, of: UUID | None) -> None:
    """Ends a session of the user `of`, or of anybody. Raises `NotFound`."""
    if await connection.fetchval(QUERIES["revoke_session"], session_id, of) is None:
        raise NotFound("There is no such session.")
    await audit(connection, actor, "session.revoked", str(session_id))


async def revoke_all(connection: Connection, actor: Actor, user_id: UUID) -> None:
    """Ends all sessions of a user, and their links with them, so that nobody who has one comes in after."""
    revoked = await connection.fetch(QUERIES["revoke_sessions"], user_id)
    await connection.execute(QUERIES["void_links"], user_id)
    await audit(connection, actor, "session.all_revoked", str(user_id), {"sessions": len(revoked)})
