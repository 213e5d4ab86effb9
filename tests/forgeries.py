"""Forged webhooks in eight classes; none may be accepted."""

import base64
import hashlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt


@dataclass(frozen=True, slots=True)
class Forgery:
    kind: str
    headers: dict[str, str]
    body: bytes


Make = Callable[[random.Random, bytes, str, str], tuple[str | None, bytes]]


def _claims(body: bytes, key: str, **more: Any) -> dict[str, Any]:
    now = int(time.time())
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return {"iss": key, "sub": "", "nbf": now - 1, "exp": now + 300, "sha256": digest, **more}


def _no_header(_chance: random.Random, body: bytes, _key: str, _secret: str) -> tuple[str | None, bytes]:
    return None, body


def _garbage(chance: random.Random, body: bytes, key: str, secret: str) -> tuple[str | None, bytes]:
    good = jwt.encode(_claims(body, key), secret, algorithm="HS256")
    head, payload, signature = good.split(".")
    alphabet = "ABCDEFGHIJKLMNOPabcdefghijklmnop0123456789-_."
    other = ("".join(chance.choices(alphabet, k=chance.randint(1, 400))), f"Bearer {good}", f"{head}.{payload}.")
    broken = (signature[::-1], f"{head}.{payload}", f"{payload}.{head}.{signature}", f"{good}.{signature}", "null")
    return chance.choice((*other, *broken)), body


def _wrong_secret(chance: random.Random, body: bytes, key: str, secret: str) -> tuple[str | None, bytes]:
    wrong = chance.choice((secrets.token_hex(24), secret[:-1] + "x", secret.upper() + "x", secret + " ", key * 4))
    return jwt.encode(_claims(body, key), wrong, algorithm="HS256"), body


def _unknown_issuer(chance: random.Random, body: bytes, key: str, secret: str) -> tuple[str | None, bytes]:
    issuer = chance.choice((secrets.token_hex(6), key + "x", key[:-1], key.upper() + "X", "", None))
    claims = _claims(body, key)
    if issuer is None:
        del claims["iss"]
    else:
        claims["iss"] = issuer
    return jwt.encode(claims, secret, algorithm="HS256"), body


def _alg_none(chance: random.Random, body: bytes, key: str, _secret: str) -> tuple[str | None, bytes]:
    unsigned = jwt.encode(_claims(body, key), "", algorithm="none")
    _head, payload, _ = unsigned.split(".")
    name = chance.choice(("none", "None", "NONE", "nOnE", "", "HS512", "RS256"))
    head = base64.urlsafe_b64encode(f'{{"alg":"{name}","typ":"JWT"}}'.encode()).decode().rstrip("=")
    return f"{head}.{payload}.{chance.choice(('', 'AAAA'))}", body


def _expired(chance: random.Random, body: bytes, key: str, secret: str) -> tuple[str | None, bytes]:
    now = int(time.time())
    late = now - chance.choice((60, 600, 86_400, 10**8))
    claims = chance.choice((_claims(body, key, exp=late), _claims(body, key, nbf=now + 600, exp=now + 900)))
    return jwt.encode(claims, secret, algorithm="HS256"), body


def _no_sha256(chance: random.Random, body: bytes, key: str, secret: str) -> tuple[str | None, bytes]:
    claims = _claims(body, key)
    wrong: object = chance.choice((None, "", "not base64!", 7, [], {"a": 1}, "AAAA", True))
    if wrong is None:
        del claims["sha256"]
    else:
        claims["sha256"] = wrong
    return jwt.encode(claims, secret, algorithm="HS256"), body


def _altered_body(chance: random.Random, body: bytes, key: str, secret: str) -> tuple[str | None, bytes]:
    good = jwt.encode(_claims(body, key), secret, algorithm="HS256")
    at = chance.randrange(len(body))
    flipped = body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]
    return good, chance.choice((flipped, body + b" ", body[:-1], b"", b"{}"))


KINDS: dict[str, Make] = {
    "no header": _no_header,
    "garbage": _garbage,
    "wrong secret": _wrong_secret,
    "unknown issuer": _unknown_issuer,
    "alg none": _alg_none,
    "expired": _expired,
    "no sha256": _no_sha256,
    "altered body": _altered_body,
}


def forged(count: int, body: bytes, key: str, secret: str, *, seed: int = 1) -> Iterator[Forgery]:
    """`count` forgeries of `body`, the classes in turn."""
    chance = random.Random(seed)
    kinds = list(KINDS.items())
    for at in range(count):
        kind, make = kinds[at % len(kinds)]
        authorization, sent = make(chance, body, key, secret)
        headers = {"Content-Type": "application/webhook+json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        yield Forgery(kind, headers, sent)
