"""The composition root of control: its parts, and the app that serves them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from redis.asyncio import Redis

from control import errors, health
from control.access import admin, keys
from control.access.gatekeeper import Gatekeeper
from control.access.routes import sessions_routes, sign_in_routes
from control.access.throttle import Throttle
from control.blocklist import routes as blocklist
from control.conversations.routes import calls_routes, internal_routes
from control.db.migrate import MigrationError, migrate
from control.db.pool import Database, DatabaseAway, open_database
from control.limits import BodyLimit
from control.personas import files
from control.personas.routes import numbers_routes, personas_routes
from control.recorder import BLOCK_S, Recorder
from switchboard import stream
from switchboard.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

ROUTERS = (
    health.routes,
    calls_routes,
    personas_routes,
    numbers_routes,
    blocklist.routes,
    sign_in_routes,
    sessions_routes,
    admin.users_routes,
    admin.invites_routes,
    keys.routes,
    admin.audit_routes,
    internal_routes,
    blocklist.internal_routes,
)
# What FastAPI serves by itself: the description of the API holds nothing of the installation.
PUBLIC_PATHS = ("/openapi.json", "/docs")
DATABASE_WAIT_S = 10.0
DATABASE_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work with; `since` is when control began, by the monotonic clock."""

    settings: Settings
    database: Database
    redis: Redis
    gatekeeper: Gatekeeper
    throttle: Throttle
    since: float


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Opens everything control needs and records facts while the body runs.

    Raises `SettingsError` when a setting is missing, the database stays unreachable or its data is unfit.
    """
    settings.need("DATABASE_URL", "INTERNAL_TOKEN")
    since = time.monotonic()
    # Longer than a blocking read, or each wait for facts would look like an outage.
    redis = stream.connect(settings.redis_url, timeout_s=BLOCK_S + 4)
    quick = stream.connect(settings.redis_url)
    try:
        async with _database(settings) as database:
            await _prepare(database, settings)
            gatekeeper = Gatekeeper(database, settings.internal_token.get_secret_value())
            recording = asyncio.create_task(Recorder(redis, database).run(), name="recording")
            try:
                yield Parts(settings, database, quick, gatekeeper, Throttle(quick), since)
            finally:
                recording.cancel()
                await asyncio.wait([recording], timeout=5)
    finally:
        await redis.aclose()
        await quick.aclose()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    async with AsyncExitStack() as stack:
        yield await _opened(stack, settings)


async def _opened(stack: AsyncExitStack, settings: Settings) -> Database:
    """Postgres often starts beside us, so that a refused connection is tried again for a while."""
    give_up = time.monotonic() + DATABASE_WAIT_S
    while True:
        try:
            return await stack.enter_async_context(open_database(settings.database_url, echo=settings.database_echo))
        except DatabaseAway as error:
            if time.monotonic() > give_up:
                raise SettingsError(
                    f"DATABASE_URL: Postgres at {_place(settings.database_url)} cannot be reached "
                    f"({type(error.__cause__).__name__}): start it, or mend the address."
                ) from None
        except (asyncpg.PostgresError, ValueError) as error:  # type: ignore[attr-defined]
            raise SettingsError(
                f"DATABASE_URL: Postgres at {_place(settings.database_url)} refuses us ({error}): mend the address."
            ) from None
        await asyncio.sleep(DATABASE_PAUSE_S)


def _place(url: str) -> str:
    """Host or socket folder and database, without user and password."""
    parts = urlsplit(url)
    return f"{parse_qs(parts.query).get('host', [parts.hostname])[0]}{parts.path}"


async def _prepare(database: Database, settings: Settings) -> None:
    try:
        async with database.session() as connection:
            await migrate(connection)
        await files.load_once(database, files.bundled())
        await keys.ensure_first_key(database, settings.home)
    except MigrationError as error:
        raise SettingsError(str(error)) from None
    except DatabaseAway as error:
        raise SettingsError(f"DATABASE_URL: Postgres went away while control started ({error}).") from None


def create_app(parts: Parts) -> FastAPI:
    """The HTTP API over `parts`."""
    app = FastAPI(
        title="Switchboard control",
        version=health.own_version(),
        description="Calls, personas, numbers, users and keys of one Switchboard installation.",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=False,
    )
    app.state.parts = parts
    app.add_middleware(BodyLimit)
    errors.install(app)
    for routes in ROUTERS:
        app.include_router(routes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the API; what FastAPI adds of 422 goes, as bad input is a 400 here."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            schema.get("components", {}).get("schemas", {}).pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
