"""Chats over HTTP, each its owner's alone."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from control import places
from control.access import VIEWER, Actor, GuardedRoute, audit
from control.conversations import chats, codes
from control.conversations.chats import Chat
from control.errors import BadRequest, documented
from control.fields import Text

routes = APIRouter(
    prefix="/chats", tags=["Chats"], route_class=GuardedRoute, responses=documented(400, 401, 403, 503)
)

Title = Annotated[Text, Field(max_length=200)]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant", "system"]
    content: Annotated[Text, Field(max_length=100_000)]


class Said(BaseModel):
    role: Literal["user", "assistant", "system"]
    content: str


class ChatIn(BaseModel):
    """With `code` the chat goes on with the conversation that the code was made for; one that is a chat already keeps
    its title."""

    model_config = ConfigDict(extra="forbid")

    title: Title = ""
    code: str | None = None


class ChatChange(BaseModel):
    """What is left out stays. `conversation` null clears it, a list replaces it."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = None
    conversation: Annotated[list[Message], Field(max_length=1_000)] | None = None


class ChatHead(BaseModel):
    """A chat without what was said in it. `user_id` is the owner: of an API key its user."""

    chat_id: UUID
    user_id: UUID
    title: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, chat: Chat) -> Self:
        return cls.model_validate(asdict(chat))


class ChatOut(ChatHead):
    """A chat with its latest messages, oldest first."""

    conversation: list[Said]


class ChatPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    chats: list[ChatHead]
    next: str | None


@routes.post("", status_code=201, responses=documented(404, 409, 413))
async def make_chat(body: ChatIn, request: Request, actor: Annotated[Actor, VIEWER]) -> ChatOut:
    """A new conversation, or by a code a call's, which agents add to by its `chat_id` as `session_id`."""
    async with request.app.state.parts.database.transaction() as connection:
        if body.code is None:
            made = await chats.make(connection, actor.owner, body.title)
        else:
            conversation = await codes.redeem(connection, actor, body.code)
            made = await chats.go_on(connection, actor.owner, conversation, body.title)
        await audit(connection, actor, "chat.made", str(made.chat_id))
    return ChatOut.of(made)


@routes.get("")
async def list_chats(
    request: Request,
    actor: Annotated[Actor, VIEWER],
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ChatPage:
    """One's own chats, newest first."""
    after = None if cursor is None else places.read(cursor)
    async with request.app.state.parts.database.session() as connection:
        found = await chats.listed(connection, actor.owner, after, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return ChatPage(
        chats=[ChatHead.of(one) for one in found[:limit]],
        next=places.write(last.created_at, last.chat_id) if last else None,
    )


@routes.get("/{chat_id}", responses=documented(404))
async def read_chat(chat_id: UUID, request: Request, actor: Annotated[Actor, VIEWER]) -> ChatOut:
    """A chat and what was said in it."""
    async with request.app.state.parts.database.transaction() as connection:
        return ChatOut.of(await chats.read(connection, actor.owner, chat_id))


@routes.put("/{chat_id}", responses=documented(404, 413))
async def change_chat(chat_id: UUID, body: ChatChange, request: Request, actor: Annotated[Actor, VIEWER]) -> ChatOut:
    """Changes the title, clears the conversation, or replaces it."""
    if not body.model_fields_set:
        raise BadRequest("title or conversation: one of them is needed.")
    database = request.app.state.parts.database
    async with database.transaction() as connection:
        if "conversation" in body.model_fields_set:
            messages = [one.model_dump() for one in body.conversation or ()]
            await chats.replace(connection, database, actor.owner, chat_id, messages)
        if body.title is not None:
            await chats.rename(connection, actor.owner, chat_id, body.title)
        await audit(connection, actor, "chat.changed", str(chat_id), {"fields": sorted(body.model_fields_set)})
        return ChatOut.of(await chats.read(connection, actor.owner, chat_id))


@routes.delete("/{chat_id}", status_code=204, responses=documented(404))
async def remove_chat(chat_id: UUID, request: Request, actor: Annotated[Actor, VIEWER]) -> None:
    """Erases the chat for good. What was said in a call that it went on with stays with the call."""
    async with request.app.state.parts.database.transaction() as connection:
        await chats.remove(connection, actor.owner, chat_id)
        await audit(connection, actor, "chat.removed", str(chat_id))
