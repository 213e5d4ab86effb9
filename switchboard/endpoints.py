"""Which model services the settings name for each part, in the order in which they are tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from switchboard.settings import Settings, SettingsError

Part = Literal["stt", "llm", "tts"]

LOCAL = "local"
OPENAI = "openai"
AZURE = "azure"

_OPENAI_MODELS = {"stt": "gpt-4o-mini-transcribe", "llm": "gpt-4.1-mini", "tts": "gpt-4o-mini-tts"}
_LOCAL_MODELS = {"stt": "moonshine-tiny-en", "llm": "extractive", "tts": "local"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One OpenAI-compatible service. `base_url` None is OpenAI's own."""

    name: str
    base_url: str | None
    api_key: str
    model: str

    def model_for(self, wanted: str) -> str:
        """The model to ask for when a persona wants `wanted`, or nothing; the bundled service has only its own."""
        return self.model if self.name == LOCAL else wanted or self.model


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
