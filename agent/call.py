"""One call's life: join, agree who stays, greet when the line is open, converse, end once with a reason."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

import aiohttp
import structlog
from livekit import api
from livekit.agents import NOT_GIVEN, AgentSession, JobContext, llm, room_io
from livekit.agents.voice import (
    CloseEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    SessionUsageUpdatedEvent,
    SpeechHandle,
)
from livekit.agents.voice.events import CloseReason
from livekit.api.room_service import RoomService

from agent import election, speech
from agent.cards import redacted
from agent.ending import Ending, Reason
from agent.greeting import Greeting, greeting
from agent.hearing import SAMPLE_RATE
from agent.line import Line
from agent.mouth import Hold, Mouth
from agent.parts import Parts
from agent.patience import Patience
from agent.recall import Past
from agent.report import Report
from agent.voice import APOLOGY
from switchboard import fact
from switchboard.call import Caller
from switchboard.prompt import cleaned, filled, quoted
from switchboard.relay import ModelsFailed

log = structlog.get_logger(__name__)

API_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 5.0
# A server that does not answer may be back soon.
DELETE_FOR_S = 10.0
DELETE_PAUSE_S = 0.3
LEAVE_TIMEOUT_S = 1.0
# A browser that never listens, a phone that never picks up.
OPEN_TIMEOUT_S = 60.0
# A line that is open already takes a new agent's track within this time, or has it all the same.
TRACK_TIMEOUT_S = 1.0
SAY_AGAIN = "Sorry, I didn't catch that. Could you say it again?"
# How long the words that a caller hung up with may take.
LAST_HEARD_S = 2.0
# What the caller still hears of us after the last frame has left: jitter buffer and transport.
LAST_WORDS_S = 0.4
GOODBYE_TIMEOUT_S = 20.0
# One step of the voice detector: smaller frames bring nothing sooner and cost as much each.
FRAME_MS = 32


class Call:
    """The call from the moment that agent and caller are in one room."""

    def __init__(
        self,
        ctx: JobContext,
        parts: Parts,
        caller: Caller,
        past: Past,
        report: Report,
        mouth: Mouth,
        ending: Ending,
    ) -> None:
        self._ctx = ctx
        self._parts = parts
        self._caller = caller
        self._past = past
        self._lost = False
        self._report = report
        self._mouth = mouth
        self._ending = ending
        self._session = parts.session
        self._began = time.monotonic()
        self._usage: dict[str, dict[str, float]] = {}
        self._line = Line(ctx.room, caller, mouth, tell=parts.tell, on_keys=self._keys_pressed, ending=ending)
        self._line.on_key = parts.recording.key_pressed
        self._patience = Patience(
            parts.persona,
            parts.hearing,
            mouth,
            self._line,
            busy=lambda: self._session.agent_state == "thinking" or self._session.user_state == "speaking",
            say=self._prompt,
            tell=parts.tell,
            ending=ending,
        )
        self._removing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until the call or this agent's part in it has ended; every end is reported."""
        self._parts.report_to(self._report)
        self._report.add(fact.AgentJoined(attempt=self._report.attempt, job=self._ctx.job.id))
        for event in ("participant_connected", "participant_attributes_changed"):
            self._ctx.room.on(event, lambda *_: self._elect())
        self._elect()
        try:
            if self._ending.known is None:
                await self._converse()
        except asyncio.CancelledError:
            self._ending.because(Reason.WORKER_LOST)
            raise
        except Exception:
            # The border of the call: whatever broke, the caller gets another agent, or an end on record.
            self._ending.failed()
            raise
        finally:
            self._line.detach()
            await self._leave(self._ending.known or Reason.FAILED)

    async def _leave(self, reason: Reason) -> None:
        if reason.unheard:
            self._mouth.hold(Hold.LEFT)
        await self._parts.recording.end(over=not reason.only_ours)
        if reason is Reason.WORKER_LOST:
            # The library is taking the process down: nothing of the session can be waited for.
            await self._close(reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self._ctx.room.disconnect()
            return
        if not reason.only_ours:
            await self._mouth.unpublish()
            await self._parts.hearing.finish(LAST_HEARD_S)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._session.aclose()
        finally:
            await self._close(reason)

    def _elect(self) -> None:
        me = election.Candidate(self._ctx.room.local_participant.identity, self._report.attempt, self._ctx.job.id)
        others = election.candidates(self._ctx.room.remote_participants.values(), self._caller.call_id)
        losers = election.losers(me, others)
        if losers is None:
            self._mouth.hold(Hold.LEFT)
            self._ending.because(Reason.REPLACED)
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
        self._mouth.on_clause = self._clause_waits
        self._parts.hearing.on_deaf = self._not_understood
        self._line.attach()
        self._session.output.audio = self._mouth
        first_words = await self._resume()
        await asyncio.gather(
            self._parts.warm(),
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
        self._greet(first_words)
        async with asyncio.TaskGroup() as tasks:
            watchers = (self._open_line(), self._line.watch_hold(), self._prepare_excuses())
            watching = [tasks.create_task(_guarded(watcher), name="call.watcher") for watcher in watchers]
            reason = await self._ending.reason()
            for task in watching:
                task.cancel()
        await self._say_goodbye(reason)

    async def _resume(self) -> Greeting:
        """Takes the conversation up where it is; returns what is to be said first."""
        self._lost = self._report.attempt > 1 and (self._past.answered or self._line.picked_up)
        first_words = greeting(self._parts.persona, self._parts.welcome_text, self._past, lost=self._lost)
        items = self._past.chat()
        if items:
            # Not reported again: the session reports what is added from here on.
            await self._parts.voice.update_chat_ctx(llm.ChatContext(items))
        if earlier := self._past.earlier:
            self._report.add(fact.ConversationContinued(items=len(earlier.items), missing=earlier.missing))
        if self._lost or self._past.facts:
            self._report.add(
                fact.CallResumed(attempt=self._report.attempt, items=len(items), unanswered=first_words.answers)
            )
        return first_words

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
        self._session.on("conversation_item_added", self._said)
        self._session.on("function_tools_executed", self._report.tools)
        self._session.on("session_usage_updated", self._used)
        self._session.on("error", self._model_error)
        self._session.on("close", self._closed)

    def _said(self, event: ConversationItemAddedEvent) -> None:
        # How much the caller heard of the last words before the connection was lost, nobody knows: they are
        # left to be said again.
        if self._ending.known is None or not self._ending.known.needs_successor:
            self._report.item(event)

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
            self._ending.because(Reason.MODEL_FAILED)
        else:
            self._ending.failed()

    def _greet(self, first: Greeting) -> None:
        if first.apology:
            self._say(*first.apology, on_record=False)
        if first.disclosure:
            self._insist(first.disclosure)
        if first.welcome:
            self._say(first.welcome)
        if first.answers:
            self._session.generate_reply()

    def _say(self, *texts: str, on_record: bool = True) -> None:
        sound = self._parts.sound(*texts)
        audio = speech.replay(sound) if sound else NOT_GIVEN
        self._session.say(" ".join(texts), audio=audio, add_to_chat_ctx=on_record)

    def _insist(self, text: str) -> None:
        """Says what has to be heard whole; what the caller says meanwhile is answered afterwards."""

        def heard(_speech: SpeechHandle) -> None:
            self._mouth.insisting = False
            self._parts.hearing.release_kept()

        self._mouth.insisting = True
        self._session.say(text, allow_interruptions=False).add_done_callback(heard)

    def _clause_waits(self, text: str) -> None:
        # The apology is on its way to the caller: the call ends once it was heard.
        if text == APOLOGY:
            self._ending.because(Reason.MODEL_FAILED)
        elif text and text == self._parts.voice.emergency:
            self._report.add(fact.EmergencySaid())

    def _not_understood(self, times: int) -> None:
        """The words could not be had: said once, and the second time in a row it is the end."""
        self._session.say(SAY_AGAIN if times == 1 else APOLOGY)

    async def _open_line(self) -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._line.active()
        except TimeoutError:
            self._ending.because(Reason.UNANSWERED)
            return
        if self._lost:
            await self._track_taken()
        if not self._past.answered:
            self._report.add(fact.CallAnswered(after_s=round(time.monotonic() - self._began, 3)), shared=True)
        self._mouth.release(Hold.RINGING)
        self._parts.recording.begin(self._report, self._past)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._patience.watch_silence(), name="call.silence")
            tasks.create_task(self._patience.watch_length(self._past.talked_s), name="call.length")

    async def _track_taken(self) -> None:
        """An open line has heard another agent; what is said before it hears this one is lost."""
        if self._mouth.publication is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRACK_TIMEOUT_S):
                    await self._mouth.publication.wait_for_subscription()

    async def _prepare_excuses(self) -> None:
        with contextlib.suppress(ModelsFailed):
            await self._parts.voice.prepare()

    async def _prompt(self, text: str) -> None:
        await self._session.say(text, add_to_chat_ctx=False)

    def _keys_pressed(self, keys: str) -> None:
        with contextlib.suppress(RuntimeError):  # what may not be interrupted is answered behind
            self._session.interrupt()
        self._session.generate_reply(user_input=quoted("keys_pressed", keys))

    async def _typed(self, session: AgentSession[None], event: room_io.TextInputEvent) -> None:
        """Text from the caller's browser counts as the caller's words; text from anybody else as nothing."""
        if event.participant is None or event.participant.identity != self._caller.identity:
            return
        self._line.touched_at = time.monotonic()
        with contextlib.suppress(RuntimeError):  # what may not be interrupted is answered behind
            await session.interrupt()
        session.generate_reply(user_input=redacted(cleaned(event.text)))

    async def _say_goodbye(self, reason: Reason) -> None:
        if reason.unheard:
            return
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._last_words(reason)
                await asyncio.sleep(LAST_WORDS_S)

    async def _last_words(self, reason: Reason) -> None:
        if not reason.polite:
            await _spoken(self._session.current_speech)
            return
        await self._session.interrupt(force=True)
        persona = self._parts.persona
        await self._session.say(filled(persona.closing_message, persona), allow_interruptions=False)

    async def _close(self, reason: Reason) -> None:
        if reason.only_ours:
            self._report.add(fact.AgentLeft(attempt=self._report.attempt, job=self._ctx.job.id, reason=reason))
            return
        self._report.ended(reason, self._usage, self._parts.settings.prices)
        if reason is Reason.CALLER_HUNG_UP:
            await self._caller_left()
        await delete_room(self._ctx.api.room, self._ctx.room.name)

    async def _caller_left(self) -> None:
        """Who hangs up leaves by themselves, in good order: a line that is thrown out keeps memory of its room."""
        left = asyncio.Event()
        self._ctx.room.on("participant_disconnected", lambda *_: left.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                while self._line.participant is not None and self._ctx.room.isconnected():
                    left.clear()
                    await left.wait()


async def delete_room(rooms: RoomService, name: str) -> None:
    """Ends the room of a call that is over: a caller who stays in it would get another agent after the goodbye."""
    give_up = time.monotonic() + DELETE_FOR_S
    while not await _deleted(rooms, name) and time.monotonic() < give_up:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(DELETE_PAUSE_S)


async def _deleted(rooms: RoomService, name: str) -> bool:
    try:
        async with asyncio.timeout(API_TIMEOUT_S):
            await rooms.delete_room(api.DeleteRoomRequest(room=name))
    except api.TwirpError as error:
        return error.code == api.TwirpErrorCode.NOT_FOUND
    except (TimeoutError, OSError, aiohttp.ClientError):
        return False
    return True


async def _guarded(watcher: Coroutine[Any, Any, None]) -> None:
    """A watcher that fails is a line in the log, not the end of the call."""
    try:
        await watcher
    except Exception:  # the border between a call and what only watches it
        log.exception("watcher_failed")


async def _spoken(handle: SpeechHandle | None) -> None:
    if handle is not None:
        await handle
