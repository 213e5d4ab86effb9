"""Chats: conversations with an owner and a title."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID, uuid4

from agents import TResponseInputItem

from control.conversations.calls import transcript
from control.conversations.log import QUERIES, append_in, latest_items
from control.conversations.session import DatabaseSession
from control.db.pool import Connection, Database
from control.errors import Conflict, NotFound
from switchboard.fact import Erased

# Items of a chat that are shown, tool calls among them; an agent's run reads all of it.
SHOWN = 1_000


@dataclass(frozen=True, slots=True)
class Chat:
    """`conversation` has `role` and `content` of each message, oldest first."""

    chat_id: UUID
    user_id: UUID
    title: str
    created_at: datetime
    updated_at: datetime
    conversation: Sequence[Mapping[str, Any]] = ()


async def make(connection: Connection, owner: UUID, title: str) -> Chat:
    row = await connection.fetchrow(QUERIES["make_chat"], str(uuid4()), owner, title)
    return _chat(cast(Mapping[str, Any], row))


async def go_on(connection: Connection, owner: UUID, conversation: str, title: str) -> Chat:
    """A conversation as a chat of its owner's, with `title` when it was none yet. Raises `Conflict`."""
    if not _is_chat_id(conversation):
        raise Conflict("The id of this conversation is another program's, and none that a chat can have.")
    await connection.execute(QUERIES["claim_chat"], conversation, owner, title)
    return await read(connection, owner, UUID(conversation))


async def read(connection: Connection, owner: UUID, chat_id: UUID) -> Chat:
    """The chat with the messages of its latest 1,000 items. Raises `NotFound` for another's."""
    row = await _own(connection, owner, chat_id, "chat")
    said = transcript(await latest_items(connection, str(chat_id), SHOWN))
    return _chat(row, [{"role": one["role"], "content": one["text"]} for one in said])


async def listed(connection: Connection, owner: UUID, after: tuple[datetime, UUID] | None, limit: int) -> list[Chat]:
    """A user's chats, newest first, without what was said."""
    at, last = after or (None, None)
    rows = await connection.fetch(QUERIES["list_chats"], owner, at, None if last is None else str(last), limit)
    return [_chat(row) for row in rows]


async def rename(connection: Connection, owner: UUID, chat_id: UUID, title: str) -> None:
    """Raises `NotFound`."""
    await _own(connection, owner, chat_id)
    await connection.execute(QUERIES["rename_chat"], str(chat_id), title)


async def replace(
    connection: Connection, database: Database, owner: UUID, chat_id: UUID, messages: Sequence[Mapping[str, str]]
) -> None:
    """Clears the conversation, and begins it with these; a turn under way is not kept. Raises `NotFound`."""
    await _stop_turn(connection, owner, chat_id)
    await _own(connection, owner, chat_id)
    session = DatabaseSession(str(chat_id), database)
    await session.clear_in(connection)
    if messages:
        await append_in(connection, session.facts([cast(TResponseInputItem, dict(one)) for one in messages]))


async def remove(connection: Connection, owner: UUID, chat_id: UUID) -> None:
    """Erases what was written in the chat; what was said in calls stays theirs. Raises `NotFound`."""
    await _stop_turn(connection, owner, chat_id)
    await _own(connection, owner, chat_id)
    await _let_go(connection, str(chat_id))


async def let_go_of_calls(connection: Connection, owner: UUID) -> None:
    """Removes the chats that a user went on with calls in, as nobody else could go on with those calls."""
    rows = await connection.fetch(QUERIES["owned_with_calls"], owner)
    for row in rows:
        await connection.execute(QUERIES["stop_turn"], row["id"], owner)
    for row in rows:
        if await connection.fetchval(QUERIES["lock_open"], row["id"], owner) is not None:
            await _let_go(connection, row["id"])


async def _let_go(connection: Connection, conversation: str) -> None:
    erased = Erased()
    body = erased.model_dump(mode="json", exclude={"kind"})
    await connection.execute(QUERIES["erase_written"], conversation, erased.kind, body)
    await connection.execute(QUERIES["void_codes"], conversation)
    await connection.execute(QUERIES["let_go"], conversation)


async def _stop_turn(connection: Connection, owner: UUID, chat_id: UUID) -> None:
    # Before the conversation is locked, in the order of who keeps a turn.
    await connection.execute(QUERIES["stop_turn"], str(chat_id), owner)


async def _own(connection: Connection, owner: UUID, chat_id: UUID, how: str = "lock_chat") -> Mapping[str, Any]:
    row = await connection.fetchrow(QUERIES[how], str(chat_id), owner)
    if row is None:
        raise NotFound("There is no such chat.")
    return row


def _is_chat_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _chat(row: Mapping[str, Any], conversation: Sequence[Mapping[str, Any]] = ()) -> Chat:
    return Chat(UUID(row["id"]), row["owner"], row["title"], row["created_at"], row["updated_at"], conversation)
