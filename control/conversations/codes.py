"""One-time codes: a call goes on as a chat, a chat as a call, for one user.

A conversation is locked before its codes, in this order everywhere.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from control.access import Actor, audit
from control.access.tokens import hashed, new_code
from control.conversations.log import QUERIES
from control.db.pool import Connection
from control.errors import Conflict, NotFound

LASTS = timedelta(minutes=10)
_NOT_GOOD = "This code is not good: it was used, has expired or never was. Ask for another one."


@dataclass(frozen=True, slots=True)
class Code:
    """The code is shown this once."""

    code: str
    expires_at: datetime


async def for_chat(connection: Connection, actor: Actor, chat_id: UUID) -> Code:
    """A code of one of the actor's chats, in a transaction. Raises `NotFound`."""
    if await connection.fetchval(QUERIES["lock_chat"], str(chat_id), actor.owner) is None:
        raise NotFound("There is no such chat.")
    return await _made(connection, actor, str(chat_id))


async def for_call(connection: Connection, actor: Actor, call_id: UUID) -> Code:
    """A code of a call's conversation, in a transaction. Raises `NotFound`, and `Conflict` when it is another's."""
    call = await connection.fetchrow(QUERIES["call"], call_id)
    if call is None:
        raise NotFound("There is no such call.")
    if await connection.fetchval(QUERIES["lock_open"], call["conversation_id"], actor.owner) is None:
        raise Conflict("This call belongs to a conversation of another user.")
    return await _made(connection, actor, call["conversation_id"])


async def redeem(connection: Connection, actor: Actor, code: str) -> str:
    """Uses a code up and gives its conversation, in the transaction that goes on with it.

    Raises `NotFound`, which says the same whatever is wrong. When the transaction fails, the code is still good.
    """
    token = hashed(code)
    conversation = await connection.fetchval(QUERIES["conversation_of_code"], token, actor.owner)
    # A chat that was removed, or a call that another user has gone on with since, is not continued any more.
    if conversation is None or await connection.fetchval(QUERIES["lock_open"], conversation, actor.owner) is None:
        raise NotFound(_NOT_GOOD)
    if await connection.fetchval(QUERIES["use_code"], token, actor.owner) is None:
        raise NotFound(_NOT_GOOD)
    await audit(connection, actor, "code.used", conversation)
    return str(conversation)


async def _made(connection: Connection, actor: Actor, conversation: str) -> Code:
    code = new_code()
    expires_at = await connection.fetchval(QUERIES["add_code"], hashed(code), conversation, actor.owner, LASTS)
    await audit(connection, actor, "code.made", conversation)
    return Code(code, expires_at)
