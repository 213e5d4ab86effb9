"""Messages over HTTP that agents took for the people here, in calls and in writing."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from control import places
from control.access import VIEWER, Actor, GuardedRoute
from control.conversations.log import QUERIES, Event, events_in
from control.errors import documented
from switchboard.fact import MessageTaken

routes = APIRouter(
    prefix="/messages", tags=["Messages"], route_class=GuardedRoute, responses=documented(400, 401, 403, 503)
)


class MessageOut(BaseModel):
    """What somebody leaves to the people here, and where to call back. `call_id` is null for one taken in writing."""

    message_id: UUID
    at: datetime
    call_id: UUID | None
    conversation_id: str
    name: str
    number: str
    text: str

    @classmethod
    def of(cls, event: Event, body: MessageTaken) -> Self:
        fact = event.fact
        return cls(
            message_id=fact.id,
            at=fact.at,
            call_id=fact.call_id,
            conversation_id=fact.conversation_id,
            name=body.name,
            number=body.number,
            text=body.text,
        )


class MessagePage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    messages: list[MessageOut]
    next: str | None


@routes.get("")
async def list_messages(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> MessagePage:
    """Messages, newest first. One goes with its call or conversation when that is forgotten, or its chat removed."""
    at, last = (None, None) if cursor is None else places.read(cursor)
    async with request.app.state.parts.database.session() as connection:
        rows = await connection.fetch(QUERIES["list_messages"], at, last, limit + 1)
    page = rows[:limit]
    return MessagePage(
        messages=[
            MessageOut.of(event, event.fact.body)
            for event in events_in(page)
            if isinstance(event.fact.body, MessageTaken)
        ],
        next=places.write(page[-1]["at"], page[-1]["id"]) if len(rows) > limit else None,
    )
