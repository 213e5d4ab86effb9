"""Persona: who answers. Read leniently from JSON or YAML of several shapes; a bad field never breaks a call."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

MAX_BYTES = 256 * 1024
MAX_FACTS = 2_000
_TEXT = 20_000
_NESTING = 6
RECORDED = "This call is recorded."

_SPELLINGS = {
    "welcomeMessage": "welcome_message",
    "closingMessage": "closing_message",
    "closedMessage": "closed_message",
    "personaName": "persona_name",
    "name": "persona_name",
}


class PersonaFact(BaseModel):
    """One thing the persona knows: the sentence it says, and phrasings of the questions it answers."""

    model_config = ConfigDict(frozen=True)

    say: str = Field(min_length=1, max_length=2_000)
    asked: tuple[Annotated[str, Field(max_length=500)], ...] = Field((), max_length=50)


_HOURS = re.compile(r"(?:[01]?\d|2[0-4]):[0-5]\d\s*-\s*(?:[01]?\d|2[0-4]):[0-5]\d")


def _facts(value: object) -> object:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    return tuple({"say": item} if isinstance(item, str) else item for item in value)


class Persona(BaseModel):
    """A whole persona; every field has a default that can answer a phone. Times are minutes or seconds as named."""

    model_config = ConfigDict(frozen=True, extra="allow")

    persona_name: str = Field("Receptionist", min_length=1, max_length=200)
    personality: str = Field(
        "You answer the phone politely and briefly, and take messages.", min_length=1, max_length=_TEXT
    )
    welcome_message: str = Field("Hello, thank you for calling. How can I help you?", min_length=1, max_length=2_000)
    closing_message: str = Field("Thank you for calling. Goodbye.", min_length=1, max_length=2_000)
    voice: str = Field("", max_length=100)
    language: str = Field("en", min_length=2, max_length=20)
    speed: float = Field(1.0, ge=0.25, le=4.0)
    model: str = Field("", max_length=100)
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    facts: Annotated[tuple[PersonaFact, ...], BeforeValidator(_facts)] = Field((), max_length=MAX_FACTS)
    knowledge: tuple[str, ...] = Field((), max_length=100)
    tools: tuple[str, ...] = Field((), max_length=50)
    transfer: tuple[str, ...] = Field((), max_length=50)
    timezone: str = "UTC"
    hours: dict[str, str | list[str]] = Field(default_factory=dict, max_length=20)
    holidays: tuple[str, ...] = Field((), max_length=100)
    closed_message: str = Field("", max_length=2_000)
    disclosure: str = Field("", max_length=1_000)
    max_call_minutes: float = Field(30.0, gt=0, le=24 * 60)
    silence_timeout_s: float = Field(12.0, ge=3, le=600)
    variables: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=100)
    pronunciations: dict[
        Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(max_length=200)]
    ] = Field(default_factory=dict, max_length=500)
    memory: bool = False
    record: bool = False
    recording_disclosure: str = Field(RECORDED, max_length=500)
    recording_days: int | None = Field(None, ge=1, le=36_500)

    @field_validator("hours")
    @classmethod
    def _readable_hours(cls, value: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for spans in value.values():
            for span in spans.split(",") if isinstance(spans, str) else spans:
                if span.strip() not in ("", "closed") and not _HOURS.fullmatch(span.strip()):
                    raise ValueError("must be spans by day such as 08:00-17:00, or closed")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("must be a time zone such as Europe/Berlin") from None
        return value

    @classmethod
    def read(cls, data: object, *, default: Self | None = None) -> tuple[Self, dict[str, str]]:
        """The persona in `data`, and the fields that were rejected with the reason for each.

        Accepts both spellings, `personality` or `conversationStructure` (text, list or nested object). A
        field of the wrong type takes the value of `default` (else the class's). Never raises.
        """
        base = default or cls()
        if not isinstance(data, Mapping):
            return base, {"persona": f"must be an object, is {type(data).__name__}"}
        given = _one_spelling(data)
        rejected: dict[str, str] = {}
        # Each round drops the fields found wrong; two rounds at most, as fields are checked independently.
        while True:
            try:
                return cls.model_validate(given), rejected
            except ValidationError as error:
                for fault in error.errors():
                    name = str(fault["loc"][0])
                    rejected[name] = str(fault["msg"])[:200]
                    given = _replaced(given, name, base)


def _replaced(given: dict[str, Any], name: str, base: Persona) -> dict[str, Any]:
    rest = {key: value for key, value in given.items() if key != name}
    return {**rest, name: getattr(base, name)} if name in base.model_fields_set else rest


def _one_spelling(data: Mapping[Any, Any]) -> dict[str, Any]:
    given = {str(key): value for key, value in data.items() if value is not None}
    for other, ours in _SPELLINGS.items():
        if other in given:
            given.setdefault(ours, given.pop(other))
    structure = given.pop("conversationStructure", None)
    if structure is not None and "personality" not in given:
        given["personality"] = rendered(structure)
    elif isinstance(given.get("personality"), Mapping | list):
        given["personality"] = rendered(given["personality"])
    return given


def rendered(structure: object, depth: int = 0) -> str:
    """A nested conversation structure as instructions: headings for keys, a line for each text."""
    if depth > _NESTING:
        return ""
    if isinstance(structure, Mapping):
        parts = (_heading(str(key), value, depth) for key, value in structure.items())
    elif isinstance(structure, Sequence) and not isinstance(structure, str):
        parts = (f"{'  ' * depth}- {rendered(item, depth + 1).strip()}" for item in structure)
    else:
        return str(structure).strip()
    return "\n".join(part for part in parts if part.strip(" -"))[:_TEXT]


def _heading(key: str, value: object, depth: int) -> str:
    title = key.replace("_", " ").strip()
    if isinstance(value, Mapping | list):
        return f"{'  ' * depth}{title}:\n{rendered(value, depth + 1)}"
    return f"{'  ' * depth}{title}: {rendered(value)}"
