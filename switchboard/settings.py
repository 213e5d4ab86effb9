"""Settings: one frozen value, read once from the environment and `.env`.

Unknown names that look like ours (a known prefix, not a known field) are refused with the nearest
known name, so that a typing slip is seen at start and not in a call.
"""

import difflib
import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import pydantic_settings
from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

OUR_PREFIXES = ("SWITCHBOARD_", "PERSONA_", "SIP_", "STT_", "LLM_", "TTS_", "LIVEKIT_")
# How alike two names are, of 1, when one is a slip of the other.
SLIP = 0.87
# Read by the libraries that we stand on, so not ours to refuse.
OTHERS = ("LIVEKIT_AGENTS_", "LIVEKIT_DEV_MODE", "LIVEKIT_SERVER", "LIVEKIT_LOG", "LIVEKIT_OBSERVABILITY")


class SettingsError(Exception):
    """A setting is missing or wrong; the text names it and says what to do. Exit status 2."""


def _url(schemes: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.hostname or "unix" in parts.scheme or parts.query):
            raise ValueError(f"must be a URL that starts with {' or '.join(s + '://' for s in schemes)}")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("has a port that is no number from 1 to 65535") from None
        return value.rstrip("/")

    return AfterValidator(check)


def _list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


HttpUrl = Annotated[str, _url(("http", "https"))]
LiveKitUrl = Annotated[str, _url(("ws", "wss", "http", "https"))]
RedisUrl = Annotated[str, _url(("redis", "rediss", "unix"))]
PostgresUrl = Annotated[str, _url(("postgresql", "postgresql+asyncpg", "postgres"))]
Port = Annotated[int, Field(ge=0, le=65535)]
CommaList = Annotated[str | tuple[str, ...], BeforeValidator(_list)]


