"""The service put together: what it holds, in which order it starts and ends."""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources
from urllib.parse import urlsplit
from uuid import UUID

import structlog
import yaml
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from switchboard import stream
from switchboard.outbound import Allowed, Outbound
from switchboard.settings import Settings, SettingsError
from switchboard.shipper import CannotShip, Shipper
from webhook.arrivals import Arrivals
from webhook.attempts import Attempts
from webhook.blocklist import Blocklist
from webhook.busy import Busy
from webhook.dispatch import Dispatcher
from webhook.health import Health
from webhook.internal import Internal
from webhook.journal import Journal
from webhook.metrics import Metrics
from webhook.patrol import Patrol
from webhook.peers import Peers
from webhook.personas import Answer, Failed, PersonaApi, Personas, read_answer
from webhook.receiver import MAX_BODY, Receiver, Verifier
from webhook.refusal import Refusals
from webhook.remains import Remains, call_in
from webhook.replace import Replacements
from webhook.rooms import LiveKitAway, Rooms
from webhook.roster import Roster
from webhook.scene import Scenes
from webhook.store import Store
from webhook.watch import Watcher

log = structlog.get_logger(__name__)

DRAIN_S = 10.0
RECORDED_WAITS_S = 2.0


class Service:
    """Everything that lives as long as the process, between `open` and its end."""

    receiver: Receiver
    internal: Internal
    health: Health

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError`."""
        settings.need("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
        self._settings = settings
        self._peers = Peers(settings.trusted_proxies)
        self._persona_api = persona_api_of(settings)
        self._default = default_persona()
        self.metrics = Metrics()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Service"]:
        settings, metrics = self._settings, self.metrics
        async with AsyncExitStack() as stack:
            redis = stream.connect(settings.redis_url)
            stack.push_async_callback(redis.aclose)
            rooms = await stack.enter_async_context(Rooms.opened(settings))
            outbound = await stack.enter_async_context(Outbound.opened(allowed_of(settings)))
            journal = await stack.enter_async_context(Journal(settings.home, redis).open())
            store = Store(redis)
            api = self._persona_api
            personas = Personas(api, outbound, store, self._default, metrics)
            stack.push_async_callback(personas.close)
            attempts = Attempts()
            agent, home = settings.agent_to_dispatch, settings.home
            dispatcher = Dispatcher(rooms, store, personas, journal, metrics, attempts, agent=agent, home=home)
            roster = Roster(store)
            token = settings.internal_token.get_secret_value()
            blocklist = Blocklist(store, outbound, settings.control_url, token)
            refusals = Refusals(rooms, journal, roster, metrics)
            self._arrivals = Arrivals(dispatcher, blocklist, refusals, journal, roster, metrics)
            scenes = Scenes(rooms, roster, attempts)
            replacements = Replacements(rooms, scenes, self._arrivals, attempts, journal)
            stack.push_async_callback(replacements.close)
            busy = Busy(scenes, store, self._arrivals, attempts, refusals)
            stack.push_async_callback(busy.close)
            shipper = Shipper(
                home, redis, outbound, settings.control_url, token, lambda path: call_in(path) in roster.calls
            )
            watcher = Watcher(
                rooms,
                store,
                roster,
                self._arrivals,
                replacements,
                attempts,
                journal,
                metrics,
                lambda ids: _recorded(shipper, ids),
            )
            patrol = Patrol(watcher, roster, store, Remains(home), replacements)
            verifier = Verifier(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
            self.receiver = Receiver(verifier, store, self._arrivals, watcher, replacements, metrics, self._peers)
            self.internal = Internal(token, watcher, replacements, busy, metrics)
            self.health = Health(
                livekit=lambda: _livekit(rooms),
                redis=lambda: _redis(store),
                persona_api=lambda: _persona_api(api, outbound),
            )
            stack.push_async_callback(store.stop_acting)
            await blocklist.begin()
            await stack.enter_async_context(_running(watcher.run(), patrol.run(), shipper.run(), blocklist.run()))
            yield self

    async def drain(self) -> None:
        """Takes no more events, and waits 10 s at most for the calls under way."""
        self.receiver.draining = self.internal.draining = self.health.draining = True
        await self._arrivals.drain(DRAIN_S)


SERVICE = web.AppKey("service", Service)


def make_app(settings: Settings) -> web.Application:
    """The service as an application. Raises `SettingsError`."""
    service = Service(settings)
    app = web.Application(client_max_size=MAX_BODY)
    app[SERVICE] = service

    async def opened(_app: web.Application) -> AsyncIterator[None]:
        async with service.open():
            yield

    app.cleanup_ctx.append(opened)
    app.router.add_post("/livekit-webhook", lambda request: service.receiver.receive(request))
    for path in Internal.paths():
        app.router.add_post(path, lambda request: service.internal.receive(request))
    app.router.add_get("/health", lambda request: service.health.answer(request))
    app.router.add_get("/metrics", lambda _request: _metrics(service.metrics))
    return app


def default_persona() -> Answer:
    """The persona of `prompts/personas/default.yaml`. Raises `SettingsError`."""
    file = resources.files("prompts") / "personas" / "default.yaml"
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
        return read_answer(json.dumps(given).encode())
    except (OSError, yaml.YAMLError, TypeError, ValueError, Failed) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(f"prompts/personas/default.yaml cannot be read ({reason}): mend or restore it.") from None


def persona_api_of(settings: Settings) -> PersonaApi:
    """The Persona API of the settings; control's own, with the internal token, when none is set.

    Raises `SettingsError` for plain HTTP to a host that is neither on loopback nor allowed.
    """
    if settings.persona_api_base:
        _check_api(settings)
        return PersonaApi(settings.persona_api_base, settings.persona_api_token.get_secret_value())
    return PersonaApi(f"{settings.control_url}/personas/by-number", settings.internal_token.get_secret_value())


def _check_api(settings: Settings) -> None:
    parts = urlsplit(settings.persona_api_base)
    host = parts.hostname or ""
    if parts.query or parts.fragment:
        raise SettingsError("PERSONA_API_BASE must end before any ? or #: the dialed number is put at its end.")
    allowed = Allowed.of(settings.outbound_allowed)
    if parts.scheme == "https" or _is_loopback(host) or _is_named(allowed, host, parts.port or 80):
        return
    raise SettingsError(
        f"PERSONA_API_BASE must start with https://, or name {host} in SWITCHBOARD_OUTBOUND_ALLOWED for plain HTTP."
    )


def allowed_of(settings: Settings) -> list[str]:
    """What may be called besides public addresses: what is allowed, control, and a Persona API on loopback."""
    own = [settings.control_url]
    if settings.persona_api_base and _is_loopback(urlsplit(settings.persona_api_base).hostname or ""):
        own.append(settings.persona_api_base)
    return [*settings.outbound_allowed, *map(_host_and_port, own)]


def _is_named(allowed: Allowed, host: str, port: int) -> bool:
    try:
        return allowed.host(host, port) or allowed.address(ipaddress.ip_address(host))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_and_port(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    # `::1:8081` would read as another address.
    return host if ":" in host else f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


async def _metrics(metrics: Metrics) -> web.Response:
    return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _livekit(rooms: Rooms) -> str:
    try:
        await rooms.answers()
    except LiveKitAway as error:
        return str(error)
    return "ok"


async def _redis(store: Store) -> str:
    return "ok" if await store.ping() else "away"


async def _persona_api(api: PersonaApi, outbound: Outbound) -> str:
    try:
        await api.reach(outbound)
    except Failed as error:
        return str(error)
    return "ok"


async def _recorded(shipper: Shipper, ids: Collection[UUID]) -> Collection[UUID]:
    """Those that are on record, or in a file that an agent has left: it knows more of the end of its call than we."""
    waiting: set[UUID] = set()
    try:
        async with asyncio.timeout(RECORDED_WAITS_S):
            waiting = await shipper.waiting(ids)
            return waiting | (set(ids) - await shipper.unrecorded(ids))
    except (CannotShip, TimeoutError, OSError):
        # Told twice is one fact all the same.
        return waiting


@asynccontextmanager
async def _running(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work, name=work.__qualname__) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=2)
