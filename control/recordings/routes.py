"""Recordings over HTTP. Who hears them needs a permission of its own."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from control import places
from control.access import ADMIN, LISTENER, OPERATOR, VIEWER, Actor, GuardedRoute, audit
from control.errors import Conflict, NotFound, OutOfRange, Unavailable, documented
from control.fields import Text
from control.recordings import recordings
from control.recordings.deletion import erase_now_or_later, mark_deleted
from control.recordings.pausing import live, steer
from control.recordings.recordings import Filter, Recording, State
from control.recordings.sound import TYPE, NotThere, Sound, Span, asked
from switchboard.recording_store import StoreAway
from switchboard.recordings import microseconds

log = structlog.get_logger(__name__)

_COMMON = documented(400, 401, 403, 503)
routes = APIRouter(prefix="/recordings", tags=["Recordings"], route_class=GuardedRoute, responses=_COMMON)
call_routes = APIRouter(prefix="/calls", tags=["Recordings"], route_class=GuardedRoute, responses=_COMMON)

_SOUND: dict[str, Any] = {"content": {TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_AUDIO_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "All of it.", **_SOUND},
    206: {"description": "The range that was asked for.", **_SOUND},
    **documented(404, 416),
}


class RecordingOut(BaseModel):
    """A recording of a call. `started_at` is the call's beginning, which the offsets of its transcript count from.

    `duration_s` and `bytes` are of what is kept so far. `storing`: the call is over, and some is still on its way.
    `missing` says why there is not all of it.
    """

    recording_id: UUID
    call_id: UUID
    conversation_id: str
    state: State
    started_at: datetime
    duration_s: float
    bytes: int
    paused_by: list[str]
    missing: str | None
    expires_at: datetime
    deleted_at: datetime | None

    @classmethod
    def of(cls, recording: Recording) -> Self:
        values = asdict(recording)
        return cls(recording_id=values.pop("id"), **values)


class RecordingPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    recordings: list[RecordingOut]
    next: str | None


@routes.get("")
async def list_recordings(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    call_id: UUID | None = None,
    conversation_id: Annotated[Text | None, Query(max_length=128)] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RecordingPage:
    """Recordings, newest first."""
    parts = request.app.state.parts
    wanted = Filter(
        call_id=call_id, conversation_id=conversation_id, cursor=None if cursor is None else places.read(cursor)
    )
    async with parts.database.session() as connection:
        found = await recordings.listed(connection, wanted, parts.settings.recordings_days, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return RecordingPage(
        recordings=[RecordingOut.of(one) for one in found[:limit]],
        next=places.write(last.started_at, last.id) if last else None,
    )


@routes.get("/{recording_id}", responses=documented(404))
async def read_recording(recording_id: UUID, request: Request, _actor: Annotated[Actor, VIEWER]) -> RecordingOut:
    """What is known of a recording."""
    return RecordingOut.of(await _one(request, recording_id))


@routes.delete("/{recording_id}", status_code=204, responses=documented(404, 409))
async def delete_recording(recording_id: UUID, request: Request, actor: Annotated[Actor, ADMIN]) -> None:
    """Deletes the sound for good. That there was a recording stays on record."""
    parts = request.app.state.parts
    found = await _one(request, recording_id)
    if found.live:
        raise Conflict("The call is being recorded: it can be deleted when the call is over.")
    async with parts.database.transaction() as connection:
        gone = await mark_deleted(connection, "deleted", [found.call_id])
        if gone:
            await audit(connection, actor, "recording.deleted", str(recording_id), {"call_id": str(found.call_id)})
    await erase_now_or_later(parts.recordings, parts.settings.home, [recording_id])


@routes.head("/{recording_id}/audio", include_in_schema=False)
async def head_audio(recording_id: UUID, request: Request, _actor: Annotated[Actor, LISTENER]) -> Response:
    sound, _recording = await _sound(request, recording_id)
    return Response(headers={**_headers(sound), "Content-Length": str(sound.size)}, media_type=TYPE)


@routes.get("/{recording_id}/audio", response_class=Response, responses=_AUDIO_ANSWERS)
async def hear(recording_id: UUID, request: Request, actor: Annotated[Actor, LISTENER]) -> Response:
    """The sound as a WAV: 16 kHz, the caller left and the AI right, silent where nothing was recorded.

    Needs the permission to listen (`may_listen`). Takes `Range` and `If-Range`. Each listening is in the audit log.
    """
    parts = request.app.state.parts
    sound, recording = await _sound(request, recording_id)
    span = _span(request, sound)
    body = sound.read(parts.recordings, span or Span(0, sound.size))
    # The first of it is had before the answer begins: then it can still be an error.
    first = await _first(body)
    async with parts.database.transaction() as connection:
        await recordings.note_listening(connection, actor, recording)
    headers = {**_headers(sound), "Content-Length": str(span.length if span else sound.size)}
    if span:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{sound.size}"
    return StreamingResponse(_rest(first, body), status_code=206 if span else 200, headers=headers, media_type=TYPE)


@call_routes.post("/{call_id}/recording/pause", responses=documented(404, 409, 413))
async def pause(call_id: UUID, request: Request, actor: Annotated[Actor, OPERATOR]) -> RecordingOut:
    """Silence from now on in the recording of a call that runs. The answer comes when the agent has done it."""
    return await _steered(request, actor, call_id, paused=True)


@call_routes.post("/{call_id}/recording/resume", responses=documented(404, 409, 413))
async def resume(call_id: UUID, request: Request, actor: Annotated[Actor, OPERATOR]) -> RecordingOut:
    """Records again, whoever had paused it."""
    return await _steered(request, actor, call_id, paused=False)


async def _steered(request: Request, actor: Actor, call_id: UUID, *, paused: bool) -> RecordingOut:
    parts = request.app.state.parts
    days = parts.settings.recordings_days
    async with parts.database.transaction() as connection:
        # Looked for before it is written down that somebody wants it.
        await live(connection, call_id, days)
        await audit(connection, actor, "recording.pause" if paused else "recording.resume", str(call_id))
    return RecordingOut.of(await steer(parts.database, parts.redis, call_id, days, paused=paused))


async def _one(request: Request, recording_id: UUID) -> Recording:
    parts = request.app.state.parts
    async with parts.database.session() as connection:
        return await recordings.one(connection, recording_id, parts.settings.recordings_days)


async def _sound(request: Request, recording_id: UUID) -> tuple[Sound, Recording]:
    recording = await _one(request, recording_id)
    if recording.state == "deleted":
        raise NotFound("The recording was deleted.")
    try:
        pieces = await request.app.state.parts.recordings.pieces(recording_id)
    except StoreAway as error:
        raise _away(error) from None
    if not pieces:
        raise NotFound("There is no sound of this recording, or not yet.")
    return Sound(pieces, microseconds(recording.started_at)), recording


def _span(request: Request, sound: Sound) -> Span | None:
    condition = request.headers.get("If-Range")
    if condition is not None and condition != sound.etag:
        return None
    try:
        return asked(request.headers.get("Range"), sound.size)
    except NotThere:
        raise OutOfRange(sound.size) from None


def _headers(sound: Sound) -> dict[str, str]:
    return {"Accept-Ranges": "bytes", "ETag": sound.etag}


async def _first(body: AsyncIterator[bytes]) -> list[bytes]:
    """What comes up to the first sound."""
    found: list[bytes] = []
    try:
        async for some in body:
            found.append(some)
            if len(found) > 1:
                break
    except StoreAway as error:
        raise _away(error) from None
    return found


async def _rest(first: list[bytes], body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for some in first:
        yield some
    try:
        async for some in body:
            yield some
    except StoreAway as error:
        # Cut short, and the listener sees that: the length was said.
        log.warning("listening_cut", error=str(error))


def _away(error: StoreAway) -> Unavailable:
    log.warning("recordings_away", error=str(error))
    return Unavailable("What keeps recordings is away; try again in a moment.")
