"""API keys: made by admins, shown once, kept as hashes; the first admin's is made at the first start."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from control.access import tokens
from control.access.actor import Actor, Role
from control.access.guard import ADMIN, GuardedRoute
from control.access.trail import QUERIES, audit
from control.db.pool import Connection, Database
from control.errors import BadRequest, Conflict, NotFound, documented
from control.fields import Text
from switchboard.settings import SettingsError

log = structlog.get_logger(__name__)

FILE = "admin.key"

routes = APIRouter(
    prefix="/api-keys", tags=["API keys"], route_class=GuardedRoute, responses=documented(400, 401, 403, 503)
)


class NewKey(BaseModel):
    """What an admin asks for. Without `expires_at` the key lasts until it is revoked.

    What is made with a key belongs to `user_id`, else to who made the key; it may never more than its owner.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    role: Literal["viewer", "operator", "admin"]
    expires_at: AwareDatetime | None = None
    may_listen: bool = Field(False, description="May listen to recordings, when its owner may.")
    user_id: UUID | None = None

    @field_validator("expires_at")
    @classmethod
    def _in_time(cls, value: datetime | None) -> datetime | None:
        if value is not None and not datetime.now(UTC) < value < datetime(2200, 1, 1, tzinfo=UTC):
            raise ValueError("must be in the future, and before the year 2200")
        return value


class ApiKey(BaseModel):
    """A key, without the key itself."""

    id: UUID
    user_id: UUID
    name: str
    role: Literal["viewer", "operator", "admin"]
    may_listen: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class ShownKey(ApiKey):
    """A new key, with the key itself: shown this once."""

    key: str


class ApiKeys(BaseModel):
    api_keys: list[ApiKey]


@routes.post("", status_code=201, responses=documented(413))
async def make_key(body: NewKey, request: Request, actor: Annotated[Actor, ADMIN]) -> ShownKey:
    """Makes a key. The answer is the only place where it is ever shown."""
    key = tokens.new_key()
    async with request.app.state.parts.database.transaction() as connection:
        owner = body.user_id or actor.owner
        if not await connection.fetchval(QUERIES["user_there"], owner):
            raise BadRequest("user_id: there is no such user.")
        made = await _add(connection, actor, owner, body, key)
    return ShownKey(**made, key=key)


@routes.get("")
async def list_keys(request: Request, _actor: Annotated[Actor, ADMIN]) -> ApiKeys:
    """All keys, revoked ones too, newest first (at most 1,000)."""
    async with request.app.state.parts.database.session() as connection:
        rows = await connection.fetch(QUERIES["list_keys"])
    return ApiKeys(api_keys=[ApiKey(**row) for row in rows])


@routes.delete("/{key_id}", status_code=204, responses=documented(404, 409))
async def revoke_key(key_id: UUID, request: Request, actor: Annotated[Actor, ADMIN]) -> None:
    """Revokes a key, at once and for good. The last lasting admin's key stays."""
    async with request.app.state.parts.database.transaction() as connection:
        await connection.execute(QUERIES["lock_keys"])
        row = await connection.fetchrow(QUERIES["key"], key_id)
        if row is None:
            raise NotFound("There is no such API key.")
        if _rules(row) and not await connection.fetchval(QUERIES["admins_besides"], key_id):
            raise Conflict("This is the last admin's key without an expiry; make another one first.")
        await connection.execute(QUERIES["revoke_key"], key_id)
        await audit(connection, actor, "api_key.revoked", str(key_id), {"name": row["name"]})


async def _add(connection: Connection, actor: Actor, owner: UUID, new: NewKey, key: str) -> dict[str, Any]:
    made, kept = uuid4(), tokens.hashed(key)
    await connection.execute(
        QUERIES["add_key"], made, owner, new.name, new.role, new.may_listen, kept, actor.name, new.expires_at
    )
    await audit(connection, actor, "api_key.made", str(made), {"name": new.name, "role": new.role})
    row = await connection.fetchrow(QUERIES["key"], made)
    return dict(row or {})


def _rules(row: Mapping[str, Any]) -> bool:
    return row["role"] == Role.ADMIN.word and row["revoked_at"] is None and row["expires_at"] is None


async def ensure_first_key(database: Database, home: Path) -> None:
    """Makes the first admin's key when there is none at all, and keeps it in `home`/admin.key.

    A file that is there already (of a database that was lost or made anew) is taken as the key.
    Raises `SettingsError` when the file cannot be written or holds no key.
    """
    async with database.transaction() as connection:
        await connection.execute(QUERIES["lock_keys"])
        if await connection.fetchval(QUERIES["any_key"]):
            return
        key = _key_in(home / FILE)
        actor = Actor("first start", None)
        owner = await connection.fetchval(QUERIES["first_admin"])
        await _add(connection, actor, owner, NewKey(name="first admin", role="admin", may_listen=True), key)
    log.info("first_admin", file=str(home / FILE))


def _key_in(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return _read(path)
        key = tokens.new_key()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(key + "\n")
    except OSError as error:
        raise SettingsError(f"{path} cannot be used ({error.strerror}): make SWITCHBOARD_HOME writable.") from None
    return key


def _read(path: Path) -> str:
    key = path.read_text(encoding="utf-8", errors="replace").strip()
    if not key.startswith(tokens.KEY_PREFIX) or len(key) < 40:
        raise SettingsError(f"{path} holds no API key: remove the file, and a new one is made.")
    path.chmod(0o600)
    return key
