"""What an agent in a call is told of the conversation that the call goes on with."""

import json
from collections.abc import Iterable
from typing import cast
from uuid import UUID

from pydantic import JsonValue

from control.conversations.calls import said
from control.conversations.log import QUERIES, Event, events_in
from control.db.pool import Connection
from switchboard.fact import Item
from switchboard.history import MOST_ITEMS, MOST_TEXT, MOST_TEXT_IN_ALL, History, Said


async def beside(connection: Connection, conversation: str, call_id: UUID) -> History:
    """The newest of what was said in the conversation and not in this call, oldest first."""
    rows = await connection.fetch(QUERIES["items_beside"], conversation, call_id, MOST_ITEMS)
    return History(items=tuple(_newest(events_in(rows)))[::-1])


def _newest(events: Iterable[Event]) -> Iterable[Said]:
    """What a call's model can use of items, newest first, as far as it is not too much."""
    left = MOST_TEXT_IN_ALL
    for event in events:
        body = cast(Item, event.fact.body)
        short = _short(body)
        if short is None:
            continue
        left -= sum(len(value) for value in short.values() if isinstance(value, str))
        if left < 0:
            return
        yield Said(at=event.fact.at, body=Item(item=short, interrupted=body.interrupted))


def _short(body: Item) -> dict[str, JsonValue] | None:
    """A message, tool call or result without what only its own model needs; None for anything else.

    Instructions in a chat are the chat's, not the persona's of the call.
    """
    item = body.item
    kind, role, call_id = item.get("type", "message"), item.get("role"), item.get("call_id")
    if role in ("user", "assistant") and kind == "message":
        text = said(body)[:MOST_TEXT]
        return {"role": role, "content": text} if text.strip() else None
    if not isinstance(call_id, str) or len(call_id) > 128:
        return None
    if kind == "function_call":
        name, arguments = item.get("name"), item.get("arguments")
        fits = isinstance(name, str) and isinstance(arguments, str) and len(name) <= 128
        # Half of the arguments would be no JSON; a call that is left out takes its result along.
        if not fits or len(str(arguments)) > MOST_TEXT:
            return None
        return {"type": kind, "call_id": call_id, "name": name, "arguments": arguments}
    if kind == "function_call_output":
        output = item.get("output")
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
        return {"type": kind, "call_id": call_id, "output": text[:MOST_TEXT]}
    return None
