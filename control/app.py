"""The composition root of control: its parts, and the app that serves them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

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
from control.conversations import chat_routes, code_routes, message_routes
from control.conversations.routes import calls_routes, internal_routes
from control.db.pool import Database, DatabaseAway
from control.db.start import away_at_start, migrated_database
from control.forgetting import routes as forgetting_routes
from control.forgetting.forgetting import Forgetting
from control.forgetting.ledger import Ledger
from control.jobs import routes as tasks
from control.jobs.engine import PostgresJobs
from control.jobs.job import Jobs
from control.limits import BodyLimit
from control.personas import agent_routes, files
from control.personas.published import Published, published_personas
from control.personas.routes import numbers_routes, personas_routes
from control.recorder import BLOCK_S, Recorder
from control.recordings import routes as recordings
from control.slash import TrailingSlash
from switchboard import stream
from switchboard.recording_store import RecordingStore
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

ROUTERS = (
    health.routes,
    calls_routes,
    chat_routes.routes,
    code_routes.routes,
    message_routes.routes,
    forgetting_routes.routes,
    personas_routes,
    numbers_routes,
    agent_routes.routes,
    blocklist.routes,
    sign_in_routes,
    sessions_routes,
    admin.users_routes,
    admin.invites_routes,
    keys.routes,
    admin.audit_routes,
    recordings.routes,
    recordings.call_routes,
    tasks.routes,
    internal_routes,
    blocklist.internal_routes,
)
# What FastAPI serves by itself: the description of the API holds nothing of the installation.
PUBLIC_PATHS = ("/openapi.json", "/docs")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work with; `since` is when control began, by the monotonic clock."""

    settings: Settings
    database: Database
    redis: Redis
    gatekeeper: Gatekeeper
    throttle: Throttle
    jobs: Jobs
    recordings: RecordingStore
    published: Published
    forgetting: Forgetting
    since: float


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Opens everything control needs and records facts while the body runs.

    Raises `SettingsError` when a setting is missing, the database stays unreachable or its data is unfit.
    """
    settings.need("DATABASE_URL", "INTERNAL_TOKEN")
    since = time.monotonic()
    store = RecordingStore.of(settings)
    # Longer than a blocking read, or each wait for facts would look like an outage.
    redis = stream.connect(settings.redis_url, timeout_s=BLOCK_S + 4)
    quick = stream.connect(settings.redis_url)
    try:
        async with migrated_database(settings) as database, published_personas(settings, database) as published:
            jobs = PostgresJobs(database, quick)
            forgetting = Forgetting(jobs, Ledger(settings.home))
            await _prepare(database, settings, forgetting)
            gatekeeper = Gatekeeper(database, settings.internal_token.get_secret_value())
            recording = asyncio.create_task(Recorder(redis, database, forgetting, jobs).run(), name="recording")
            try:
                throttle = Throttle(quick)
                yield Parts(
                    settings, database, quick, gatekeeper, throttle, jobs, store, published, forgetting, since
                )
            finally:
                recording.cancel()
                await asyncio.wait([recording], timeout=5)
    finally:
        await redis.aclose()
        await quick.aclose()


async def _prepare(database: Database, settings: Settings, forgetting: Forgetting) -> None:
    try:
        # Before anything is recorded: what a backup brought back must not be served and grow meanwhile.
        await forgetting.again(database)
        await files.load_once(database, files.bundled())
        await keys.ensure_first_key(database, settings.home)
    except DatabaseAway as error:
        raise away_at_start(error) from None


def create_app(parts: Parts) -> FastAPI:
    """The HTTP API over `parts`."""
    app = FastAPI(
        title="Switchboard control",
        version=health.own_version(),
        description="Calls, personas, numbers, users and keys of one Switchboard installation.",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.add_middleware(BodyLimit)
    app.add_middleware(TrailingSlash)
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
