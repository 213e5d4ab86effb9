"""One call's life: join, agree who stays, greet when the line is open, converse, end once with a reason."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog
from livekit import api, rtc
from livekit.agents import AgentSession, AutoSubscribe, JobContext, TurnHandlingOptions, room_io
from livekit.agents.voice import CloseEvent, ErrorEvent, SessionUsageUpdatedEvent, SpeechHandle
from livekit.agents.voice.events import CloseReason
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent import election, ticket
from agent.facts import FactIndex
from agent.hearing import SAMPLE_RATE, Hearing
from agent.hours import is_open
from agent.line import Line
from agent.models import ModelsFailed, Recogniser, Synthesiser, endpoints, thinker
from agent.mouth import Hold, Mouth
from agent.patience import Patience
from agent.prompt import cleaned, filled, instructions, quoted
from agent.report import Report
from agent.voice import APOLOGY, Voice
from switchboard import fact, outbox, stream
from switchboard.call import Caller, caller_of
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

CALLER_TIMEOUT_S = 5.0
API_TIMEOUT_S = 3.0
BEAT_S = 1.0
# What the caller still hears of us after the last frame has left: jitter buffer and transport.
LAST_WORDS_S = 0.4
GOODBYE_TIMEOUT_S = 20.0
FRAME_MS = 10
# Reasons after which the agent says goodbye; for all others nobody is there to hear it.
POLITE = frozenset({"agent_ended", "silence", "max_length"})
# Reasons that end this agent's part but not the call.
GIVEN_WAY = frozenset({"replaced"})


async def answer(ctx: JobContext) -> None:
    """The entrypoint of a job."""
    settings = Settings.read()
    given = ticket.read(ctx.job.metadata)
    structlog.contextvars.bind_contextvars(room=ctx.job.room.name, job=ctx.job.id)
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    ctx.room.on("disconnected", lambda *_: _end(ended, "room_closed"))
    mouth = Mouth()
    parts = _Parts(settings, given, mouth, ended)
    warming = asyncio.create_task(parts.prepare(), name="call.prepare")
    try:
        await ctx.connect(auto_subscribe=AutoSubscribe.AUDIO_ONLY)
        caller = await _caller(ctx.room, given)
        if caller is None or not _same_room(given, await ctx.room.sid):
            log.warning("no_caller_for_job")
            await _leave_empty_room(ctx)
            return
        await warming
        async with _reporting(ctx, settings, given, caller) as report:
            await Call(ctx, parts, caller, report, mouth, ended).run()
    finally:
        warming.cancel()
        await asyncio.wait([warming, parts.index])
        await mouth.aclose()
        ctx.shutdown(ended.result() if ended.done() else "left")


def _end(ended: "asyncio.Future[str]", reason: str) -> None:
    # The first reason is the reason.
    if not ended.done():
        ended.set_result(reason)


def _same_room(given: ticket.Ticket, sid: str) -> bool:
    return given.metadata is None or given.metadata.room_sid in ("", sid)


async def _caller(room: rtc.Room, given: ticket.Ticket) -> Caller | None:
    """The caller this job is for, waiting a little for one who reconnects just now."""
    joined = asyncio.Event()
    room.on("participant_connected", lambda *_: joined.set())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CALLER_TIMEOUT_S):
            while True:
                joined.clear()
                for participant in room.remote_participants.values():
                    found = _as_caller(room.name, participant)
                    if found and (given.metadata is None or given.metadata.call_id == found.call_id):
                        return found
                await joined.wait()
    return None


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


_AGENT = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


@contextlib.asynccontextmanager
async def _reporting(
    ctx: JobContext, settings: Settings, given: ticket.Ticket, caller: Caller
) -> AsyncIterator[Report]:
    metadata = given.metadata
    attempt = metadata.attempt if metadata else 1
    conversation = metadata.conversation_id if metadata else caller.conversation_id
    redis = stream.connect(settings.redis_url)
    path = outbox.folder(settings.home) / f"{caller.call_id}-{attempt}-{ctx.job.id}.jsonl"
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        box = await stack.enter_async_context(outbox.Outbox(path, redis).shipping())
        beating = asyncio.create_task(_beat(redis, caller, attempt), name="call.beat")
        try:
            yield Report(box, conversation_id=conversation, call_id=caller.call_id, attempt=attempt)
        finally:
            beating.cancel()
            await asyncio.wait([beating])


async def _beat(redis: Redis, caller: Caller, attempt: int) -> None:
    """Shows that the agent lives: a key that expires 3 s after the last beat."""
    while True:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await redis.set(stream.beat_key(caller.call_id), attempt, ex=stream.BEAT_TTL_S)
        await asyncio.sleep(BEAT_S)


class _Parts:
    """What a call is made of and needs no caller for: made while the room is being joined."""

    def __init__(self, settings: Settings, given: ticket.Ticket, mouth: Mouth, ended: "asyncio.Future[str]") -> None:
        self.settings = settings
        self.ticket = given
        self.ended = ended
        persona = given.persona
        self.persona = persona
        self.facts: list[fact.Body] = [*given.rejected]
        self.report: Report | None = None
        self.recogniser = Recogniser(endpoints(settings, "stt"), persona.language)
        self.hearing = Hearing(self.recogniser.words, mouth, self.tell)
        # In a thread: it takes 0.1 s of computing, in which the room can be joined.
        self.index = asyncio.create_task(asyncio.to_thread(FactIndex, persona.facts), name="call.index")
        synthesiser = Synthesiser(endpoints(settings, "tts"), persona, settings.tts_voice)
        self.voice = Voice(
            persona,
            instructions=instructions(persona, datetime.now(UTC), settings.emergency_sentence),
            index=self.index,
            hearing=self.hearing,
            synthesiser=synthesiser,
            tell=self.tell,
            on_end=lambda reason: _end(ended, reason),
        )
        self.session: AgentSession[None] = AgentSession(
            stt=self.recogniser.models[0],
            llm=thinker(endpoints(settings, "llm"), persona),
            tts=synthesiser.models[0],
            vad=None,
            turn_handling=_turn_handling(),
            aec_warmup_duration=None,
            user_away_timeout=None,
        )
        self.welcome: list[rtc.AudioFrame] = []

    @property
    def welcome_text(self) -> str:
        now = datetime.now(ZoneInfo(self.persona.timezone))
        closed = self.persona.closed_message and not is_open(self.persona, now)
        return filled(self.persona.closed_message if closed else self.persona.welcome_message, self.persona)

    async def prepare(self) -> None:
        """Has the first words ready before the line is open, and an apology in case the voice fails later."""
        try:
            self.welcome = await self.voice.synthesised(self.welcome_text)
        except ModelsFailed:
            self.tell(fact.ModelFailed(part="tts", reason="no voice for the welcome", recovered=False))

    def tell(self, body: fact.Body) -> None:
        """Reports a fact, or keeps it until there is a report."""
        if self.report is None:
            self.facts.append(body)
        else:
            self.report.add(body)

    def report_to(self, report: Report) -> None:
        self.report = report
        for body in self.facts:
            report.add(body)
        self.facts.clear()


def _turn_handling() -> TurnHandlingOptions:
    return {
        # Hearing says when a turn begins and ends, and holds the mouth itself.
        "turn_detection": "stt",
        "endpointing": {"mode": "fixed", "min_delay": 0.0, "max_delay": 0.0},
        "interruption": {
            "enabled": True,
            "mode": "vad",
            "min_duration": 0.0,
            "min_words": 0,
            "resume_false_interruption": False,
            "false_interruption_timeout": None,
        },
        "preemptive_generation": {
            "enabled": True,
            "preemptive_tts": True,
            "max_speech_duration": 60.0,
            "max_retries": 8,
        },
    }


class Call:
    """The call from the moment that agent and caller are in one room."""

    def __init__(
        self,
        ctx: JobContext,
        parts: _Parts,
        caller: Caller,
        report: Report,
        mouth: Mouth,
        ended: "asyncio.Future[str]",
    ) -> None:
        self._ctx = ctx
        self._parts = parts
        self._caller = caller
        self._report = report
        self._mouth = mouth
        self._ended = ended
        self._session = parts.session
        self._began = time.monotonic()
        self._usage: dict[str, dict[str, float]] = {}
        self._line = Line(
            ctx.room, caller, mouth, tell=parts.tell, on_keys=self._keys_pressed, on_gone=lambda why: _end(ended, why)
        )
        self._patience = Patience(
            parts.persona,
            parts.hearing,
            mouth,
            self._line,
            busy=lambda: self._session.agent_state == "thinking" or self._session.user_state == "speaking",
            say=self._prompt,
            tell=parts.tell,
            on_end=lambda reason: _end(ended, reason),
        )
        self._removing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until the call or this agent's part in it has ended; every end is reported."""
        self._parts.report_to(self._report)
        self._report.add(fact.AgentJoined(attempt=self._report.attempt, job=self._ctx.job.id))
        self._ctx.room.on("participant_connected", lambda *_: self._elect())
        self._elect()
        try:
            if not self._ended.done():
                await self._converse()
        finally:
            self._line.detach()
            reason = self._ended.result() if self._ended.done() else "failed"
            await self._session.aclose()
            await self._close(reason)

    def _elect(self) -> None:
        me = election.Candidate(self._ctx.room.local_participant.identity, self._report.attempt, self._ctx.job.id)
        others = election.candidates(self._ctx.room.remote_participants.values(), self._caller.call_id)
        losers = election.losers(me, others)
        if losers is None:
            _end(self._ended, "replaced")
            return
        for loser in losers:
            task = asyncio.create_task(self._remove(loser.identity), name="call.remove")
            self._removing.add(task)
            task.add_done_callback(self._removing.discard)

    async def _remove(self, identity: str) -> None:
        request = api.RoomParticipantIdentity(room=self._ctx.room.name, identity=identity)
        with contextlib.suppress(api.TwirpError, TimeoutError, OSError):
            async with asyncio.timeout(API_TIMEOUT_S):
                await self._ctx.api.room.remove_participant(request)

    async def _converse(self) -> None:
        self._watch_session()
        self._line.attach()
        self._session.output.audio = self._mouth
        await asyncio.gather(
            self._mouth.publish(self._ctx.room),
            self._session.start(
                self._parts.voice,
                room=self._ctx.room,
                room_options=self._room_options(),
                session_host=False,
                record=False,
            ),
        )
        self._report.add(
            fact.PersonaApplied(
                name=self._parts.persona.persona_name,
                source=self._parts.ticket.source,
                version=self._parts.ticket.version,
            )
        )
        log.info("persona_applied", name=self._parts.persona.persona_name, source=self._parts.ticket.source)
        self._greet()
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(self._open_line(), name="call.open"),
                tasks.create_task(self._line.watch_hold(), name="call.hold"),
                tasks.create_task(self._prepare_apology(), name="call.apology"),
            ]
            reason = await asyncio.shield(self._ended)
            for task in watching:
                task.cancel()
        await self._say_goodbye(reason)

    def _room_options(self) -> room_io.RoomOptions:
        return room_io.RoomOptions(
            participant_identity=self._caller.identity,
            audio_input=room_io.AudioInputOptions(
                sample_rate=SAMPLE_RATE, frame_size_ms=FRAME_MS, auto_gain_control=False, pre_connect_audio=False
            ),
            audio_output=False,
            # The library's alignment of words with sound blocks the loop for 0.2 s a reply; the mouth knows as well.
            text_output=room_io.TextOutputOptions(sync_transcription=False),
            text_input=room_io.TextInputOptions(text_input_cb=self._typed),
            close_on_disconnect=False,
            delete_room_on_close=False,
        )

    def _watch_session(self) -> None:
        self._session.on("conversation_item_added", self._report.item)
        self._session.on("function_tools_executed", self._report.tools)
        self._session.on("session_usage_updated", self._used)
        self._session.on("error", self._model_error)
        self._session.on("close", self._closed)

    def _used(self, event: SessionUsageUpdatedEvent) -> None:
        self._usage = {
            f"{one.provider}/{one.model}": {
                key: float(value) for key, value in vars(one).items() if isinstance(value, int | float) and value
            }
            for one in event.usage.model_usage
        }

    def _model_error(self, event: ErrorEvent) -> None:
        log.warning("session_error", error=str(event.error)[:300])

    def _closed(self, event: CloseEvent) -> None:
        if event.reason is CloseReason.ERROR:
            _end(self._ended, "model_failed")

    def _greet(self) -> None:
        persona = self._parts.persona
        if persona.disclosure:
            self._session.say(filled(persona.disclosure, persona), allow_interruptions=False)
        text = self._parts.welcome_text
        sound = _frames(self._parts.welcome) if self._parts.welcome else None
        if sound is None:
            self._session.say(text)
        else:
            self._session.say(text, audio=sound)

    async def _open_line(self) -> None:
        await self._line.active()
        self._mouth.release(Hold.RINGING)
        self._report.add(fact.CallAnswered(after_s=round(time.monotonic() - self._began, 3)), shared=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._patience.watch_silence(), name="call.silence")
            tasks.create_task(self._patience.watch_length(), name="call.length")

    async def _prepare_apology(self) -> None:
        with contextlib.suppress(ModelsFailed):
            self._parts.voice.apology = await self._parts.voice.synthesised(APOLOGY)

    async def _prompt(self, text: str) -> None:
        await self._session.say(text, add_to_chat_ctx=False)

    def _keys_pressed(self, keys: str) -> None:
        self._session.interrupt()
        self._session.generate_reply(user_input=quoted("keys_pressed", keys))

    async def _typed(self, session: AgentSession[None], event: room_io.TextInputEvent) -> None:
        """Text from the caller's browser counts as the caller's words; text from anybody else as nothing."""
        if event.participant is None or event.participant.identity != self._caller.identity:
            return
        await session.interrupt()
        session.generate_reply(user_input=cleaned(event.text))

    async def _say_goodbye(self, reason: str) -> None:
        if reason in GIVEN_WAY or reason in ("caller_hung_up", "room_closed"):
            return
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._last_words(reason)
                await asyncio.sleep(LAST_WORDS_S)

    async def _last_words(self, reason: str) -> None:
        if reason not in POLITE:
            await _spoken(self._session.current_speech)
            return
        await self._session.interrupt(force=True)
        persona = self._parts.persona
        await self._session.say(filled(persona.closing_message, persona), allow_interruptions=False)

    async def _close(self, reason: str) -> None:
        if reason in GIVEN_WAY:
            self._report.add(fact.AgentLeft(attempt=self._report.attempt, job=self._ctx.job.id, reason=reason))
            return
        self._report.ended(reason, self._usage)
        with contextlib.suppress(api.TwirpError, TimeoutError, OSError):
            async with asyncio.timeout(API_TIMEOUT_S):
                await self._ctx.api.room.delete_room(api.DeleteRoomRequest(room=self._ctx.room.name))


async def _spoken(speech: SpeechHandle | None) -> None:
    if speech is not None:
        await speech


async def _frames(frames: list[rtc.AudioFrame]) -> AsyncIterator[rtc.AudioFrame]:
    for frame in frames:
        yield frame
