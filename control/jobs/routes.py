"""Tasks over HTTP: what runs later, how far it is, and how to end it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from control import access, places
from control.access import OPERATOR, VIEWER, Actor, GuardedRoute
from control.errors import Conflict, NotFound, documented
from control.fields import Text
from control.jobs.job import QUERIES, State, Task
from control.jobs.progress import tell

routes = APIRouter(
    prefix="/tasks", tags=["Tasks"], route_class=GuardedRoute, responses=documented(400, 401, 403, 503)
)

_NONE = "There is no such task."


class TaskOut(BaseModel):
    """A task. `progress` goes from 0 to 1 and never back; `error` says why it failed, or why it is tried again."""

    task_id: UUID
    kind: str
    state: State
    progress: Annotated[float, Field(ge=0, le=1)]
    message: str
    owner: str | None
    attempts: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, task: Task) -> Self:
        return cls.model_validate({**asdict(task), "task_id": task.id})


class TaskDetail(TaskOut):
    """A task with what came of it."""

    result: dict[str, Any] | None


class TaskPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    tasks: list[TaskOut]
    next: str | None


@routes.get("")
async def list_tasks(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    state: State | None = None,
    kind: Annotated[Text | None, Query(max_length=100)] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TaskPage:
    """Tasks, newest first. Those that ended are kept for a week."""
    at, id = (None, None) if cursor is None else places.read(cursor)
    async with request.app.state.parts.database.session() as connection:
        rows = await connection.fetch(QUERIES["list_tasks"], state, kind, at, id, limit + 1)
    page = [TaskOut.of(Task.of(row)) for row in rows[:limit]]
    last = page[-1] if len(rows) > limit else None
    return TaskPage(tasks=page, next=places.write(last.created_at, last.task_id) if last else None)


@routes.get("/{task_id}", responses=documented(404))
async def read_task(task_id: UUID, request: Request, _actor: Annotated[Actor, VIEWER]) -> TaskDetail:
    """How far a task is, and what came of it."""
    task = await request.app.state.parts.jobs.status(task_id)
    if task is None:
        raise NotFound(_NONE)
    return TaskDetail.of(task)


@routes.post("/{task_id}/cancel", responses=documented(404, 409, 413))
async def cancel_task(task_id: UUID, request: Request, actor: Annotated[Actor, OPERATOR]) -> TaskOut:
    """Ends a task that has not ended: one that waits never runs, and what one that runs still does counts no more."""
    parts = request.app.state.parts
    before = await parts.jobs.status(task_id)
    if before is None:
        raise NotFound(_NONE)
    if before.state == "cancelled":
        return TaskOut.of(before)
    async with parts.database.transaction() as connection:
        task = await parts.jobs.cancel(connection, task_id)
        if task.state != "cancelled":
            raise Conflict(f"The task has ended already: it is {task.state}.")
        await access.audit(connection, actor, "task.cancelled", str(task_id), {"kind": task.kind})
    await tell(parts.redis, task)
    return TaskOut.of(task)
