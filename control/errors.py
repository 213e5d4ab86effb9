"""Errors as callers of the API see them: a status and `{"code", "message"}`.

ApiError
├── BadRequest 400        ├── Conflict 409
├── Unauthorized 401      ├── TooLarge 413
├── Forbidden 403         ├── TooMany 429
├── NotFound 404          ├── OutOfRange 416
                          ├── ModelFailed 502
                          └── Unavailable 503
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from control.db.pool import DatabaseAway

log = structlog.get_logger(__name__)

# Every request fails while the database is away; one line in so many seconds says it.
AWAY_LOGGED_EVERY_S = 10.0
UNFORESEEN = "Something went wrong here; it is in the log."
AWAY = "The database is away; try again in a moment."


class ErrorBody(BaseModel):
    """What went wrong: a word for programs and a sentence for people."""

    code: str
    message: str


class ApiError(HTTPException):
    """An answer that is no success; the text is the sentence that the caller reads."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(self.status, message)


class BadRequest(ApiError):
    """The request says something that cannot be meant."""

    status, code = 400, "bad_request"


class Unauthorized(ApiError):
    """Nobody we know asks."""

    status, code = 401, "unauthorized"


class Forbidden(ApiError):
    """Somebody asks who may not."""

    status, code = 403, "forbidden"


class NotFound(ApiError):
    """There is no such thing."""

    status, code = 404, "not_found"


class Conflict(ApiError):
    """What is there already stands in the way."""

    status, code = 409, "conflict"


class TooLarge(ApiError):
    """The body is beyond the limit."""

    status, code = 413, "too_large"


class TooMany(ApiError):
    """Asked too often; `Retry-After` says in how many seconds it may be asked again."""

    status, code = 429, "too_many"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after_s)}


class OutOfRange(ApiError):
    """The range that is asked for lies beyond the end; `Content-Range` says where that is."""

    status, code = 416, "out_of_range"

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins beyond the end: there are {size} bytes.")
        self.headers = {"Content-Range": f"bytes */{size}"}


class ModelFailed(ApiError):
    """The model, or a tool of the agent, did not answer as it should."""

    status, code = 502, "model_failed"


class Unavailable(ApiError):
    """A part that the answer needs is away; the same request may succeed later."""

    status, code = 503, "unavailable"


_KINDS: tuple[type[ApiError], ...] = (
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    TooMany,
    OutOfRange,
    ModelFailed,
    Unavailable,
)
_CODES = {kind.status: kind.code for kind in _KINDS} | {405: "method_not_allowed", 500: "internal"}
_MEANINGS = {kind.status: str(kind.__doc__) for kind in _KINDS}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These error answers as FastAPI's `responses` take them."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


def answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = {"code": _CODES.get(status, "error"), "message": message}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def install(app: FastAPI) -> None:
    """Gives every error of `app` the one shape."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DatabaseAway, _away())
    app.add_exception_handler(asyncpg.DataError, _refused)
    app.add_exception_handler(asyncpg.ProgramLimitExceededError, _refused)
    app.add_exception_handler(asyncpg.IntegrityConstraintViolationError, _overtaken)
    app.add_exception_handler(Exception, _unforeseen)


async def _http(_request: Request, error: Any) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else error.headers
    return answer(error.status_code, error.detail, headers)


async def _invalid(_request: Request, error: Any) -> JSONResponse:
    return answer(400, sentence(error.errors()))


def _away() -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    said_at, refused = float("-inf"), 0

    async def handler(_request: Request, error: Exception) -> JSONResponse:
        nonlocal said_at, refused
        refused += 1
        if time.monotonic() - said_at >= AWAY_LOGGED_EVERY_S:
            log.warning("database_away", error=str(error), requests=refused)
            said_at, refused = time.monotonic(), 0
        return answer(503, AWAY, {"Retry-After": "2"})

    return handler


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    log.warning("database_refused", error=type(error).__name__)
    return answer(400, "The request holds text that cannot be stored, such as a NUL character.")


async def _overtaken(_request: Request, error: Exception) -> JSONResponse:
    log.warning("request_overtaken", error=type(error).__name__)
    return answer(409, "Another request changed this at the same time; read it again and repeat.")


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the error with its trace; its text may hold what is none of the caller's business.
    return answer(500, UNFORESEEN)


def sentence(faults: Sequence[Mapping[str, Any]]) -> str:
    """The first fault of a validation as one sentence that names the field."""
    fault = faults[0]
    place = [str(part) for part in fault["loc"] if part not in ("body", "query", "path", "header")]
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return "The body is no JSON."
    return f"{'.'.join(place) or 'The body'}: {message}."[:500]
