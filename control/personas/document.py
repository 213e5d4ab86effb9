"""A persona as people write it: read strictly, kept as written."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from switchboard.persona import MAX_BYTES, Persona

DEFAULT = "default"
_RESERVED = ("version",)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_NAME = re.compile(
    r"(^|[_\s-])(secret|token|password|passwd|passphrase|authorization|api_?key|private_key|cookie|credentials?)$"
)
_SECRET_VALUE = re.compile(r"\bsk-[\w-]{16,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----")


class DocumentError(Exception):
    """A persona that cannot be taken; the sentence names the field."""


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The persona in `given`, as written. Raises `DocumentError` where a call would be lenient.

    Fields that nobody knows are kept; fields of the wrong type and fields that look like secrets are refused.
    """
    if size_of(given) > MAX_BYTES:
        raise DocumentError(f"The persona is larger than {MAX_BYTES // 1024} KiB.")
    for name in _RESERVED:
        if name in given:
            raise DocumentError(f"{name}: is given by Switchboard; leave it out.")
    secret = next(_secrets(given), None)
    if secret:
        raise DocumentError(f"{secret}: looks like a secret; a persona names tools and models, and carries no keys.")
    _, rejected = Persona.read(given)
    for name, reason in rejected.items():
        raise DocumentError(f"{name}: {reason.removeprefix('Value error, ')}.")
    return dict(given)


def served(body: Mapping[str, Any], slug: str, version: int) -> dict[str, Any]:
    """The persona as the Persona API answers it. `version` is text there: it means nothing but itself."""
    persona, _ = Persona.read(body)
    return {**body, "persona_name": persona.persona_name, "slug": slug, "version": str(version)}


def size_of(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace"))


def _secrets(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            name = f"{path}.{key}" if path else str(key)
            if name == "pronunciations":
                continue
            if inner and _SECRET_NAME.search(_CAMEL.sub("_", str(key)).lower()):
                yield name
            yield from _secrets(inner, name)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from _secrets(inner, f"{path}.{at}")
    elif isinstance(value, str) and _SECRET_VALUE.search(value):
        yield path
