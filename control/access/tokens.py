"""Random tokens: shown once, kept as hashes."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from uuid import UUID

KEY_PREFIX = "sb_"
_LINK = re.compile(r"([0-9a-f]{32})\.([\w-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LinkToken:
    """What a sign-in link carries: which link it is, and the secret that proves it."""

    id: UUID
    secret: str

    def __str__(self) -> str:
        return f"{self.id.hex}.{self.secret}"

    @classmethod
    def read(cls, text: str) -> "LinkToken | None":
        found = _LINK.fullmatch(text)
        return cls(UUID(found[1]), found[2]) if found else None


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def new_key() -> str:
    """An API key."""
    return KEY_PREFIX + new_secret()


def new_code() -> str:
    """128 random bits: a code that is good once and for minutes."""
    return secrets.token_urlsafe(16)


def hashed(token: str) -> bytes:
    """What is kept of a token: its bits are random, so that one pass of SHA-256 is enough."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
