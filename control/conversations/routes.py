"""Calls over HTTP, and what other processes ask of the log."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from control import places
from control.access import INTERNAL, OPERATOR, VIEWER, Actor, GuardedRoute, audit
from control.conversations import calls, codes, history
from control.conversations.log import QUERIES
from control.conversations.web import web_call
from control.errors import documented
from control.fields import PhoneNumber, Text
from switchboard.call import CONVERSATION_ID
from switchboard.history import History

_COMMON = documented(400, 401, 403, 503)
calls_routes = APIRouter(prefix="/calls", tags=["Calls"], route_class=GuardedRoute, responses=_COMMON)
internal_routes = APIRouter(prefix="/internal", tags=["Internal"], route_class=GuardedRoute, responses=_COMMON)


class CallOut(BaseModel):
    """One call. Times are null until they come; `reason` says why it ended."""

    call_id: UUID
    conversation_id: str
    status: Literal["ringing", "live", "ended"]
    channel: str | None
    room: str | None
    dialed: str | None
    caller: str | None
    persona: str | None
    persona_source: str | None
    persona_version: str | None
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    duration_s: float | None
    turns: int | None


class CallPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    calls: list[CallOut]
    next: str | None


class Line(BaseModel):
    """`offset_s` is where it begins in the call, and so in its recording."""

    role: str
    text: str
    at: datetime
    interrupted: bool
    offset_s: float | None
    seq: int


class EventOut(BaseModel):
    """A fact in its place. `body` has what its kind says."""

    seq: int
    id: UUID
    conversation_id: str
    at: datetime
    source: str
    kind: str
    body: dict[str, Any]


class TurnLatency(BaseModel):
    seq: int
    at: datetime
    stages: dict[str, float]


class Latencies(BaseModel):
    """Seconds by stage."""

    p50: dict[str, float]
    p95: dict[str, float]
    by_turn: list[TurnLatency]


class CallDetail(CallOut):
    transcript: list[Line]
    events: list[EventOut]
    latencies: Latencies


class WebCallIn(BaseModel):
    """With `code` the call goes on with the conversation that the code was made for."""

    model_config = ConfigDict(extra="forbid")

    number: PhoneNumber
    code: str | None = None


class WebCallOut(BaseModel):
    """Join `room` at `url` with `token` within a minute."""

    url: str
    token: str
    room: str
    call_id: UUID


class Ids(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] = Field(max_length=500)


class Unrecorded(BaseModel):
    unrecorded: list[UUID]


@calls_routes.get("")
async def list_calls(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    live: bool | None = None,
    persona: Annotated[Text | None, Query(max_length=200, description="The persona's name.")] = None,
    number: Annotated[PhoneNumber | None, Query(description="The dialed number, in any spelling.")] = None,
    conversation_id: Annotated[Text | None, Query(max_length=128)] = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> CallPage:
    """Calls, newest first. `live=true`: those that have not ended."""
    asked = calls.Filter(
        live=live,
        persona=persona,
        number=number,
        conversation_id=conversation_id,
        since=since,
        until=until,
        cursor=None if cursor is None else places.read(cursor),
    )
    async with request.app.state.parts.database.session() as connection:
        rows = await calls.listed(connection, asked, limit + 1)
    page = [CallOut(**_named(row)) for row in rows[:limit]]
    last = page[-1] if len(rows) > limit else None
    return CallPage(calls=page, next=places.write(last.started_at, last.call_id) if last else None)


@calls_routes.get("/{call_id}", responses=documented(404))
async def read_call(call_id: UUID, request: Request, _actor: Annotated[Actor, VIEWER]) -> CallDetail:
    """One call: its transcript, all its events, its latencies."""
    async with request.app.state.parts.database.session() as connection:
        row, events = await calls.one(connection, call_id)
    shown = [
        EventOut(
            seq=event.seq,
            id=event.fact.id,
            conversation_id=event.fact.conversation_id,
            at=event.fact.at,
            source=event.fact.source,
            kind=event.fact.kind,
            body=event.fact.body.model_dump(mode="json", exclude={"kind"}),
        )
        for event in events
    ]
    return CallDetail(
        **_named(row),
        transcript=[Line(**line) for line in calls.transcript(events)],
        events=shown,
        latencies=Latencies(**calls.latencies(events)),
    )


@calls_routes.post("/web", responses=documented(404, 413))
async def make_web_call(body: WebCallIn, request: Request, actor: Annotated[Actor, OPERATOR]) -> WebCallOut:
    """A call from a browser to a number: where to join, and a token for one room."""
    async with request.app.state.parts.database.transaction() as connection:
        conversation = None if body.code is None else await codes.redeem(connection, actor, body.code)
        made = web_call(request.app.state.parts.settings, body.number, conversation)
        await audit(connection, actor, "call.web", str(made.call_id), {"number": body.number})
    return WebCallOut(**asdict(made))


@internal_routes.post("/facts/unrecorded", responses=documented(413))
async def unrecorded(body: Ids, request: Request, _actor: Annotated[Actor, INTERNAL]) -> Unrecorded:
    """Which of these facts the log does not hold (yet)."""
    async with request.app.state.parts.database.session() as connection:
        rows = await connection.fetch(QUERIES["unrecorded"], body.ids)
    return Unrecorded(unrecorded=[row["id"] for row in rows])


@internal_routes.get("/conversations/{conversation_id}/items", response_model_exclude_unset=True)
async def read_history(
    conversation_id: Annotated[str, Path(pattern=f"^{CONVERSATION_ID}$")],
    beside: UUID,
    request: Request,
    _actor: Annotated[Actor, INTERNAL],
) -> History:
    """The newest of what was said in a conversation, but not in the call `beside`; nothing for one that never was."""
    async with request.app.state.parts.database.session() as connection:
        return await history.beside(connection, conversation_id, beside)


def _named(row: Any) -> dict[str, Any]:
    values = dict(row)
    return {**values, "call_id": values.pop("id")}
