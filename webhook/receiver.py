"""LiveKit's signed events. Nothing happens before the signature holds.

LiveKit repeats what gets a 5xx (5 times in 15 s) and never what gets a 4xx; so 503 is for when a repeat
can help: too much under way, or this process about to end. Bodies carry a password of the room's TURN
server and are never logged.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from datetime import timedelta

import jwt
import structlog
from aiohttp import web
from google.protobuf.json_format import Parse, ParseError
from livekit.api import TokenVerifier, WebhookEvent

from webhook.arrivals import Arrivals
from webhook.call import Call, call_of
from webhook.metrics import Metrics
from webhook.peers import Peers
from webhook.replace import Replacements
from webhook.store import Store
from webhook.survey import Agent, agent_of
from webhook.watch import Watcher

log = structlog.get_logger(__name__)

MAX_BODY = 1024 * 1024
BODY_WAITS_S = 5.0
# How far the clocks of LiveKit's host and this one may be apart.
LEEWAY = timedelta(seconds=10)
WAKING = frozenset({"participant_left", "participant_connection_aborted", "room_finished"})
REFUSAL_LOGGED_EVERY_S = 1.0


class Unsigned(Exception):
    """The request is not from LiveKit as far as its token tells; the text says why."""


class NoEvent(Exception):
    """The body is signed and is no event."""


class Verifier:
    """Checks that a token was made with our key and secret, for this body, and holds now."""

    def __init__(self, key: str, secret: str) -> None:
        # The algorithm is fixed there: HS256.
        self._tokens = TokenVerifier(key, secret, leeway=LEEWAY)

    def check(self, token: str, body: bytes) -> None:
        """Raises `Unsigned`."""
        if not token:
            raise Unsigned("no token")
        try:
            claimed = self._tokens.verify(token).sha256
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise Unsigned(f"the token does not hold: {type(error).__name__}") from None
        if not isinstance(claimed, str) or not claimed:
            raise Unsigned("the token has no sha256")
        try:
            digest = base64.b64decode(claimed, validate=True)
        except (binascii.Error, ValueError):
            raise Unsigned("the token's sha256 is not base64") from None
        if not hmac.compare_digest(digest, hashlib.sha256(body).digest()):
            raise Unsigned("the token is for another body")


def read_event(body: bytes) -> WebhookEvent:
    """The event in a body. Raises `NoEvent`."""
    try:
        event = Parse(body.decode(), WebhookEvent(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, RecursionError) as error:
        raise NoEvent(type(error).__name__) from None
    if not event.event:
        raise NoEvent("it has no field `event`")
    return event


def event_id(event: WebhookEvent, body: bytes) -> str:
    """The event's id; the body's digest where there is none or it is no plain one."""
    plain = event.id.isascii() and event.id.isprintable() and 0 < len(event.id) <= 64
    return event.id if plain else hashlib.sha256(body).hexdigest()


class Receiver:
    def __init__(
        self,
        verifier: Verifier,
        store: Store,
        arrivals: Arrivals,
        watcher: Watcher,
        replacements: Replacements,
        metrics: Metrics,
        peers: Peers,
    ) -> None:
        self._verifier = verifier
        self._store = store
        self._arrivals = arrivals
        self._watcher = watcher
        self._replacements = replacements
        self._metrics = metrics
        self._peers = peers
        self._refusal_logged = float("-inf")
        self.draining = False

    async def receive(self, request: web.Request) -> web.Response:
        """`POST /livekit-webhook`."""
        token = request.headers.get("Authorization", "")
        try:
            # Without a token there is no reason to read what is sent.
            body = await _body(request) if token else b""
            self._verifier.check(token, body)
        except Unsigned as error:
            return self._refused(request, str(error))
        except web.HTTPRequestEntityTooLarge:
            return self._answer(413, "", "too_large", f"The body is larger than {MAX_BODY} bytes.")
        except TimeoutError:
            return self._answer(408, "", "too_slow", f"The body did not come within {BODY_WAITS_S:g} s.")
        try:
            event = read_event(body)
        except NoEvent as error:
            log.warning("webhook_malformed", reason=str(error), peer=self._peers.of(request))
            return self._answer(400, "", "malformed", "The body is no LiveKit event.")
        return await self._take(event, event_id(event, body))

    async def _take(self, event: WebhookEvent, id_: str) -> web.Response:
        if self.draining:
            return self._answer(503, event.event, "draining", "This process is about to end.")
        agent = agent_came(event)
        if agent is not None:
            self._replacements.joined(agent)
        if event.event in WAKING or agent is not None:
            self._watcher.wake()
            return self._answer(200, event.event, "used", "ok")
        call = arrived(event)
        if call is None:
            return self._answer(200, event.event, "ignored", "ok")
        return await self._take_call(event.event, id_, call)

    async def _take_call(self, name: str, id_: str, call: Call) -> web.Response:
        if self._arrivals.full:
            return self._answer(503, name, "busy", "Too many calls arrive at once.")
        arrived_at = time.monotonic()
        # The place is kept before the mark is set: a marked event is one that gets served.
        self._arrivals.promise()
        try:
            if not await self._store.first_sight(id_):
                return self._answer(200, name, "duplicate", "ok")
            self._arrivals.start(call, since=arrived_at)
        finally:
            self._arrivals.waive()
        return self._answer(200, name, "used", "ok")

    def _refused(self, request: web.Request, reason: str) -> web.Response:
        # A flood of forged requests must not become a flood of lines.
        if time.monotonic() - self._refusal_logged >= REFUSAL_LOGGED_EVERY_S:
            self._refusal_logged = time.monotonic()
            log.warning("webhook_refused", reason=reason, peer=self._peers.of(request))
        return self._answer(401, "", "unauthorized", "The request is not signed with this installation's key.")

    def _answer(self, status: int, event: str, outcome: str, text: str) -> web.Response:
        self._metrics.event(event, outcome)
        return web.Response(status=status, text=text + "\n")


async def _body(request: web.Request) -> bytes:
    async with asyncio.timeout(BODY_WAITS_S):
        return await request.read()


def arrived(event: WebhookEvent) -> Call | None:
    """The call that the event tells of, when a caller joined."""
    if event.event != "participant_joined":
        return None
    return call_of(event.participant, room=event.room.name, room_sid=event.room.sid)


def agent_came(event: WebhookEvent) -> Agent | None:
    """The agent that joined a room."""
    return agent_of(event.participant, event.room.name) if event.event == "participant_joined" else None
