"""Links that sign somebody in once: short-lived ones for users, lasting ones for those who are invited."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from control.access.actor import Actor
from control.access.tokens import LinkToken, hashed, new_secret
from control.access.trail import QUERIES, audit
from control.access.users import User, get
from control.db.pool import Connection
from control.errors import Unauthorized

SIGN_IN = timedelta(minutes=10)
INVITE = timedelta(days=7)
PATH = "/sign-in"
_NOT_GOOD = "This link is not good: it was used, has expired or never was. Ask an admin for another one."


@dataclass(frozen=True, slots=True)
class Link:
    """The token is shown this once."""

    token: str
    expires_at: datetime

    def at(self, base: str) -> str:
        """The address to open. Browsers keep what stands behind the # to themselves, so no log on the way has it."""
        return f"{base.rstrip('/')}{PATH}#{self.token}"


async def make(connection: Connection, actor: Actor, user: User, lasts: timedelta) -> Link:
    token = LinkToken(uuid4(), new_secret())
    expires_at = await connection.fetchval(
        QUERIES["add_link"], token.id, user.id, hashed(token.secret), actor.name, lasts
    )
    await audit(connection, actor, "link.made", str(user.id), {"handle": user.handle, "link": str(token.id)})
    return Link(str(token), expires_at)


async def account(connection: Connection, token: LinkToken | None) -> UUID | None:
    """Whom a try with this token is counted for. A link that never was counts for itself, so that nobody can tell."""
    if token is None:
        return None
    return await connection.fetchval(QUERIES["user_of_link"], token.id) or token.id


async def redeem(connection: Connection, token: LinkToken | None) -> User:
    """Uses a link up, in a transaction. Raises `Unauthorized`, which says the same whatever is wrong."""
    user_id = await connection.fetchval(QUERIES["user_of_link"], token.id) if token else None
    if token is None or user_id is None:
        raise Unauthorized(_NOT_GOOD)
    # The user before the link, as removing somebody does it: in the other order the two would wait for each other.
    if await connection.fetchval(QUERIES["signed_in"], user_id) is None:
        raise Unauthorized(_NOT_GOOD)
    if await connection.fetchval(QUERIES["use_link"], token.id, hashed(token.secret)) is None:
        raise Unauthorized(_NOT_GOOD)
    return await get(connection, user_id)
