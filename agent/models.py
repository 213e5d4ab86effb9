"""The models of a call: hearing, thinking and speaking over the services of `switchboard.endpoints`."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from livekit import rtc
from livekit.agents import NOT_GIVEN, APIConnectOptions, FlushSentinel, NotGivenOr, llm
from livekit.plugins import openai

from agent import speech
from switchboard.endpoints import LOCAL, Endpoint, Part
from switchboard.fact import Body, ModelFailed
from switchboard.model_client import client
from switchboard.persona import Persona
from switchboard.relay import Limits, ModelsFailed, Relay

Model = TypeVar("Model")
Tell = Callable[[Body], None]

# Whatever fails, the caller hears something within 3 s: of the end of their words, or of our last one. A machine that
# is overloaded for a moment makes all models slow, which is no reason to end a call: who is told to wait can wait.
STT_LIMITS = Limits(patience_s=1.0, limit_s=2.0)
LLM_LIMITS = Limits(patience_s=1.1, limit_s=2.0, grace_s=3.0)
TTS_LIMITS = Limits(patience_s=0.9, limit_s=1.6, grace_s=3.0)
# Beyond those: a request that is let go ends at the latest so.
HTTP_TIMEOUT_S = 5.0
ONE_TRY = APIConnectOptions(max_retry=0, timeout=HTTP_TIMEOUT_S)
SAY_ANEW = " Sorry, let me say that again. "
ONE_MOMENT = "One moment, please."


class Recogniser:
    """Speech to text, whole utterances."""

    def __init__(self, services: Sequence[Endpoint], language: str, tell: Tell) -> None:
        self.models = [
            openai.STT(model=one.model, client=client(one, HTTP_TIMEOUT_S), language=language.split("-")[0])
            for one in services
        ]
        _share_metrics(self.models)
        self._relay = _relay("stt", services, self.models, STT_LIMITS, tell)

    async def words(self, audio: rtc.AudioFrame) -> str:
        """What was said in `audio`. Raises `ModelsFailed`."""
        async with aclosing(self._relay.pieces(lambda model: _words(model, audio))) as answers:
            async for _takeovers, text in answers:
                if text is not None:
                    return text
        raise ModelsFailed("stt")


async def _words(model: openai.STT, audio: rtc.AudioFrame) -> AsyncGenerator[str, None]:
    event = await model.recognize(audio, conn_options=ONE_TRY)
    yield event.alternatives[0].text if event.alternatives else ""


class Thinker:
    """The language model."""

    def __init__(self, services: Sequence[Endpoint], persona: Persona, tell: Tell) -> None:
        self.models = [
            openai.LLM(
                model=one.model_for(persona.model),
                client=client(one, HTTP_TIMEOUT_S),
                temperature=NOT_GIVEN if persona.temperature is None else persona.temperature,
            )
            for one in services
        ]
        _share_metrics(self.models)
        self._relay = _relay("llm", services, self.models, LLM_LIMITS, tell)

    async def reply(
        self, context: llm.ChatContext, tools: list[Any], choice: NotGivenOr[llm.ToolChoice]
    ) -> AsyncGenerator[llm.ChatChunk | str | FlushSentinel, None]:
        """The reply in pieces, tool calls among them. Raises `ModelsFailed`.

        A reply that breaks off is begun anew, with a word of excuse; never once a tool was called. For a slow one the
        caller is asked to wait, once.
        """
        called, served = False, 0
        pieces = self._relay.pieces(
            lambda model: _chunks(model, context, tools, choice), may_restart=lambda: not called
        )
        async with aclosing(pieces):
            async for takeovers, chunk in pieces:
                if takeovers > served:
                    served = takeovers
                    yield FlushSentinel()
                    yield SAY_ANEW
                if chunk is None:
                    yield FlushSentinel()
                    yield f" {ONE_MOMENT} "
                    continue
                called = called or bool(chunk.delta and chunk.delta.tool_calls)
                yield chunk


async def _chunks(
    model: openai.LLM, context: llm.ChatContext, tools: list[Any], choice: NotGivenOr[llm.ToolChoice]
) -> AsyncGenerator[llm.ChatChunk, None]:
    """What the model says; anything before its first word or call is no sign that it answers."""
    begun = False
    async with model.chat(chat_ctx=context, tools=tools, tool_choice=choice, conn_options=ONE_TRY) as stream:
        async for chunk in stream:
            begun = begun or chunk.has_response()
            if begun:
                yield chunk


class Synthesiser:
    """Text to speech, clause by clause, in the persona's voice."""

    def __init__(self, services: Sequence[Endpoint], persona: Persona, default_voice: str, tell: Tell) -> None:
        self.models = [
            openai.TTS(
                model=one.model,
                client=client(one, HTTP_TIMEOUT_S),
                voice=persona.voice or default_voice or "alloy",
                speed=persona.speed,
                response_format="pcm",
            )
            for one in services
        ]
        _share_metrics(self.models)
        self._relay = _relay("tts", services, self.models, TTS_LIMITS, tell)

    async def speak(
        self, text: str, *, meanwhile: Sequence[rtc.AudioFrame] = ()
    ) -> AsyncGenerator[rtc.AudioFrame, None]:
        """The sound of `text` without the silence before it. Raises `ModelsFailed`.

        A voice that breaks off is followed by another one, which says all of `text` again; while all are slow,
        `meanwhile` is heard, once. What has no letter or digit in it has no sound.
        """
        if not any(map(str.isalnum, text)):
            return
        async with aclosing(self._relay.pieces(lambda model: _frames(model, text))) as pieces:
            async for _takeovers, frame in pieces:
                for one in meanwhile if frame is None else (frame,):
                    yield one


async def _frames(model: openai.TTS, text: str) -> AsyncGenerator[rtc.AudioFrame, None]:
    """What can be heard: silence is no sign that a voice answers."""
    async with model.synthesize(text, conn_options=ONE_TRY) as stream:
        async for frame in speech.without_leading_silence(one.frame async for one in stream):
            yield frame


def _relay(
    part: Part, services: Sequence[Endpoint], models: Sequence[Model], limits: Limits, tell: Tell
) -> Relay[Model]:
    def recovered(reason: str) -> None:
        tell(ModelFailed(part=part, reason=reason, recovered=True))

    # Asked twice at once, the models of this machine would only be twice as slow.
    return Relay(part, models, limits, recovered, beside_itself=services[0].name != LOCAL)


def _share_metrics(models: Sequence[rtc.EventEmitter[Any]]) -> None:
    """The session listens to the first model of a part; what the others used is counted as well."""
    for other in models[1:]:
        other.on("metrics_collected", lambda metrics: models[0].emit("metrics_collected", metrics))
