"""Which callers get no agent: read by viewers, changed by operators, and asked for by the webhook service."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from control.access import INTERNAL, OPERATOR, VIEWER, Actor, GuardedRoute
from control.blocklist import store
from control.blocklist.store import NO_PATTERN, Entry
from control.errors import documented
from control.fields import Text
from switchboard.blocklist import PATH, Patterns, pattern_of

_COMMON = documented(400, 401, 403, 503)
routes = APIRouter(prefix="/blocklist", tags=["Blocklist"], route_class=GuardedRoute, responses=_COMMON)
internal_routes = APIRouter(tags=["Internal"], route_class=GuardedRoute, responses=_COMMON)


def _blockable(value: str) -> str:
    if pattern_of(value) is None:
        raise ValueError(NO_PATTERN)
    return value.strip()


Blockable = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="A number in any spelling, the beginning of numbers such as `+1555*`, or `anonymous`: callers "
        "who show no number.",
    ),
    AfterValidator(_blockable),
]


class BlockedIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: Blockable
    reason: Annotated[Text, Field(max_length=500)] = ""


class BlockedOut(BaseModel):
    """A blocked caller, as it was written; `pattern` is the same without its spelling."""

    number: str
    pattern: str
    reason: str
    added_at: datetime
    added_by: str

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(
            number=entry.written,
            pattern=entry.pattern,
            reason=entry.reason,
            added_at=entry.added_at,
            added_by=entry.added_by,
        )


class BlockedPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    blocklist: list[BlockedOut]
    next: str | None


@routes.get("")
async def list_blocked(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    cursor: Annotated[str, Query(pattern=r"^(anonymous|[0-9]{0,32}\*?)$")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> BlockedPage:
    """Blocked callers, by their digits."""
    async with request.app.state.parts.database.session() as connection:
        found = await store.listed(connection, after=cursor, limit=limit + 1)
    page = found[:limit]
    return BlockedPage(
        blocklist=[BlockedOut.of(one) for one in page], next=page[-1].pattern if len(found) > limit else None
    )


@routes.post(
    "",
    status_code=201,
    responses=documented(409, 413) | {200: {"model": BlockedOut, "description": "It was blocked."}},
)
async def block(
    body: BlockedIn, request: Request, response: Response, actor: Annotated[Actor, OPERATOR]
) -> BlockedOut:
    """Blocks a caller: within seconds their calls are refused while they ring. Calls under way go on."""
    async with request.app.state.parts.database.transaction() as connection:
        entry, made = await store.add(connection, actor, body.number, body.reason)
    if not made:
        response.status_code = 200
    return BlockedOut.of(entry)


@routes.delete("/{number}", status_code=204, responses=documented(404))
async def unblock(number: Blockable, request: Request, actor: Annotated[Actor, OPERATOR]) -> None:
    """Takes a caller off the list, as it was put there, in any spelling."""
    async with request.app.state.parts.database.transaction() as connection:
        await store.remove(connection, actor, number)


@internal_routes.get(PATH)
async def patterns(request: Request, _actor: Annotated[Actor, INTERNAL]) -> Patterns:
    """The whole list, for the installation's own processes."""
    async with request.app.state.parts.database.session() as connection:
        return Patterns(patterns=tuple(await store.patterns(connection)))
