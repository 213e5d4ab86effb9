"""Whether control works, for people, probes and Prometheus."""

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis.exceptions import RedisError

from control.access import PUBLIC, GuardedRoute
from control.db.pool import DatabaseAway
from control.jobs.engine import STALLED_S
from control.jobs.job import QUERIES

CHECK_S = 1.0

routes = APIRouter(tags=["Health"], route_class=GuardedRoute, dependencies=[PUBLIC])
Part = Literal["ok", "away"]


class Health(BaseModel):
    """`degraded` names the parts that are away. `jobs`: a job worker; calls and this service do without one."""

    status: Literal["ok", "degraded"]
    postgres: Part
    redis: Part
    jobs: Part
    degraded: list[str]
    version: str
    uptime_s: float


def own_version() -> str:
    try:
        return version("switchboard")
    except PackageNotFoundError:
        return "0"


@routes.get("/health", responses={503: {"model": Health, "description": "A part is away; `degraded` names it."}})
async def health(request: Request, response: Response) -> Health:
    """200 when everything works, 503 with the parts that are away."""
    parts = request.app.state.parts
    (postgres, jobs), redis = await asyncio.gather(_postgres(request), _redis(request))
    degraded = [name for name, state in (("postgres", postgres), ("redis", redis)) if state == "away"]
    if degraded:
        response.status_code = 503
    return Health(
        status="degraded" if degraded else "ok",
        postgres=postgres,
        redis=redis,
        jobs=jobs,
        degraded=degraded,
        version=own_version(),
        uptime_s=round(time.monotonic() - parts.since, 1),
    )


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _postgres(request: Request) -> tuple[Part, Part]:
    """The database, and whether it says that a job worker works."""
    try:
        async with asyncio.timeout(CHECK_S), request.app.state.parts.database.session() as connection:
            worked = await connection.fetchval(QUERIES["worked"], STALLED_S)
    except (DatabaseAway, TimeoutError):
        return "away", "away"
    return "ok", "ok" if worked else "away"


async def _redis(request: Request) -> Part:
    try:
        async with asyncio.timeout(CHECK_S):
            await request.app.state.parts.redis.ping()
    except (RedisError, OSError, TimeoutError):
        return "away"
    return "ok"
