"""What happens in a call, as facts: each goes to the call's file and from there to the stream."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from statistics import median
from typing import Any
from uuid import UUID, uuid4, uuid5

import structlog
from livekit.agents import llm
from livekit.agents.voice import ConversationItemAddedEvent, FunctionToolsExecutedEvent
from pydantic import JsonValue

from agent.cards import redacted
from agent.recall import Past
from switchboard import fact
from switchboard.outbox import Outbox

log = structlog.get_logger(__name__)

# LiveKit's names of a message's metrics, and ours for the stages of a turn.
_STAGES = {
    "end_of_turn_delay": "end_of_turn",
    "transcription_delay": "stt",
    "llm_node_ttft": "llm",
    "tts_node_ttfb": "tts",
    "e2e_latency": "voice_to_voice",
}
MAX_BYTES = 48_000
# By model (`provider/model` in use, the model alone in prices) and unit.
Usage = Mapping[str, Mapping[str, float]]


class Report:
    """The facts of one call by one agent.

    Duration, offsets and turns count from the call's beginning, with those of the agents before (`past`);
    latencies and usage are this agent's own.
    """

    def __init__(self, outbox: Outbox, *, conversation_id: str, call_id: UUID, attempt: int, past: Past) -> None:
        self._outbox = outbox
        self.conversation_id = conversation_id
        self.call_id = call_id
        self.attempt = attempt
        now = datetime.now(UTC)
        self.began = min(past.began or now, now)
        self.zero = time.monotonic() - (now - self.began).total_seconds()
        """When the call began, by a clock that nobody sets (`time.monotonic`)."""
        self.turns = past.turns
        self._latencies: dict[str, list[float]] = defaultdict(list)

    def add(self, body: fact.Body, *, shared: bool = False) -> None:
        """Reports `body`. `shared`: another process may report the same, and both are one fact."""
        one = fact.Fact(
            id=self._id(body, shared=shared),
            conversation_id=self.conversation_id,
            call_id=self.call_id,
            source=fact.Source.AGENT,
            body=body,
        )
        self._outbox.put(one)

    def _id(self, body: fact.Body, *, shared: bool) -> UUID:
        if isinstance(body, fact.MessageTaken):
            # Taken once more by the next agent when this one ended before the conversation was on record.
            return uuid5(self.call_id, body.model_dump_json())
        return fact.shared_id(self.call_id, str(getattr(body, "kind", "")), 0) if shared else uuid4()

    def item(self, event: ConversationItemAddedEvent) -> None:
        """A message of either side, when it has been said."""
        message = event.item
        if not isinstance(message, llm.ChatMessage) or message.role not in ("user", "assistant"):
            return
        text = capped(redacted(message.text_content or ""))
        if not text.strip():
            return
        latency = self._latency(message.metrics)
        self.turns += message.role == "user"
        self.add(
            fact.Item(
                item=_message(message.role, text),
                interrupted=message.interrupted,
                offset_s=self._offset(message),
                latency=latency,
            )
        )

    def _offset(self, message: llm.ChatMessage) -> float:
        spoke = message.metrics.get("started_speaking_at") or message.created_at
        return round(max(float(spoke) - self.began.timestamp(), 0.0), 3)

    def tools(self, event: FunctionToolsExecutedEvent) -> None:
        """Tool calls and their results."""
        for call, output in event.zipped():
            self._tool_item(
                {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            )
            self._tool_item({"type": "function_call_output", "call_id": call.call_id, "output": output.output})

    def _tool_item(self, item: dict[str, JsonValue]) -> None:
        short: dict[str, JsonValue] = {
            key: capped(redacted(value)) if isinstance(value, str) else value for key, value in item.items()
        }
        self.add(fact.Item(item=short))

    def _latency(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        found = {ours: round(float(metrics[theirs]), 4) for theirs, ours in _STAGES.items() if metrics.get(theirs)}
        for stage, seconds in found.items():
            self._latencies[stage].append(seconds)
        return found

    def ended(self, reason: str, usage: Usage, prices: Usage) -> None:
        """The last fact of the call."""
        self.add(
            fact.CallEnded(
                reason=reason,
                duration_s=round((datetime.now(UTC) - self.began).total_seconds(), 3),
                turns=self.turns,
                latencies={stage: _spread(values) for stage, values in self._latencies.items()},
                usage={model: dict(units) for model, units in usage.items()},
                cost=cost_of(usage, prices),
            ),
            shared=True,
        )


def cost_of(usage: Usage, prices: Usage) -> float | None:
    """What the models cost, by their names without the provider's; None when no used one has a price."""
    priced = [
        amount * prices[model][unit]
        for name, units in usage.items()
        for unit, amount in units.items()
        if unit in prices.get(model := name.rpartition("/")[2], {})
    ]
    return round(sum(priced), 6) if priced else None


def capped(text: str) -> str:
    """The text within what a fact may hold, however its characters are written in JSON."""
    return text if len(json.dumps(text)) <= MAX_BYTES else text[: MAX_BYTES // 12]


def _message(role: str, text: str) -> dict[str, JsonValue]:
    if role == "user":
        return {"role": "user", "content": text}
    return {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {"p50": round(median(ordered), 4), "p95": round(p95, 4), "worst": round(ordered[-1], 4)}
