"""Facts for tests, and waiting for what other tasks do with them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from switchboard import fact
from switchboard.fact import Fact, Source

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WAIT_S = 60.0


def said(conversation: str, text: str, *, role: str = "user", call_id: UUID | None = None, **more: Any) -> Fact:
    """A message; `more` goes to the item's fact."""
    body = fact.Item(item={"type": "message", "role": role, "content": text}, **more)
    return Fact(conversation_id=conversation, call_id=call_id, source=Source.AGENT, body=body)


def a_call(call_id: UUID, *, dialed: str = "+15550100001") -> list[Fact]:
    """Everything of a short call, a second apart."""
    bodies: list[tuple[Source, Any]] = [
        (Source.WEBHOOK, fact.CallArrived(room="r", channel="sip", dialed=dialed, caller="+15559", identity="i")),
        (Source.WEBHOOK, fact.PersonaResolved(source="api", persona="Harbor Hotel", version="1", ms=3)),
        (Source.WEBHOOK, fact.AgentDispatched(agent="a", attempt=1, dispatch="d", ms=4)),
        (Source.AGENT, fact.PersonaApplied(name="Harbor Hotel", source="api", version="1")),
        (Source.AGENT, fact.CallAnswered(after_s=0.4)),
        (Source.AGENT, _item("assistant", "Good day.", {})),
        (Source.AGENT, _item("user", "When is breakfast?", {})),
        (Source.AGENT, _item("assistant", "From half past six.", {"voice_to_voice": 0.9, "llm": 0.3}, cut=True)),
        (Source.AGENT, fact.CallEnded(reason="caller_hung_up", duration_s=8, turns=1)),
    ]
    return [
        Fact(conversation_id=str(call_id), call_id=call_id, at=NOON + timedelta(seconds=at), source=source, body=body)
        for at, (source, body) in enumerate(bodies)
    ]


def _item(role: str, text: str, latency: dict[str, float], *, cut: bool = False) -> fact.Item:
    content: Any = [{"type": "output_text", "text": text}] if role == "assistant" else text
    return fact.Item(item={"role": role, "content": content}, latency=latency, interrupted=cut)


def conversation() -> str:
    return str(uuid4())


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = WAIT_S) -> None:
    """Returns when `holds` does. Raises `TimeoutError` when it does not within the time."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 (what is awaited is in another process)
            await asyncio.sleep(0.02)
