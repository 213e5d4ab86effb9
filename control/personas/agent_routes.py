"""Each persona as an agent over HTTP, under its slug; which one it is, is seen with each request."""

from typing import Annotated

from fastapi import APIRouter, Request

from control.access import OPERATOR, VIEWER, Actor, GuardedRoute
from control.conversations.agent_router import RunRequest, Served, add_routes
from control.conversations.ownership import own_session
from control.conversations.session import DatabaseSession
from control.errors import documented
from control.fields import Slug

routes = APIRouter(
    prefix="/agents/{slug}",
    tags=["Agents"],
    route_class=GuardedRoute,
    responses=documented(400, 401, 403, 404, 413, 503),
)


async def _served(slug: Slug, request: Request) -> Served:
    published = request.app.state.parts.published
    return Served(await published.agent(slug), slug, f"/agents/{slug}", published.runs)


async def _session(body: RunRequest, request: Request, actor: Annotated[Actor, OPERATOR]) -> DatabaseSession:
    return await own_session(request.app.state.parts.database, actor.owner, body.session_id)


add_routes(routes, _served, _session, to_see=[VIEWER])
