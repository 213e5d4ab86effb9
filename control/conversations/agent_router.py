"""An agent over HTTP: `create_agent_router` makes what a FastAPI program includes.

Every request of a session goes through the host's own dependency, which says whose session it is and who may.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Annotated, Any, Literal

from agents import Agent
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from control import errors
from control.conversations.run import Run
from control.conversations.session import ID, DatabaseSession
from control.conversations.turn import turn
from control.db.pool import DatabaseAway
from control.errors import TooMany, documented
from control.fields import Text

# Each holds a conversation and a stream of a model; more callers are told to come again.
MAX_RUNS = 64
# Events that wait for a slow reader; one who is further behind has gone away.
MAX_WAITING = 4_000
# Proxies close what says nothing for longer.
KEEP_ALIVE_S = 15.0
# More than the SDK and the database are given for the end of one run.
STOP_S = 10.0
SESSIONS = "Each run reads the conversation's history and adds its turn to it, whole or not at all."

GetSession = Callable[..., Any]
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


def create_agent_router(agent: Agent[Any], prefix: str, agent_name: str, get_db_session: GetSession) -> APIRouter:
    """Routes `POST {prefix}/run`, `POST {prefix}/stream` and `GET {prefix}/info` of one agent.

    `get_db_session` is a FastAPI dependency that returns or yields the `DatabaseSession` of the request; to read the
    request's `session_id` it takes `body: RunRequest`. What it raises (401, 403, 404) is the answer.
    """
    runs = Runs()
    routes = APIRouter(prefix=prefix, tags=["Agents"], route_class=AgentRoute, lifespan=runs.lifespan)

    @routes.post("/run", responses=documented(400, 401, 403, 404, 409, 429, 502, 503))
    async def run(body: RunRequest, session: Annotated[DatabaseSession, Depends(get_db_session)]) -> RunAnswer:
        """The agent's answer, when it is whole."""
        return await runs.answer(agent, agent_name, session, body.input)

    @routes.post("/stream", response_class=StreamingResponse, responses=streamed())
    async def stream(
        body: RunRequest, session: Annotated[DatabaseSession, Depends(get_db_session)]
    ) -> StreamingResponse:
        """The agent's answer while it is made, as server-sent events."""
        return await runs.stream(agent, agent_name, session, body.input)

    @routes.get("/info")
    async def info() -> AgentInfo:
        """What the agent is, for whoever asks."""
        return described(agent, agent_name, prefix)

    return routes


def described(agent: Agent[Any], agent_name: str, prefix: str) -> AgentInfo:
    model = agent.model
    return AgentInfo(
        name=agent.name,
        agent_name=agent_name,
        instructions=agent.instructions if isinstance(agent.instructions, str) else None,
        model=model
        if isinstance(model, str) or model is None
        else str(getattr(model, "model", type(model).__name__)),
        tools_count=len(agent.tools),
        handoffs_count=len(agent.handoffs),
        endpoints=Endpoints(run=f"{prefix}/run", stream=f"{prefix}/stream", info=f"{prefix}/info"),
    )


def streamed() -> dict[int | str, dict[str, Any]]:
    """The answers of a stream, as FastAPI's `responses` take them."""
    events = "`delta` {text}, `tool_call`, `tool_output`, `handoff` {agent}, `final` {final_output, session_id}, \
`error` {code, message}; the last one is `done`."
    ok = {"description": events, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
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


class Runs:
    """The runs under way of one router; streams have a task of their own until they have ended."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Ends what still runs when the program does; what was produced is kept."""
        try:
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        for task in self._tasks:
            _cancel(task)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)

    async def answer(self, agent: Agent[Any], name: str, session: DatabaseSession, words: str) -> RunAnswer:
        with self._counted():
            async with turn(session) as begun:
                output = await Run(agent, name, begun, words).answer()
        return RunAnswer(final_output=output, session_id=session.session_id)

    async def stream(self, agent: Agent[Any], name: str, session: DatabaseSession, words: str) -> StreamingResponse:
        """Begins the run; errors of the beginning are raised, later ones are events."""
        events: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last: list[bytes | None] = [_event("done", {}), None]

        async def work() -> None:
            try:
                with self._counted():
                    async with turn(session) as own:
                        begun.set_result(None)
                        await _tell(Run(agent, name, own, words), events)
            except asyncio.CancelledError:
                begun.cancel()
                with contextlib.suppress(asyncio.QueueFull):
                    events.put_nowait(None)
                raise
            except Exception as error:  # the border of the task: who asked is told
                if not begun.done():
                    begun.set_exception(error)
                    return
                last.insert(0, _event("error", _fault(error)))
            # Nobody may be left to take them.
            with contextlib.suppress(asyncio.QueueFull):
                for event in last:
                    events.put_nowait(event)

        task = asyncio.create_task(work(), name="agent.stream")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(begun)
        except asyncio.CancelledError:
            task.cancel()
            raise
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_heard(events, task), media_type="text/event-stream", headers=headers)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._count >= MAX_RUNS:
            raise TooMany("Too many runs are under way; try again in a moment.", 2)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


async def _tell(run: Run, events: "asyncio.Queue[bytes | None]") -> None:
    async with contextlib.aclosing(run.events()) as stream:
        async for one in stream:
            more = {"session_id": run.turn.session_id, "success": True} if one.kind == "final" else {}
            try:
                events.put_nowait(_event(one.kind, {**one.data, **more}))
            except asyncio.QueueFull:
                # Leaving the stream ends the run, as when the client goes.
                return


async def _heard(events: "asyncio.Queue[bytes | None]", task: "asyncio.Task[None]") -> AsyncIterator[bytes]:
    """The events for as long as somebody listens; who goes away ends the run."""
    try:
        while not (task.done() and events.empty()):
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    event = await events.get()
            except TimeoutError:
                event = b": still here\n\n"
            if event is None:
                return
            yield event
    finally:
        # Not waited for: what keeps the turn is the task's own, and its owner is the set it is in.
        _cancel(task)


def _cancel(task: "asyncio.Task[None]") -> None:
    """Once: a second time would end what the first one makes it keep."""
    if not task.done() and not task.cancelling():
        task.cancel()


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _fault(error: Exception) -> dict[str, str]:
    errors.log.warning("stream_failed", error=f"{type(error).__name__}: {error}"[:300])
    if isinstance(error, DatabaseAway):
        return {"code": "unavailable", "message": errors.AWAY}
    if isinstance(error, errors.ApiError):
        return {"code": error.code, "message": str(error.detail)}
    return {"code": "internal", "message": errors.UNFORESEEN}
