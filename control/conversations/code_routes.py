"""One-time codes over HTTP: made here, used where the conversation goes on."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel

from control.access import OPERATOR, VIEWER, Actor, GuardedRoute
from control.conversations import codes
from control.errors import documented

routes = APIRouter(tags=["Codes"], route_class=GuardedRoute, responses=documented(400, 401, 403, 404, 413, 503))


class CodeOut(BaseModel):
    """Shown this once, for who asked alone: good once, until `expires_at`, in `POST /chats` or `POST /calls/web`."""

    code: str
    expires_at: datetime


@routes.post("/chats/{chat_id}/codes", status_code=201)
async def make_chat_code(chat_id: UUID, request: Request, actor: Annotated[Actor, VIEWER]) -> CodeOut:
    """A code by which one's own chat goes on as a call."""
    async with request.app.state.parts.database.transaction() as connection:
        return CodeOut(**asdict(await codes.for_chat(connection, actor, chat_id)))


@routes.post("/calls/{call_id}/codes", status_code=201, responses=documented(409))
async def make_call_code(call_id: UUID, request: Request, actor: Annotated[Actor, OPERATOR]) -> CodeOut:
    """A code by which a call goes on as a chat, or as another call."""
    async with request.app.state.parts.database.transaction() as connection:
        return CodeOut(**asdict(await codes.for_call(connection, actor, call_id)))
