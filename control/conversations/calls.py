"""Calls as they are shown: the row, what was said, what happened, how long it took."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import quantiles
from typing import Any
from uuid import UUID

from control.conversations.log import QUERIES, Event, events_in
from control.db.pool import Connection
from control.errors import NotFound
from switchboard.fact import Item
from switchboard.number import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which calls are asked for; None asks nothing. `cursor` is the last call of the page before."""

    live: bool | None = None
    persona: str | None = None
    number: str | None = None
    conversation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    cursor: tuple[datetime, UUID] | None = None


async def listed(connection: Connection, asked: Filter, limit: int) -> Sequence[Mapping[str, Any]]:
    """Rows of calls, newest first."""
    at, last = asked.cursor or (None, None)
    digits = None if asked.number is None else normalise(asked.number)
    return await connection.fetch(
        QUERIES["list_calls"],
        asked.live,
        asked.persona,
        digits,
        asked.conversation_id,
        asked.since,
        asked.until,
        at,
        last,
        limit,
    )


async def one(connection: Connection, call_id: UUID) -> tuple[Mapping[str, Any], list[Event]]:
    """A call's row and its events. Raises `NotFound`."""
    row = await connection.fetchrow(QUERIES["call"], call_id)
    if row is None:
        raise NotFound("There is no such call.")
    return row, events_in(await connection.fetch(QUERIES["events_of_call"], call_id))


def transcript(events: Sequence[Event]) -> list[dict[str, Any]]:
    """What was said, in order: role, text, when, where in the call, and whether it was cut short."""
    return [
        {
            "role": role,
            "text": text,
            "at": event.fact.at,
            "interrupted": item.interrupted,
            "offset_s": item.offset_s,
            "seq": event.seq,
        }
        for event, item in _items(events)
        if (role := _role(item)) and (text := said(item))
    ]


def said(item: Item) -> str:
    """The words of a message; nothing for tool calls and their results."""
    return text_of(item.item)


def text_of(item: Mapping[str, Any]) -> str:
    """`said` of an item in the SDK's shape."""
    content = item.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return " ".join(text for text in texts if isinstance(text, str))


def latencies(events: Sequence[Event]) -> dict[str, Any]:
    """Seconds by stage, for each turn and as p50 and p95 over all of them."""
    turns = [(event, item.latency) for event, item in _items(events) if item.latency]
    stages = sorted({stage for _, latency in turns for stage in latency})
    by_stage = {stage: sorted(latency[stage] for _, latency in turns if stage in latency) for stage in stages}
    return {
        "p50": {stage: quantile(values, 50) for stage, values in by_stage.items()},
        "p95": {stage: quantile(values, 95) for stage, values in by_stage.items()},
        "by_turn": [{"seq": event.seq, "at": event.fact.at, "stages": latency} for event, latency in turns],
    }


def quantile(values: Sequence[float], percent: int) -> float:
    """The `percent` quantile of sorted, non-empty values, between the two nearest ones."""
    if len(values) == 1:
        return values[0]
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 6)


def _items(events: Sequence[Event]) -> Iterator[tuple[Event, Item]]:
    for event in events:
        if isinstance(event.fact.body, Item):
            yield event, event.fact.body


def _role(item: Item) -> str:
    role = item.item.get("role")
    return role if isinstance(role, str) and role in ("user", "assistant", "system") else ""
