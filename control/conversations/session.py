"""A conversation as the history of agents: the OpenAI Agents SDK's Session, read from the log."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

from agents import TResponseInputItem
from agents.memory import SessionSettings

from control.conversations.calls import said
from control.conversations.log import QUERIES, Event, append_in, latest_items
from control.db.pool import Connection, Database
from switchboard.call import CONVERSATION_ID
from switchboard.fact import Fact, Item, ItemsRetracted, Source

ID = CONVERSATION_ID


def new_session_id() -> str:
    """The id of a conversation that is nobody's yet; it cannot be guessed."""
    return str(uuid4())


class DatabaseSession:
    """One history for all that share its id: agents, chats and calls.

    `get_items` takes the limit of `session_settings` where none is asked for; none or less than one item is an empty
    list. What one `add_items` brings is added whole or not at all, in one place. Every method raises `DatabaseAway`
    when Postgres is.
    """

    session_settings: SessionSettings | None = None

    def __init__(self, session_id: str, pool: Database, *, session_settings: SessionSettings | None = None) -> None:
        """Raises `ValueError` for an id that is none: 1 to 128 letters, digits, `_`, `-`, `.` and `:`."""
        if not re.fullmatch(ID, session_id):
            raise ValueError("session_id: 1 to 128 letters, digits, _, -, . and : are taken")
        self.session_id = session_id
        self.session_settings = session_settings or SessionSettings()
        self.database = pool

    async def admit(self) -> None:
        """Asked before a turn reads it: a session of which not everybody may raises here."""

    async def begin_in(self, connection: Connection) -> None:
        """Asked before a turn is added to it, in the same transaction."""

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        if limit is not None and limit < 1:
            return []
        async with self.database.session() as connection:
            return [_item(event) for event in _whole(await latest_items(connection, self.session_id, limit))]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Raises `ValueError` for an item that is no JSON object."""
        if not items:
            return
        async with self.database.transaction() as connection:
            await append_in(connection, self.facts(items))

    async def pop_item(self) -> TResponseInputItem | None:
        async with self.database.transaction() as connection:
            # Behind the lock: of two that pop at once each has an item of its own.
            last = await self._lock(connection)
            newest = await latest_items(connection, self.session_id, 1)
            if last is None or not newest:
                return None
            await self._retract(connection, newest[0].seq, last)
        return _item(newest[0])

    async def clear_session(self) -> None:
        async with self.database.transaction() as connection:
            await self.clear_in(connection)

    async def clear_in(self, connection: Connection) -> None:
        """`clear_session` inside the caller's transaction."""
        last = await self._lock(connection)
        if last is not None and await latest_items(connection, self.session_id, 1):
            await self._retract(connection, 1, last)

    def facts(self, items: Sequence[TResponseInputItem]) -> list[Fact]:
        """The items as facts of this conversation. Raises `ValueError` for one that is no JSON object."""
        return [
            Fact(
                conversation_id=self.session_id, source=Source.CONTROL, body=Item.model_validate({"item": dict(item)})
            )
            for item in items
        ]

    async def _lock(self, connection: Connection) -> int | None:
        """The last `seq`, which nobody else adds to until the transaction ends; None when there is nothing yet."""
        last: int | None = await connection.fetchval(QUERIES["lock_conversation"], self.session_id)
        return last

    async def _retract(self, connection: Connection, first: int, last: int) -> None:
        """Takes back the items from `first` on; what cannot be read there goes with them."""
        body = ItemsRetracted(first=first, last=last)
        await append_in(connection, [Fact(conversation_id=self.session_id, source=Source.CONTROL, body=body)])


def _whole(events: Sequence[Event]) -> list[Event]:
    """Without what no model takes: a tool's call or its result alone, as a live call reports one after the other."""
    halves = Counter(_tool_call(event) for event in events)
    return [event for event in events if not (call_id := _tool_call(event)) or halves[call_id] > 1]


def _tool_call(event: Event) -> str:
    """Which call of a tool in a phone call this item is of; empty for all else."""
    call_id = cast(Item, event.fact.body).item.get("call_id")
    return call_id if event.fact.source is Source.AGENT and isinstance(call_id, str) else ""


def _item(event: Event) -> TResponseInputItem:
    item = cast(Item, event.fact.body).item
    if event.fact.source is Source.AGENT and item.get("role") == "assistant" and "id" not in item:
        # What was spoken is no model's response with an id, without which the SDK takes no output message.
        return cast(TResponseInputItem, {"role": "assistant", "content": said(cast(Item, event.fact.body))})
    return cast(TResponseInputItem, item)
