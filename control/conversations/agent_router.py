"""An agent over HTTP: `create_agent_router` makes what a FastAPI program includes.

Every request of a session goes through the host's own dependency, which says whose session it is and who may.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from agents import Agent
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends as Dependency
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from control import errors
from control.conversations.runs import Runs
from control.conversations.session import ID, DatabaseSession
from control.db.pool import DatabaseAway
from control.errors import documented
from control.fields import Text

SESSIONS = "Each run reads the conversation's history and adds its turn to it, whole or not at all."

GetSession = Callable[..., Any]
GetServed = Callable[..., Any]
SessionId = Annotated[str, Field(pattern=f"^{ID}$", description="Letters, digits and `_-.:`.")]


class RunRequest(BaseModel):
    """What the agent is asked. Without `session_id` a new conversation begins."""

    model_config = ConfigDict(extra="forbid")

    input: Annotated[Text, Field(min_length=1, max_length=100_000)]
    session_id: SessionId | None = None


class RunAnswer(BaseModel):
    """The agent's final output: text, or what its output type says."""

    final_output: Any
    success: Literal[True] = True
    session_id: str


class Endpoints(BaseModel):
    run: str
    stream: str
    info: str


class SessionConfig(BaseModel):
    sessions_enabled: Literal[True] = True
    session_type: Literal["PostgreSQL"] = "PostgreSQL"
    description: str = SESSIONS


class AgentInfo(BaseModel):
    """The agent as it is now. Instructions that are made for each run are not shown."""

    name: str
    agent_name: str
    instructions: str | None
    model: str | None
    tools_count: int
    handoffs_count: int
    endpoints: Endpoints
    session_config: SessionConfig = SessionConfig()


@dataclass(frozen=True, slots=True)
class Served:
    """An agent as one request finds it: under which name and address, and among which runs."""

    agent: Agent[Any]
    agent_name: str
    prefix: str
    runs: Runs

    def info(self) -> AgentInfo:
        agent, model, prefix = self.agent, self.agent.model, self.prefix
        return AgentInfo(
            name=agent.name,
            agent_name=self.agent_name,
            instructions=agent.instructions if isinstance(agent.instructions, str) else None,
            model=model
            if isinstance(model, str) or model is None
            else str(getattr(model, "model", type(model).__name__)),
            tools_count=len(agent.tools),
            handoffs_count=len(agent.handoffs),
            endpoints=Endpoints(run=f"{prefix}/run", stream=f"{prefix}/stream", info=f"{prefix}/info"),
        )


def create_agent_router(agent: Agent[Any], prefix: str, agent_name: str, get_db_session: GetSession) -> APIRouter:
    """Routes `POST {prefix}/run`, `POST {prefix}/stream` and `GET {prefix}/info` of one agent.

    `get_db_session` is a FastAPI dependency that returns or yields the `DatabaseSession` of the request; to read the
    request's `session_id` it takes `body: RunRequest`. What it raises (401, 403, 404) is the answer.
    """
    runs = Runs()
    served = Served(agent, agent_name, prefix, runs)
    routes = APIRouter(prefix=prefix, tags=["Agents"], route_class=AgentRoute, lifespan=runs.lifespan)
    add_routes(routes, lambda: served, get_db_session)
    return routes


def add_routes(
    routes: APIRouter, get_served: GetServed, get_db_session: GetSession, *, to_see: Sequence[Dependency] = ()
) -> None:
    """Adds run, stream and info. `get_served` is a dependency that returns the agent of the request, and is asked
    before `get_db_session`; `to_see` is what info needs."""

    @routes.post("/run", responses=documented(400, 401, 403, 404, 409, 429, 502, 503))
    async def run(
        body: RunRequest,
        served: Annotated[Served, Depends(get_served)],
        session: Annotated[DatabaseSession, Depends(get_db_session)],
    ) -> RunAnswer:
        """The agent's answer, when it is whole."""
        output = await served.runs.answer(served.agent, served.agent_name, session, body.input)
        return RunAnswer(final_output=output, session_id=session.session_id)

    @routes.post("/stream", response_class=StreamingResponse, responses=streamed())
    async def stream(
        body: RunRequest,
        served: Annotated[Served, Depends(get_served)],
        session: Annotated[DatabaseSession, Depends(get_db_session)],
    ) -> StreamingResponse:
        """The agent's answer while it is made, as server-sent events."""
        return await served.runs.stream(served.agent, served.agent_name, session, body.input)

    @routes.get("/info", dependencies=to_see)
    async def info(served: Annotated[Served, Depends(get_served)]) -> AgentInfo:
        """What the agent is, for whoever may ask."""
        return served.info()


def streamed() -> dict[int | str, dict[str, Any]]:
    """The answers of a stream, as FastAPI's `responses` take them."""
    meaning = "`delta` {text}, `tool_call`, `tool_output`, `handoff` {agent}, `final` {final_output, session_id}, \
`error` {code, message}; the last one is `done`."
    event = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": ["delta", "tool_call", "tool_output", "handoff", "final", "error", "done"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    }
    ok = {"description": meaning, "content": {"text/event-stream": {"schema": event}}}
    return {200: ok, **documented(400, 401, 403, 404, 409, 429, 503)}


class AgentRoute(APIRoute):
    """Every error is `{"code", "message"}`, whatever the program around it makes of errors."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                return errors.answer(error.status_code, str(error.detail), error.headers)
            except RequestValidationError as error:
                return errors.answer(400, errors.sentence(error.errors()))
            except DatabaseAway:
                return errors.answer(503, errors.AWAY, {"Retry-After": "2"})
            except Exception as error:
                # The border of the host's program, whose own code runs in here.
                errors.log.error("agent_route_failed", path=request.url.path, exc_info=error)
                return errors.answer(500, errors.UNFORESEEN)

        return handler
