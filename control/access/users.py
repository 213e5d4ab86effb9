"""Users in Postgres. One who is invited is a user already, who counts as an admin only once they have come."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from control.access.actor import Actor, Role
from control.access.trail import QUERIES, audit
from control.db.pool import Connection
from control.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class User:
    """`joined_at` is None while somebody is invited and has not come."""

    id: UUID
    handle: str
    name: str
    role: str
    may_listen: bool
    created_at: datetime
    created_by: str
    joined_at: datetime | None
    signed_in_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewUser:
    handle: str
    name: str
    role: str
    may_listen: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """None leaves a field as it is."""

    name: str | None = None
    role: str | None = None
    may_listen: bool | None = None


async def get(connection: Connection, user_id: UUID) -> User:
    """Raises `NotFound`."""
    row = await connection.fetchrow(QUERIES["user"], user_id)
    if row is None:
        raise NotFound("There is no such user.")
    return User(**row)


async def listed(connection: Connection, *, after: str, limit: int) -> list[User]:
    """Users by handle, from the one behind `after` on."""
    return [User(**row) for row in await connection.fetch(QUERIES["users"], after, limit)]


async def make(connection: Connection, actor: Actor, new: NewUser, *, invited: bool = False) -> User:
    """Raises `Conflict` when the handle is taken."""
    user_id = await connection.fetchval(
        QUERIES["add_user"], uuid4(), new.handle, new.name, new.role, new.may_listen, actor.name, not invited
    )
    if user_id is None:
        raise Conflict(f"There is a user {new.handle} already.")
    detail = {"handle": new.handle, "role": new.role, "may_listen": new.may_listen}
    await audit(connection, actor, "user.invited" if invited else "user.made", str(user_id), detail)
    return await get(connection, user_id)


async def change(connection: Connection, actor: Actor, user_id: UUID, asked: Change) -> User:
    """Counts from the next request on. Raises `NotFound`, and `Conflict` for the last admin."""
    await connection.execute(QUERIES["lock_users"])
    before = await get(connection, user_id)
    if asked.role is not None and asked.role != Role.ADMIN.word:
        await _keep_an_admin(connection, before)
    await connection.execute(QUERIES["change_user"], user_id, asked.name, asked.role, asked.may_listen)
    after = await get(connection, user_id)
    changed = {
        field: getattr(after, field)
        for field in ("name", "role", "may_listen")
        if getattr(after, field) != getattr(before, field)
    }
    if changed:
        await audit(connection, actor, "user.changed", str(user_id), {"handle": after.handle, **changed})
    return after


async def remove(connection: Connection, actor: Actor, user_id: UUID) -> None:
    """With their sessions, links and keys. Raises `NotFound`, and `Conflict` for the last admin."""
    await connection.execute(QUERIES["lock_users"])
    user = await get(connection, user_id)
    await _keep_an_admin(connection, user)
    await connection.execute(QUERIES["remove_user"], user_id)
    await connection.execute(QUERIES["void_links"], user_id)
    await connection.fetch(QUERIES["revoke_sessions"], user_id)
    keys = await connection.fetch(QUERIES["revoke_keys"], user_id)
    await audit(connection, actor, "user.removed", str(user_id), {"handle": user.handle, "keys": len(keys)})


async def _keep_an_admin(connection: Connection, user: User) -> None:
    """Raises `Conflict` when nobody, or no lasting key, could rule without this user. The users are locked."""
    if user.role != Role.ADMIN.word:
        return
    if user.joined_at is not None and not await connection.fetchval(QUERIES["other_admins"], user.id):
        raise Conflict(f"{user.handle} is the last admin; make another user an admin first.")
    await connection.execute(QUERIES["lock_keys"])
    if not await connection.fetchval(QUERIES["has_lasting_key"], user.id):
        return
    if not await connection.fetchval(QUERIES["lasting_keys_of_others"], user.id):
        raise Conflict(f"{user.handle} has the last admin's key without an expiry; make one for another admin first.")
