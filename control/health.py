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

CHECK_S = 1.0

routes = APIRouter(tags=["Health"], route_class=GuardedRoute, dependencies=[PUBLIC])
Part = Literal["ok", "away"]


class Health(BaseModel):
    """`degraded` names the parts that are away."""

    status: Literal["ok", "degraded"]
    postgres: Part
    redis: Part
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
    postgres, redis = await asyncio.gather(_postgres(request), _redis(request))
    degraded = [name for name, state in (("postgres", postgres), ("redis", redis)) if state == "away"]
    if degraded:
        response.status_code = 503
    return Health(
        status="degraded" if degraded else "ok",
        postgres=postgres,
        redis=redis,
        degraded=degraded,
        version=own_version(),
        uptime_s=round(time.monotonic() - parts.since, 1),
    )


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _postgres(request: Request) -> Part:
    try:
        async with asyncio.timeout(CHECK_S), request.app.state.parts.database.session() as connection:
            await connection.execute("SELECT 1")
    except (DatabaseAway, TimeoutError):
        return "away"
    return "ok"


async def _redis(request: Request) -> Part:
    try:
        async with asyncio.timeout(CHECK_S):
            await request.app.state.parts.redis.ping()
    except (RedisError, OSError, TimeoutError):
        return "away"
    return "ok"