class Settings(BaseSettings):
    """Every setting of every process. Times are seconds, sizes bytes, unless the name says otherwise."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path(".switchboard"), validation_alias="SWITCHBOARD_HOME")
    log_level: str = Field("info", validation_alias="SWITCHBOARD_LOG_LEVEL", pattern="^(debug|info|warning|error)$")
    log_json: bool = Field(True, validation_alias="SWITCHBOARD_LOG_JSON")

    livekit_url: LiveKitUrl = Field("", validation_alias="LIVEKIT_URL")
    livekit_api_key: str = Field("", validation_alias="LIVEKIT_API_KEY")
    livekit_api_secret: SecretStr = Field(SecretStr(""), validation_alias="LIVEKIT_API_SECRET")
    livekit_public_url: LiveKitUrl = Field("", validation_alias="LIVEKIT_PUBLIC_URL")
    agent_to_dispatch: str = Field("friday-ai-agent", validation_alias="AGENT_TO_DISPATCH", min_length=1)

    host: str = Field("127.0.0.1", validation_alias="SWITCHBOARD_HOST")
    webhook_port: Port = Field(8080, validation_alias="PORT")
    control_port: Port = Field(8081, validation_alias="CONTROL_PORT")
    agent_port: Port = Field(8082, validation_alias="AGENT_PORT")
    models_port: Port = Field(8092, validation_alias="MODELS_PORT")
    trusted_proxies: CommaList = Field((), validation_alias="TRUSTED_PROXIES")
    internal_token: SecretStr = Field(SecretStr(""), validation_alias="INTERNAL_TOKEN")
    control_url: HttpUrl = Field("http://127.0.0.1:8081", validation_alias="CONTROL_URL")
    control_public_url: HttpUrl = Field("", validation_alias="CONTROL_PUBLIC_URL")
    webhook_url: HttpUrl = Field("http://127.0.0.1:8080", validation_alias="WEBHOOK_URL")

    persona_api_base: HttpUrl = Field("", validation_alias="PERSONA_API_BASE")
    persona_api_token: SecretStr = Field(SecretStr(""), validation_alias="PERSONA_API_TOKEN")
    outbound_allowed: CommaList = Field((), validation_alias="SWITCHBOARD_OUTBOUND_ALLOWED")

    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", validation_alias="REDIS_URL")
    database_url: PostgresUrl = Field("", validation_alias="DATABASE_URL")
    database_echo: bool = Field(False, validation_alias="DATABASE_ECHO")

    openai_api_key: SecretStr = Field(SecretStr(""), validation_alias="OPENAI_API_KEY")
    openai_base_url: HttpUrl = Field("", validation_alias="OPENAI_BASE_URL")
    azure_openai_api_key: SecretStr = Field(SecretStr(""), validation_alias="AZURE_OPENAI_API_KEY")
    azure_openai_endpoint: HttpUrl = Field("", validation_alias="AZURE_OPENAI_ENDPOINT")
    stt_base_url: HttpUrl = Field("", validation_alias="STT_BASE_URL")
    stt_api_key: SecretStr = Field(SecretStr(""), validation_alias="STT_API_KEY")
    stt_model: str = Field("", validation_alias="STT_MODEL")
    llm_base_url: HttpUrl = Field("", validation_alias="LLM_BASE_URL")
    llm_api_key: SecretStr = Field(SecretStr(""), validation_alias="LLM_API_KEY")
    llm_model: str = Field("", validation_alias="LLM_MODEL")
    tts_base_url: HttpUrl = Field("", validation_alias="TTS_BASE_URL")
    tts_api_key: SecretStr = Field(SecretStr(""), validation_alias="TTS_API_KEY")
    tts_model: str = Field("", validation_alias="TTS_MODEL")
    tts_voice: str = Field("", validation_alias="TTS_VOICE")
    # Where the bundled models listen; the supervisor sets it. Empty: there are none.
    local_models_url: HttpUrl = Field("", validation_alias="SWITCHBOARD_LOCAL_MODELS_URL")

    # By model and unit of use, as `{"gpt-4.1-mini": {"input_tokens": 0.0000004}}`, in the installation's currency.
    prices: dict[str, dict[str, float]] = Field({}, validation_alias="SWITCHBOARD_PRICES")
    max_calls: int = Field(0, ge=0, validation_alias="SWITCHBOARD_MAX_CALLS", description="0: 4 a core")
    emergency_sentence: str = Field("", max_length=500, validation_alias="SWITCHBOARD_EMERGENCY_SENTENCE")

    recordings_days: int = Field(30, ge=1, le=36_500, validation_alias="SWITCHBOARD_RECORDINGS_DAYS")
    # With a bucket recordings lie there, else in SWITCHBOARD_HOME.
    recordings_bucket: str = Field("", validation_alias="SWITCHBOARD_RECORDINGS_S3_BUCKET")
    recordings_endpoint: HttpUrl = Field("", validation_alias="SWITCHBOARD_RECORDINGS_S3_ENDPOINT")
    recordings_region: str = Field("us-east-1", validation_alias="SWITCHBOARD_RECORDINGS_S3_REGION")
    recordings_key: SecretStr = Field(SecretStr(""), validation_alias="SWITCHBOARD_RECORDINGS_S3_KEY")
    recordings_secret: SecretStr = Field(SecretStr(""), validation_alias="SWITCHBOARD_RECORDINGS_S3_SECRET")

    sip_host: str = Field("127.0.0.1", validation_alias="SIP_HOST")
    sip_port: Port = Field(5060, validation_alias="SIP_PORT")
    sip_api_port: Port = Field(8093, validation_alias="SIP_API_PORT")
    sip_api_url: HttpUrl = Field("", validation_alias="SIP_API_URL")
    sip_max_calls: int = Field(50, ge=1, validation_alias="SIP_MAX_CALLS")
    sip_ringing_timeout_s: float = Field(30.0, gt=0, validation_alias="SIP_RINGING_TIMEOUT_S")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings

    @classmethod
    def read(cls, env_file: Path = Path(".env")) -> Self:
        """The settings of this process. Raises `SettingsError` with one sentence per fault."""
        _refuse_unknown(env_file)
        try:
            return cls(_env_file=env_file)
        except pydantic_settings.SettingsError:
            # The one setting that is read as JSON.
            raise SettingsError("SWITCHBOARD_PRICES must be JSON; .env.example shows one.") from None
        except ValidationError as error:
            raise SettingsError(" ".join(_sentence(fault) for fault in error.errors())) from None

    def need(self, *names: str) -> None:
        """Raises `SettingsError` when one of these settings (by their environment names) is empty."""
        for name in names:
            value = getattr(self, field_of(name))
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if not text:
                raise SettingsError(
                    f"{name} is not set: set it in the environment or .env, or run `switchboard up`, which makes it."
                )


def known_names() -> frozenset[str]:
    """The environment names of all settings."""
    return frozenset(_alias(name) for name in Settings.model_fields)


def field_of(name: str) -> str:
    """The field that the environment name sets."""
    return next(field for field in Settings.model_fields if _alias(field) == name)


def _alias(field: str) -> str:
    return str(Settings.model_fields[field].validation_alias)


def _refuse_unknown(env_file: Path) -> None:
    """Refuses names with a prefix of ours; in `.env`, which is ours alone, also slips of any other known name."""
    known = known_names()
    written = set(dotenv_values(env_file)) if env_file.is_file() else set()
    for name in sorted((set(os.environ) | written) - known):
        ours = name.startswith(OUR_PREFIXES) and not name.startswith(OTHERS)
        # Likeness is looked for where it counts alone: job processes read this while a caller waits.
        slip = name in written and bool(difflib.get_close_matches(name, known, n=1, cutoff=SLIP))
        if ours or slip:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it; .env.example lists the known ones."
            raise SettingsError(f"{name} is no known setting: {hint}")


def _sentence(fault: ErrorDetails) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    reason = str(fault["msg"]).removeprefix("Value error, ").replace("Input should ", "must ", 1)
    return f"{name} {reason}." if reason.startswith(("must", "has")) else f"{name}: {reason}."
