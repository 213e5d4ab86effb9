"""The cookie of a browser session, and the token that tells our own pages from others that make a browser ask us."""

import base64
import hashlib
import hmac
from urllib.parse import parse_qs

from fastapi import Request, Response
from starlette.requests import HTTPConnection

from control.errors import Forbidden

NAME = "switchboard"
# Browsers take a cookie of such a name over https alone, and from this very host.
SECURE_NAME = f"__Host-{NAME}"
HEADER = "X-CSRFToken"
FIELD = "csrf_token"
_SAFE = ("GET", "HEAD", "OPTIONS")
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 100


def is_secure(connection: HTTPConnection) -> bool:
    """Whether browsers reach us over https, at this address or at the one that we are known by."""
    known_by = str(connection.app.state.parts.settings.control_public_url)
    return connection.url.scheme in ("https", "wss") or known_by.startswith("https://")


def shown(connection: HTTPConnection) -> str:
    """The session's token that the browser sent; empty without one."""
    return connection.cookies.get(SECURE_NAME if is_secure(connection) else NAME, "")


def give(request: Request, response: Response, token: str, max_age_s: int) -> None:
    secure = is_secure(request)
    response.set_cookie(
        SECURE_NAME if secure else NAME,
        token,
        max_age=max_age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def take_back(request: Request, response: Response) -> None:
    secure = is_secure(request)
    name = SECURE_NAME if secure else NAME
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")


def csrf_token(session: str) -> str:
    """Bound to the session, and nothing that could be used in its place."""
    made = hmac.new(session.encode(errors="replace"), b"csrf", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


async def refuse_forged(request: Request) -> None:
    """Raises `Forbidden` for a change that comes without the token of its session."""
    if request.method in _SAFE:
        return
    given = request.headers.get(HEADER) or await _field(request)
    if not hmac.compare_digest(given.encode(errors="replace"), csrf_token(shown(request)).encode()):
        raise Forbidden(f"A change by a browser session needs the header {HEADER} with the token that GET /me shows.")


async def _field(request: Request) -> str:
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        return ""
    # Kept by the request, so that whoever serves it reads the body again.
    try:
        fields = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        return ""
    return fields.get(FIELD, [""])[0]


def refuse_other_sites(request: Request) -> None:
    """Raises `Forbidden` when a page of another site makes the browser ask; for what needs no session yet."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise Forbidden("This comes from a page of another site; open the link itself.")
