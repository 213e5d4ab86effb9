"""How a job becomes a call: join the room, find the caller, leave rooms that nobody is in."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import structlog
from livekit import api, rtc
from livekit.agents import AutoSubscribe, JobContext
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent import election, nursery, ticket
from agent.call import API_TIMEOUT_S, Call
from agent.ending import Ending, Reason, of_disconnect
from agent.fence import Fence
from agent.lifeline import Hello, Lifeline
from agent.mouth import Mouth
from agent.parts import Parts
from agent.recall import Past
from agent.report import Report
from switchboard import media_stack, outbox, stream
from switchboard.call import REJOIN_S, Caller, caller_of
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

CALLER_TIMEOUT_S = 5.0
# The attempt of an agent whose job did not say which call it is for.
UNTOLD = 0
# The last of so many agents of a call does not leave it to another one; nor does one of so many attempts, of whom
# nobody may know how many came.
MOST_AGENTS = 3
MOST_ATTEMPTS = 20
BEAT_S = 1.0
_AGENT = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


async def answer(ctx: JobContext) -> None:
    """The entrypoint of a job."""
    settings = Settings.read()
    given = ticket.read(ctx.job.metadata)
    structlog.contextvars.bind_contextvars(room=ctx.job.room.name, job=ctx.job.id)
    ending = Ending(last=given.metadata is not None and given.metadata.attempt >= MOST_ATTEMPTS)
    with Fence().raised() as fence:
        line = Lifeline(os.environ.get(nursery.LIFELINE, ""), orphaned=fence.leave_soon)
        # A caller who comes as another hangs up finds a slot: the end of a call is short, but not nothing.
        ending.then(lambda reason: line.free() if reason.unheard else None)
        with line.held(_who(ctx, given)):
            try:
                await _serve(ctx, settings, given, ending, line)
            except BaseException:
                # Removed while it began, in favour of one of the same attempt, which would be lost with it.
                if ending.known is Reason.REPLACED:
                    line.over()
                raise
            if ending.known is None or not ending.known.needs_successor:
                line.over()


def _who(ctx: JobContext, given: ticket.Ticket, caller: Caller | None = None) -> Hello:
    metadata = given.metadata
    call_id = metadata.call_id if metadata else caller.call_id if caller else None
    attempt = metadata.attempt if metadata else UNTOLD
    return Hello(call_id=call_id, attempt=attempt, room=ctx.job.room.name, job=ctx.job.id)


async def _serve(ctx: JobContext, settings: Settings, given: ticket.Ticket, ending: Ending, line: Lifeline) -> None:
    ctx.room.on("disconnected", lambda reason: ending.because(of_disconnect(reason)))
    mouth = Mouth(on_failure=ending.failed)
    parts = Parts(settings, given, mouth, ending)
    try:
        await ctx.connect(
            auto_subscribe=AutoSubscribe.AUDIO_ONLY, single_peer_connection=media_stack.SINGLE_PEER_CONNECTION
        )
        caller = await _caller(ctx.room, given)
        if caller is None or not _same_room(given, await ctx.room.sid):
            log.warning("no_caller_for_job")
            await _leave_empty_room(ctx)
            return
        if given.metadata is None:
            # An agent that was not told its call says so itself, and gives way to any that was.
            line.serves(_who(ctx, given, caller))
            me = election.attributes(caller.call_id, UNTOLD, ctx.job.id)
            await ctx.room.local_participant.set_attributes(me)
        past = await parts.past
        ending.last = ending.last or past.agents >= MOST_AGENTS - 1
        async with _reporting(ctx, settings, given, caller, past) as report:
            await Call(ctx, parts, caller, past, report, mouth, ending).run()
    finally:
        await parts.aclose()
        await mouth.aclose()
        ctx.shutdown(ending.known or "left")


def _same_room(given: ticket.Ticket, sid: str) -> bool:
    return given.metadata is None or given.metadata.room_sid in ("", sid)


async def _caller(room: rtc.Room, given: ticket.Ticket) -> Caller | None:
    """The caller this job is for, waiting a little for one who reconnects just now."""
    joined = asyncio.Event()
    room.on("participant_connected", lambda *_: joined.set())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_caller_timeout_s(given)):
            while True:
                joined.clear()
                for participant in room.remote_participants.values():
                    found = _as_caller(room.name, participant)
                    if found and (given.metadata is None or given.metadata.call_id == found.call_id):
                        return found
                await joined.wait()
    return None


def _caller_timeout_s(given: ticket.Ticket) -> float:
    """A browser, which has no number, may reload just while its agent is replaced."""
    metadata = given.metadata
    reloads = metadata is not None and metadata.attempt > 1 and metadata.caller_number is None
    return REJOIN_S if reloads else CALLER_TIMEOUT_S


def _as_caller(room: str, participant: rtc.RemoteParticipant) -> Caller | None:
    return caller_of(
        room=room,
        identity=participant.identity,
        sip=participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_SIP,
        attributes=participant.attributes,
        # The webhook service has checked the token of a browser whose call it dispatched.
        may_change_itself=False,
    )


async def _leave_empty_room(ctx: JobContext) -> None:
    """Deletes a room in which only agents are: a dispatch to a room that was gone has made it."""
    people = [one for one in ctx.room.remote_participants.values() if one.kind != _AGENT]
    if people:
        return
    with contextlib.suppress(api.TwirpError, TimeoutError, OSError):
        async with asyncio.timeout(API_TIMEOUT_S):
            await ctx.api.room.delete_room(api.DeleteRoomRequest(room=ctx.room.name))


@contextlib.asynccontextmanager
async def _reporting(
    ctx: JobContext, settings: Settings, given: ticket.Ticket, caller: Caller, past: Past
) -> AsyncIterator[Report]:
    metadata = given.metadata
    attempt = metadata.attempt if metadata else UNTOLD
    # Whether the caller's token may be believed is known to the webhook service alone.
    conversation = metadata.conversation_id if metadata else str(caller.call_id)
    redis = stream.connect(settings.redis_url)
    path = outbox.folder(settings.home) / f"{caller.call_id}-{attempt}-{ctx.job.id}.jsonl"
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        box = await stack.enter_async_context(outbox.Outbox(path, redis).shipping())
        box.ahead(past.unshipped)
        beating = asyncio.create_task(_beat(redis, caller, attempt), name="call.beat")
        try:
            yield Report(box, conversation_id=conversation, call_id=caller.call_id, attempt=attempt, past=past)
        finally:
            beating.cancel()
            await asyncio.wait([beating])


async def _beat(redis: Redis, caller: Caller, attempt: int) -> None:
    """Shows that the agent lives: a key that expires 3 s after the last beat."""
    while True:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await redis.set(stream.beat_key(caller.call_id), attempt, ex=stream.BEAT_TTL_S)
        await asyncio.sleep(BEAT_S)
