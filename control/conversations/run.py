"""Runs of an agent in a conversation: the answer at once, or as events while it is made."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import structlog
from agents import Agent, AgentHookContext, RunConfig, RunHooks, Runner, RunResultStreaming, TResponseInputItem
from agents.exceptions import InputGuardrailTripwireTriggered
from agents.items import ToolCallItem, ToolCallOutputItem
from agents.stream_events import AgentUpdatedStreamEvent, RawResponsesStreamEvent, RunItemStreamEvent, StreamEvent
from agents.usage import Usage
from prometheus_client import Counter, Histogram
from pydantic import TypeAdapter

from control.conversations.turn import Turn
from control.db.pool import DatabaseAway
from control.errors import ApiError, BadRequest, ModelFailed

log = structlog.get_logger(__name__)

RUN_S = 120.0
FAILED = "The agent could not answer; the reason is in the log."

SESSIONS = Counter("switchboard_agent_sessions", "Conversations that a run began", ["agent"])
RUNS = Counter("switchboard_agent_runs", "Runs of agents", ["agent", "outcome"])
TOKENS = Counter("switchboard_agent_tokens", "Tokens that runs used", ["agent", "kind"])
RUN_SECONDS = Histogram("switchboard_agent_run_seconds", "From the start of a run to its end", ["agent"])
FIRST_SECONDS = Histogram(
    "switchboard_agent_first_delta_seconds", "From the start of a run to its first words", ["agent"]
)

# Agents come and go with the personas of an installation; beyond so many the metrics name no more of them.
MOST_NAMES = 200
OTHERS = "(others)"
_names: set[str] = set()

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happens in a run: words (`text`), a tool's call or output, another agent, the final output."""

    kind: Literal["delta", "tool_call", "tool_output", "handoff", "final"]
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What an agent is to do in a turn, which its tools get as their context. `name` is the agent's in metrics."""

    agent: Agent[Any]
    name: str
    turn: Turn
    words: str

    async def answer(self) -> Any:
        """The final output as JSON, once all of the turn is history.

        Raises `ModelFailed`, `BadRequest`, `Conflict` and `DatabaseAway`, each with nothing added.
        """
        with self._watched() as told:
            async with asyncio.timeout(RUN_S):
                result = await Runner.run(self.agent, self.words, **told)
            await self.turn.keep()
        return _json(result.final_output)

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """The run's events, the final output last, when all of the turn is history. Raises as `answer`.

        A task that is cancelled in it ends the run, and what was produced until then becomes the history.
        """
        began = time.monotonic()
        with self._watched() as told:
            result = Runner.run_streamed(self.agent, self.words, **told)
            produced = _Produced(self.words)
            try:
                async with asyncio.timeout(RUN_S):
                    async for event in result.stream_events():
                        for found in _read(event, self.agent):
                            if found.kind == "delta" and not produced.begun:
                                FIRST_SECONDS.labels(_label(self.name)).observe(time.monotonic() - began)
                            yield found
                        produced.take(event)
            except (asyncio.CancelledError, GeneratorExit):
                await _stopped(result)
                await self.turn.keep_instead(produced.items(), produced.unfinished)
                raise
            await self.turn.keep()
        yield RunEvent("final", {"final_output": _json(result.final_output)})

    @contextmanager
    def _watched(self) -> Iterator[dict[str, Any]]:
        """What the SDK is told of the run. Counts it, and gives what breaks in it its name."""
        outcome, label, spent = "failed", _label(self.name), _Spent()
        try:
            with RUN_SECONDS.labels(label).time():
                yield {"context": self.turn, "session": self.turn, "hooks": spent, "run_config": _config()}
            outcome = "done"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "stopped"
            raise
        except InputGuardrailTripwireTriggered:
            raise BadRequest("input: the agent refuses to work on this.") from None
        except (ApiError, DatabaseAway):
            raise
        except Exception as error:
            # The border to the model and to the agent's own code, which may raise anything.
            log.warning("run_failed", agent=self.name, error=f"{type(error).__name__}: {error}"[:500])
            raise ModelFailed(FAILED) from None
        finally:
            RUNS.labels(label, outcome).inc()
            SESSIONS.labels(label).inc(self.turn.is_first)
            TOKENS.labels(label, "input").inc(spent.usage.input_tokens)
            TOKENS.labels(label, "output").inc(spent.usage.output_tokens)


class _Spent(RunHooks[Any]):
    """What a run has used so far, also one that fails later."""

    def __init__(self) -> None:
        self.usage = Usage()

    async def on_agent_start(self, context: AgentHookContext[Any], agent: Any) -> None:
        # The run's own count, which goes on.
        self.usage = context.usage


def _label(name: str) -> str:
    """The name in metrics, of which there are only so many."""
    if name not in _names and len(_names) >= MOST_NAMES:
        return OTHERS
    _names.add(name)
    return name


def _config() -> RunConfig:
    """What agents hear and say stays in this installation. Made anew, as it takes the program's defaults at once."""
    return RunConfig(tracing_disabled=True, trace_include_sensitive_data=False)


class _Produced:
    """What a run has made so far, for one that is stopped."""

    def __init__(self, words: str) -> None:
        self.unfinished = ""
        self.begun = False
        self._items: list[TResponseInputItem] = [cast(TResponseInputItem, {"role": "user", "content": words})]

    def take(self, event: StreamEvent) -> None:
        if isinstance(event, RawResponsesStreamEvent) and event.data.type == "response.output_text.delta":
            self.begun = True
            self.unfinished += event.data.delta
        elif isinstance(event, RunItemStreamEvent):
            if event.name == "message_output_created":
                self.unfinished = ""
            self._items.append(event.item.to_input_item())

    def items(self) -> list[TResponseInputItem]:
        """Whole items; a call without its result is none, which no model would take."""
        found = [cast(dict[str, Any], one) for one in self._items]
        answered = {one.get("call_id") for one in found if str(one.get("type")).endswith("_output")}
        kept: list[dict[str, Any]] = []
        follows = False
        # From the last one on: reasoning belongs to the item behind it, and goes with that.
        for one in reversed(found):
            if one.get("type") != "reasoning":
                follows = one.get("call_id") is None or one["call_id"] in answered
            if follows:
                kept.insert(0, one)
        return [cast(TResponseInputItem, one) for one in kept]


async def _stopped(result: RunResultStreaming) -> None:
    """Ends the run's own tasks."""
    result.cancel()
    if result.run_loop_task is not None:
        await asyncio.wait([result.run_loop_task], timeout=5)


def _read(event: StreamEvent, first: Agent[Any]) -> Iterator[RunEvent]:
    match event:
        case RawResponsesStreamEvent(data=data) if data.type == "response.output_text.delta":
            yield RunEvent("delta", {"text": data.delta})
        case RunItemStreamEvent(item=ToolCallItem(raw_item=call)):
            yield RunEvent(
                "tool_call",
                {"call_id": _of(call, "call_id"), "name": _of(call, "name"), "arguments": _of(call, "arguments")},
            )
        case RunItemStreamEvent(item=ToolCallOutputItem(raw_item=output, output=said)):
            yield RunEvent("tool_output", {"call_id": _of(output, "call_id"), "output": str(said)})
        case AgentUpdatedStreamEvent(new_agent=agent) if agent is not first:
            yield RunEvent("handoff", {"agent": agent.name})


def _of(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


def _json(output: Any) -> Any:
    return _ANY.dump_python(output, mode="json")
