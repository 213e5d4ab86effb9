"""Whose a conversation is: who begins one owns it, and nobody else finds it."""

from uuid import UUID

from control.conversations.log import QUERIES
from control.conversations.session import DatabaseSession, new_session_id
from control.db.pool import Database
from control.errors import NotFound


async def own_session(database: Database, owner: UUID, session_id: str | None) -> DatabaseSession:
    """The user's conversation of this id, their chats among them; one that there is not yet becomes theirs.

    Without an id it is a new one. Raises `NotFound` for one that is somebody else's, a call's, or forgotten.
    """
    session = DatabaseSession(session_id or new_session_id(), database)
    async with database.session() as connection:
        if await connection.fetchval(QUERIES["claim_conversation"], session.session_id, owner) is None:
            raise NotFound("There is no such conversation.")
    return session
