"""What a call is made of and needs no caller for, made while the room is being joined."""

import asyncio
import sys
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from livekit import rtc
from livekit.agents import AgentSession, TurnHandlingOptions
from livekit.agents.voice.agent_session import SessionConnectOptions

from agent import recall, ticket
from agent.ending import Ending
from agent.greeting import GO_ON, LOST_YOU
from agent.hearing import Hearing
from agent.models import Recogniser, Synthesiser, Thinker
from agent.mouth import Mouth
from agent.recording import Recording
from agent.report import Report
from agent.voice import Voice
from switchboard import fact
from switchboard.endpoints import endpoints
from switchboard.hours import is_open
from switchboard.prompt import filled, instructions
from switchboard.ranking.index import FactIndex
from switchboard.settings import Settings

FIRST_WORDS_TIMEOUT_S = 0.3
# From the hearing to the session, when the call is over.
WORDS_READ_S = 0.2


class Parts:
    """Persona, models, ears and voice of one call. `ending` is told why the call shall end."""

    def __init__(self, settings: Settings, given: ticket.Ticket, mouth: Mouth, ending: Ending) -> None:
        self.settings = settings
        self.ticket = given
        persona = given.persona
        self.persona = persona
        self.facts: list[fact.Body] = [*given.rejected]
        self.report: Report | None = None
        self.recogniser = Recogniser(endpoints(settings, "stt"), persona.language, self.tell)
        self.hearing = Hearing(self.recogniser.words, mouth, self.tell, language=persona.language)
        # In a thread: it takes 0.03 s of computing, in which the room can be joined.
        self.index = asyncio.create_task(asyncio.to_thread(FactIndex, persona.facts), name="call.index")
        self.recording = Recording(settings, persona, self.hearing, mouth)
        thinker = Thinker(endpoints(settings, "llm"), persona, self.tell)
        synthesiser = Synthesiser(endpoints(settings, "tts"), persona, settings.tts_voice, self.tell)
        self.voice = Voice(
            persona,
            instructions=instructions(persona, datetime.now(UTC), settings.emergency_sentence),
            index=self.index,
            hearing=self.hearing,
            thinker=thinker,
            synthesiser=synthesiser,
            emergency=settings.emergency_sentence,
            tell=self.tell,
            ending=ending,
            tools=self.recording.tools,
        )
        self.session: AgentSession[None] = AgentSession(
            stt=self.recogniser.models[0],
            llm=thinker.models[0],
            tts=synthesiser.models[0],
            vad=None,
            turn_handling=_turn_handling(),
            aec_warmup_duration=None,
            user_away_timeout=None,
            # Else the library waits 2 s at the end of every call for words, of which there are none any more.
            session_close_transcript_timeout=WORDS_READ_S,
            # What fails is answered for here; a service that fails while another one serves ends no call.
            conn_options=SessionConnectOptions(max_unrecoverable_errors=sys.maxsize),
        )
        self.past = asyncio.create_task(recall.past(settings, given.metadata), name="call.past")
        self._sounds: dict[str, list[rtc.AudioFrame]] = {}
        self._warming = asyncio.create_task(self._prepare_first_words(), name="call.prepare")

    @cached_property
    def welcome_text(self) -> str:
        now = datetime.now(ZoneInfo(self.persona.timezone))
        closed = self.persona.closed_message and not is_open(self.persona, now)
        return filled(self.persona.closed_message if closed else self.persona.welcome_message, self.persona)

    async def warm(self) -> None:
        """Returns when the first words can be heard at once, or after a while: a slow voice keeps nobody waiting."""
        await asyncio.wait({self._warming}, timeout=FIRST_WORDS_TIMEOUT_S)

    async def aclose(self) -> None:
        self._warming.cancel()
        self.past.cancel()
        await asyncio.wait([self._warming, self.past, self.index])

    async def _prepare_first_words(self) -> None:
        metadata = self.ticket.metadata
        if metadata is None or metadata.attempt == 1:
            await self._prepare(self.welcome_text)
            return
        await asyncio.gather(self._prepare(LOST_YOU), self._prepare(GO_ON), self._prepare_unheard_welcome())

    async def _prepare_unheard_welcome(self) -> None:
        if not (await self.past).said:
            await self._prepare(self.welcome_text)

    async def _prepare(self, text: str) -> None:
        try:
            self._sounds[text] = await self.voice.synthesised(text)
        except Exception:  # the process border to voices of any make: the call goes on without
            self.tell(fact.ModelFailed(part="tts", reason="no voice for the first words", recovered=False))

    def sound(self, *texts: str) -> list[rtc.AudioFrame] | None:
        """The sound of the texts one after the other; None as long as one of them is missing."""
        found = [self._sounds.get(text) for text in texts]
        return None if None in found else [frame for sound in found for frame in sound or ()]

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
            "discard_audio_if_uninterruptible": False,
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
