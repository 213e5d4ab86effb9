"""What workers tell of agents, with the installation's own token. Told again, nothing changes."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import ValidationError

from switchboard.notice import WORKER_READY, Answer, Lost, Notice, WorkerReady, accepted_path, lost_path, refused_path
from webhook.busy import Busy
from webhook.metrics import Metrics
from webhook.replace import Replacements
from webhook.watch import Watcher

log = structlog.get_logger(__name__)

MAX_BODY = 4_096
BODY_WAITS_S = 5.0
_CALL = "{call_id}"

Handler = Callable[[web.Request], Awaitable[web.Response]]
Shape = TypeVar("Shape", bound=Notice)


class _Fault(Exception):
    """A request that has no effect."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.answer = web.json_response({"code": code, "message": message}, status=status)
        super().__init__(message)


class Internal:
    """The routes below `/internal`; with an empty token each answers 401."""

    def __init__(
        self, token: str, watcher: Watcher, replacements: Replacements, busy: Busy, metrics: Metrics
    ) -> None:
        self._token = token.encode()
        self._watcher = watcher
        self._replacements = replacements
        self._busy = busy
        self._metrics = metrics
        self._routes: dict[str, Handler] = {
            lost_path(_CALL): self._lost,
            accepted_path(_CALL): self._accepted,
            refused_path(_CALL): self._refused,
            WORKER_READY: self._ready,
        }
        self.draining = False

    @staticmethod
    def paths() -> list[str]:
        return [lost_path(_CALL), accepted_path(_CALL), refused_path(_CALL), WORKER_READY]

    async def receive(self, request: web.Request) -> web.Response:
        """`POST` to one of `paths`."""
        resource = request.match_info.route.resource
        try:
            self._check(request)
            return await self._routes[resource.canonical if resource else ""](request)
        except _Fault as fault:
            return fault.answer

    def _check(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = given.encode(errors="surrogateescape")
        if not self._token or scheme.lower() != "bearer" or not hmac.compare_digest(token, self._token):
            raise _Fault(401, "unauthorized", "Send INTERNAL_TOKEN as the bearer token.")
        if self.draining:
            raise _Fault(503, "draining", "This process is about to end.")

    async def _lost(self, request: web.Request) -> web.Response:
        call_id, notice = _call_id(request), await _read(request, Lost)
        self._count("lost", notice.reason)
        self._replacements.lost(call_id, notice.attempt, notice.reason, notice.job)
        return _taken()

    async def _accepted(self, request: web.Request) -> web.Response:
        call_id, notice = _call_id(request), await _read(request, Answer)
        self._count("accepted")
        await self._busy.accepted(call_id, notice.attempt)
        return _taken()

    async def _refused(self, request: web.Request) -> web.Response:
        call_id, notice = _call_id(request), await _read(request, Answer)
        self._count("refused")
        self._busy.refused(call_id, notice.attempt, notice.worker)
        return _taken()

    async def _ready(self, request: web.Request) -> web.Response:
        notice = await _read(request, WorkerReady)
        self._count("ready")
        log.info("worker_ready", worker=notice.worker)
        self._watcher.hurry()
        return _taken()

    def _count(self, kind: str, reason: str = "") -> None:
        self._metrics.notices.labels(kind, reason).inc()


def _taken() -> web.Response:
    return web.json_response({}, status=202)


def _call_id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["call_id"])
    except ValueError:
        raise _Fault(400, "malformed", "The call in the path must be a UUID.") from None


async def _read(request: web.Request, shape: type[Shape]) -> Shape:
    body = await _body(request)
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "json_invalid":
            raise _Fault(400, "malformed", "The body must be JSON.") from None
        named = ".".join(map(str, fault["loc"])) or "The body"
        raise _Fault(422, "invalid", f"{named}: {fault['msg']}.") from None


async def _body(request: web.Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_WAITS_S):
            async for some in request.content.iter_any():
                body += some
                if len(body) > MAX_BODY:
                    raise _Fault(413, "too_large", f"The body is larger than {MAX_BODY} bytes.")
    except TimeoutError:
        raise _Fault(408, "too_slow", f"The body did not come within {BODY_WAITS_S:g} s.") from None
    return body
