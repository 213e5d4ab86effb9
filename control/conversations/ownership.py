"""Whose a conversation is: who begins one owns it, and nobody else finds it."""

from uuid import UUID

from agents.memory import SessionSettings

from control.conversations.log import QUERIES
from control.conversations.session import DatabaseSession, new_session_id
from control.db.pool import Connection, Database
from control.errors import NotFound

# The newest items of a conversation, however long it lasts; a model is told less.
MOST_READ = 1_000


class OwnSession(DatabaseSession):
    """A user's conversation, their chats among them; one that there is not yet becomes theirs with its first turn.

    So a turn that is refused or fails leaves no conversation behind.
    """

    def __init__(self, session_id: str, pool: Database, owner: UUID) -> None:
        super().__init__(session_id, pool, session_settings=SessionSettings(limit=MOST_READ))
        self._owner = owner

    async def admit(self) -> None:
        """Raises `NotFound` when it is somebody else's, a call's, or forgotten."""
        async with self.database.session() as connection:
            if not await connection.fetchval(QUERIES["may_claim"], self.session_id, self._owner):
                raise NotFound("There is no such conversation.")

    async def begin_in(self, connection: Connection) -> None:
        if await connection.fetchval(QUERIES["claim_conversation"], self.session_id, self._owner) is None:
            raise NotFound("There is no such conversation.")


async def own_session(database: Database, owner: UUID, session_id: str | None) -> OwnSession:
    """The user's conversation of this id, or a new one. Raises `NotFound` as `OwnSession.admit`."""
    session = OwnSession(session_id or new_session_id(), database, owner)
    await session.admit()
    return session
