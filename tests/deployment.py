"""The files that put Switchboard on a server, read the way the tool that uses each of them reads it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "compose.yaml"
DOCKERFILE = ROOT / "Dockerfile"
ENV_EXAMPLE = ROOT / ".env.example"

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_ENTRY = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$")


@dataclass(frozen=True, slots=True)
class Variable:
    """`${name}` in compose.yaml; `default` is None when there is none."""

    name: str
    required: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of .env.example with the comment above it."""

    name: str
    value: str
    commented_out: bool
    explained: bool


def compose() -> dict[str, Any]:
    """compose.yaml with its anchors and merges resolved, and its variables as they stand."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def variables(text: str) -> Iterator[Variable]:
    """The variables in a text of compose.yaml."""
    for found in _VARIABLE.finditer(text):
        name, sign, rest = found.groups()
        yield Variable(name, required=sign == "?", default=rest if sign == "-" else None)


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced as compose does it. Raises `KeyError` for one that is missing."""

    def value(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        if values.get(name):
            return values[name]
        if sign == "-":
            return str(rest)
        raise KeyError(name)

    return _VARIABLE.sub(value, text)


def own_services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml that run our image."""
    return {name: one for name, one in compose()["services"].items() if one["image"] == "switchboard"}


def entries() -> list[Entry]:
    """The lines of .env.example that set something."""
    found, previous = [], ""
    for line in ENV_EXAMPLE.read_text().splitlines():
        if match := _ENTRY.match(line):
            explained = previous.startswith("# ") or bool(_ENTRY.match(previous))
            found.append(Entry(match[2], match[3], match[1] == "#", explained))
        previous = line
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, each with its arguments on one line."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line and line[0] != "#"]


def command_of(text: str) -> list[str]:
    """A CMD in the form of a JSON list."""
    found: list[str] = json.loads(text)
    return found
