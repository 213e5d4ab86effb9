"""The models of a call: which endpoints serve each part, in the order in which they are tried."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import structlog
from httpx2 import Limits
from livekit import rtc
from livekit.agents import NOT_GIVEN, APIConnectOptions, llm
from livekit.plugins import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import SecretStr

from switchboard.fact import Body, ModelFailed
from switchboard.persona import Persona
from switchboard.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

Part = Literal["stt", "llm", "tts"]
Tell = Callable[[Body], None]

LOCAL = "local"
OPENAI = "openai"
AZURE = "azure"
# One try of one endpoint; then the next one. A caller waits through all of them, so they are short.
STT_TIMEOUT_S = 3.0
TTS_TIMEOUT_S = 3.0
LLM_TIMEOUT_S = 4.0
HTTP_TIMEOUT_S = 5.0

_OPENAI_MODELS = {"stt": "gpt-4o-mini-transcribe", "llm": "gpt-4.1-mini", "tts": "gpt-4o-mini-tts"}
_LOCAL_MODELS = {"stt": "moonshine-tiny-en", "llm": "extractive", "tts": "local"}


class ModelsFailed(Exception):
    """Every configured model of a part failed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One OpenAI-compatible service. `base_url` None is OpenAI's own."""

    name: str
    base_url: str | None
    api_key: str
    model: str


def endpoints(settings: Settings, part: Part) -> tuple[Endpoint, ...]:
    """The services of a part: the one set for it, OpenAI, Azure (its v1 API, the model names the deployment), the
    bundled one; those that are set.

    Raises `SettingsError` when none is.
    """
    found = []
    base_url, key, model = (_setting(settings, part, name) for name in ("base_url", "api_key", "model"))
    if base_url or key:
        found.append(Endpoint(part, base_url or None, key or "none", model or _OPENAI_MODELS[part]))
    if openai_key := settings.openai_api_key.get_secret_value():
        found.append(Endpoint(OPENAI, settings.openai_base_url or None, openai_key, _model(model, part, found)))
    if settings.azure_openai_endpoint and (azure_key := settings.azure_openai_api_key.get_secret_value()):
        url = f"{settings.azure_openai_endpoint}/openai/v1"
        found.append(Endpoint(AZURE, url, azure_key, _model(model, part, found)))
    if settings.local_models_url:
        found.append(Endpoint(LOCAL, settings.local_models_url, "none", _LOCAL_MODELS[part]))
    if not found:
        name = part.upper()
        raise SettingsError(f"No model for {name}: set {name}_BASE_URL or OPENAI_API_KEY, or run `switchboard up`.")
    return tuple(found)


def _setting(settings: Settings, part: Part, name: str) -> str:
    value = getattr(settings, f"{part}_{name}")
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _model(model: str, part: Part, before: Sequence[Endpoint]) -> str:
    # The part's model name belongs to the part's own service when it has one.
    return model if model and not before else _OPENAI_MODELS[part]


class Recogniser:
    """Speech to text, whole utterances."""

    def __init__(self, services: Sequence[Endpoint], language: str, tell: Tell) -> None:
        self._tell = tell
        self.models = [
            openai.STT(model=one.model, client=_client(one), language=language.split("-")[0]) for one in services
        ]

    async def words(self, audio: rtc.AudioFrame) -> str:
        """What was said in `audio`. Raises `ModelsFailed`."""
        for model in self.models:
            try:
                async with asyncio.timeout(STT_TIMEOUT_S):
                    event = await model.recognize(audio, conn_options=APIConnectOptions(max_retry=0))
            except Exception as error:  # the process border to models of any make
                log.warning("stt_failed", model=model.model, error=str(error))
                continue
            if model is not self.models[0]:
                self._tell(ModelFailed(part="stt", reason="another model served", recovered=True))
            return event.alternatives[0].text if event.alternatives else ""
        raise ModelsFailed("stt")


class Synthesiser:
    """Text to speech, clause by clause, in the persona's voice."""

    def __init__(self, services: Sequence[Endpoint], persona: Persona, default_voice: str, tell: Tell) -> None:
        self._tell = tell
        self.models = [
            openai.TTS(
                model=one.model,
                client=_client(one),
                voice=persona.voice or default_voice or "alloy",
                speed=persona.speed,
                response_format="pcm",
            )
            for one in services
        ]

    async def speak(self, text: str) -> AsyncIterator[rtc.AudioFrame]:
        """The sound of `text`. Raises `ModelsFailed` when nothing was heard; a voice that breaks off stays so."""
        for model in self.models:
            begun = False
            try:
                async with aclosing(_frames(model, text)) as frames:
                    async for frame in frames:
                        begun = True
                        yield frame
            except Exception as error:  # the process border to models of any make
                log.warning("tts_failed", model=model.model, error=str(error), begun=begun)
                if not begun:
                    continue
            if model is not self.models[0]:
                self._tell(ModelFailed(part="tts", reason="another model served", recovered=True))
            return
        raise ModelsFailed("tts")


async def _frames(model: openai.TTS, text: str) -> AsyncGenerator[rtc.AudioFrame, None]:
    options = APIConnectOptions(max_retry=0, timeout=TTS_TIMEOUT_S)
    async with model.synthesize(text, conn_options=options) as stream:
        chunks = aiter(stream)
        while True:
            try:
                async with asyncio.timeout(TTS_TIMEOUT_S):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            yield chunk.frame


def thinker(services: Sequence[Endpoint], persona: Persona) -> llm.LLM[Any]:
    """The language model: the first service, and the next ones when it fails."""
    models: list[llm.LLM[Any]] = [
        openai.LLM(
            model=persona.model or one.model if one.name != LOCAL else one.model,
            client=_client(one),
            temperature=NOT_GIVEN if persona.temperature is None else persona.temperature,
        )
        for one in services
    ]
    if len(models) == 1:
        return models[0]
    return llm.FallbackAdapter(models, attempt_timeout=LLM_TIMEOUT_S, max_retry_per_llm=0)


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Loaded once where processes are forked from: it takes 0.1 s, in which a caller would wait."""
    return ssl.create_default_context()


def _client(one: Endpoint) -> AsyncOpenAI:
    """A client of its own for each service. It ends with the call's process."""
    http = DefaultAsyncHttpxClient(
        verify=trusted_certificates(), timeout=HTTP_TIMEOUT_S, limits=Limits(keepalive_expiry=120), trust_env=False
    )
    return AsyncOpenAI(base_url=one.base_url, api_key=one.api_key, max_retries=0, http_client=http)
