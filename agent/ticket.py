"""What an agent is told about its call, read from the job: whole, partial, flat or hostile, it gives a persona."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from switchboard.dispatch import DispatchMetadata, PersonaSource
from switchboard.fact import Body, PersonaFieldRejected, PersonaMetadataRejected
from switchboard.persona import Persona

PERSONAS = Path(__file__).parent.parent / "prompts" / "personas"
MAX_REJECTED = 20


@dataclass(frozen=True, slots=True)
class Ticket:
    """`metadata` is None when the job's is not whole; then the caller in the room says which call it is."""

    metadata: DispatchMetadata | None
    persona: Persona
    source: PersonaSource
    version: str | None
    rejected: tuple[Body, ...]


@cache
def default_persona() -> Persona:
    """The persona that is always there."""
    text = (PERSONAS / "default.yaml").read_text(encoding="utf-8")
    persona, _rejected = Persona.read(yaml.safe_load(text))
    return persona


def read(text: str) -> Ticket:
    """The ticket in a job's metadata. Never raises."""
    metadata, raw, fault = DispatchMetadata.read(text)
    rejected: list[Body] = [PersonaMetadataRejected(reason=fault)] if fault else []
    if not raw:
        source = metadata.persona_source if metadata else "default"
        return Ticket(metadata, default_persona(), source, None, tuple(rejected))
    persona, fields = Persona.read(raw, default=default_persona())
    rejected += [
        PersonaFieldRejected(field=name[:100], reason=why) for name, why in list(fields.items())[:MAX_REJECTED]
    ]
    version = raw.get("version")
    return Ticket(
        metadata,
        persona,
        metadata.persona_source if metadata else "api",
        str(version)[:64] if isinstance(version, str | int) else None,
        tuple(rejected),
    )
