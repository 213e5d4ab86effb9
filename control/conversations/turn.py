"""One turn of an agent in a conversation: begun by one at a time, and added to the history whole or not at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import structlog
from agents import TResponseInputItem
from agents.memory import SessionSettings

from control.conversations.log import QUERIES, append_in
from control.conversations.session import DatabaseSession
from control.db.pool import Database, DatabaseAway
from control.errors import Conflict
from switchboard.fact import AnyBody, Fact, Item, Source

log = structlog.get_logger(__name__)

# Of a process that dies in a turn, others wait this long for the conversation.
LEASE_S = 15.0
RENEW_S = 5.0
BUSY = "The conversation is busy with another turn: wait for its answer, then send this again."


class Turn:
    """The session that a run is given: it reads the history, and keeps what is added until `keep`."""

    def __init__(self, session: DatabaseSession, holder: UUID) -> None:
        self.session_id = session.session_id
        self.session_settings: SessionSettings | None = session.session_settings
        self._session = session
        self._holder = holder
        self._added: list[TResponseInputItem] = []
        self._told: list[Fact] = []
        self.is_first = False
        """Whether the kept turn is the first that the conversation holds."""
        self.ends = False
        """Whether it is being kept, or was: then that says whose the conversation is, and the lease is given back."""

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        found = [*await self._session.get_items(limit), *self._added]
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        if limit is None:
            return found
        return found[-limit:] if limit > 0 else []

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        self._added += items

    async def pop_item(self) -> TResponseInputItem | None:
        return self._added.pop() if self._added else await self._session.pop_item()

    async def clear_session(self) -> None:
        self._added.clear()
        await self._session.clear_session()

    def tell(self, body: AnyBody) -> None:
        """What happens in the turn beside its items: on record when the turn is."""
        self._told.append(Fact(conversation_id=self.session_id, source=Source.CONTROL, body=body))

    async def keep_instead(self, items: list[TResponseInputItem], begun: str) -> None:
        """`keep`, of these items instead of what was added."""
        self._added = items
        await self.keep(begun)

    async def keep(self, begun: str = "") -> None:
        """Adds all of the turn to the history; `begun` is an answer that was broken off.

        Raises `Conflict` when the conversation went on without us, `DatabaseAway`, what the session's `begin_in`
        raises, and `ValueError` for an item that is no JSON object.
        """
        self.ends = True
        facts = [*self._session.facts(self._added), *self._told]
        if begun:
            facts.append(_broken_off(self.session_id, begun))
        keeping = asyncio.create_task(self._keep(facts), name="turn.keep")
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            # A client that goes away in this moment has heard all of it: the turn is not lost with them.
            await asyncio.wait([keeping])
            raise

    async def _keep(self, facts: list[Fact]) -> None:
        try:
            await self._write(facts)
        except DatabaseAway:
            # The connection may have broken behind the commit: then the turn is history, and must not be sent again.
            if await self._is_kept(facts):
                return
            try:
                await self._write(facts)
            except Conflict:
                # A commit that was slow came through in this very moment.
                if not await self._is_kept(facts):
                    raise

    async def _is_kept(self, facts: list[Fact]) -> bool:
        async with self._session.database.session() as connection:
            return bool(await connection.fetch(QUERIES["known_ids"], [one.id for one in facts]))

    async def _write(self, facts: list[Fact]) -> None:
        async with self._session.database.transaction() as connection:
            if await connection.fetchval(QUERIES["end_turn"], self.session_id, self._holder) is None:
                raise Conflict(BUSY)
            await self._session.begin_in(connection)
            events = await append_in(connection, facts)
        self.is_first = bool(events) and events[0].seq == 1


def _broken_off(session_id: str, text: str) -> Fact:
    item = {"role": "assistant", "content": text}
    return Fact(
        conversation_id=session_id,
        source=Source.CONTROL,
        body=Item.model_validate({"item": item, "interrupted": True}),
    )


@contextlib.asynccontextmanager
async def turn(session: DatabaseSession) -> AsyncIterator[Turn]:
    """The next turn of the conversation, ours until the body ends.

    Raises `Conflict` when it is another's, and what the session's `admit` raises.
    """
    database, holder = session.database, uuid4()
    async with database.session() as connection:
        if await connection.fetchval(QUERIES["begin_turn"], session.session_id, holder, LEASE_S) is None:
            raise Conflict(BUSY)
    own, lost = Turn(session, holder), asyncio.Event()
    renewing = asyncio.create_task(_renew(own, database, holder, asyncio.current_task(), lost), name="turn.renew")
    try:
        # By now nobody else begins the conversation: what is read from here on is of who may.
        await session.admit()
        yield own
    except asyncio.CancelledError:
        if lost.is_set():
            raise Conflict(BUSY) from None
        raise
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        # One that cannot be given back now is free when its time is over.
        with contextlib.suppress(DatabaseAway):
            async with database.session() as connection:
                await connection.execute(QUERIES["end_turn"], session.session_id, holder)


async def _renew(
    own: Turn, database: Database, holder: UUID, worker: "asyncio.Task[object] | None", lost: asyncio.Event
) -> None:
    """Ends the work on a conversation that became another's, while Postgres or we were away."""
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            async with database.session() as connection:
                ours = await connection.fetchval(QUERIES["renew_turn"], own.session_id, holder, LEASE_S)
        except DatabaseAway as error:
            log.warning("turn_not_renewed", error=str(error))
            continue
        if ours is None:
            if not own.ends and worker is not None:
                lost.set()
                worker.cancel()
            return
