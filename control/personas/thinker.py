"""The language models that answer for personas in writing: the services of calls, in the order of the settings."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import structlog
from agents import ItemHelpers, Model, ModelResponse, OpenAIChatCompletionsModel, TResponseInputItem, Usage
from agents.exceptions import ModelBehaviorError
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponseCompletedEvent

from control.conversations.calls import text_of
from control.personas.recent import recent
from switchboard.endpoints import Endpoint
from switchboard.model_client import Service, client
from switchboard.persona import Persona
from switchboard.relay import Limits, Relay

if TYPE_CHECKING:
    from switchboard.ranking.index import FactIndex

log = structlog.get_logger(__name__)

# Nobody waits on a line: a model that thinks for longer is let think, and another one is asked meanwhile.
LIMITS = Limits(patience_s=5.0, limit_s=30.0)
HTTP_TIMEOUT_S = 30.0


class Thinker:
    """The services of a process, which all personas share: what fails for one is asked last for the others too."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._services = [Service(one, client(one, HTTP_TIMEOUT_S)) for one in endpoints]
        self._relay = Relay("llm", self._services, LIMITS, _recovered, beside_itself=False)

    async def aclose(self) -> None:
        for one in self._services:
            await one.client.close()

    def model(self, persona: Persona, index: "FactIndex") -> "PersonaModel":
        return PersonaModel(self._relay, persona, index)


class PersonaModel(Model):
    """Answers as one persona: before each request come the facts that fit what was written last, as in calls."""

    def __init__(self, relay: Relay[Service], persona: Persona, index: "FactIndex") -> None:
        self.model = relay.services[0].endpoint.model_for(persona.model)
        self._relay = relay
        self._persona = persona
        self._index = index

    async def get_response(
        self, system_instructions: str | None, input: str | list[TResponseInputItem], *args: Any, **kwargs: Any
    ) -> ModelResponse:
        # Streamed as well: a service that hangs shows within seconds only so.
        whole: ModelResponse | None = None
        async with aclosing(self.stream_response(system_instructions, input, *args, **kwargs)) as events:
            async for event in events:
                if isinstance(event, ResponseCompletedEvent):
                    whole = _whole(event)
        if whole is None:
            raise ModelBehaviorError("The model's answer has no end.")
        return whole

    async def stream_response(
        self, system_instructions: str | None, input: str | list[TResponseInputItem], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[TResponseStreamEvent, None]:
        """The events of whichever service begins to answer first. Raises `ModelsFailed`."""
        items = await self._with_facts(recent(ItemHelpers.input_to_new_input_list(input)))

        def ask(service: Service) -> AsyncGenerator[TResponseStreamEvent, None]:
            model = OpenAIChatCompletionsModel(service.endpoint.model_for(self._persona.model), service.client)
            return _begun(model.stream_response(system_instructions, items, *args, **kwargs))

        # What was sent on cannot be taken back: one that breaks off is not begun anew.
        async with aclosing(self._relay.pieces(ask, may_restart=lambda: False)) as pieces:
            async for _takeovers, event in pieces:
                if event is not None:
                    yield event

    async def _with_facts(self, items: list[TResponseInputItem]) -> list[TResponseInputItem]:
        written = [cast(Mapping[str, Any], one) for one in items]
        at = next((n for n in range(len(items) - 1, -1, -1) if written[n].get("role") == "user"), None)
        if at is None:
            return items
        block = await asyncio.to_thread(self._index.passages, text_of(written[at]))
        facts = cast(TResponseInputItem, {"role": "system", "content": block})
        return [*items[:at], facts, *items[at:]]


async def _begun(events: AsyncIterator[TResponseStreamEvent]) -> AsyncGenerator[TResponseStreamEvent, None]:
    """The events, once there is a word or a call: what comes before is no sign that a model answers."""
    waiting: list[TResponseStreamEvent] | None = []
    async with aclosing(cast(AsyncGenerator[TResponseStreamEvent, None], events)):
        async for event in events:
            if waiting is None:
                yield event
                continue
            waiting.append(event)
            if isinstance(event, ResponseCompletedEvent) or bool(getattr(event, "delta", "")):
                for one in waiting:
                    yield one
                waiting = None


def _whole(event: ResponseCompletedEvent) -> ModelResponse:
    used = event.response.usage
    usage = Usage(requests=1)
    if used is not None:
        usage = Usage(1, used.input_tokens, output_tokens=used.output_tokens, total_tokens=used.total_tokens)
    return ModelResponse(output=event.response.output, usage=usage, response_id=None)


def _recovered(reason: str) -> None:
    log.info("model_recovered", reason=reason)
