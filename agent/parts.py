"""What a call is made of and needs no caller for, made while the room is being joined."""

import asyncio
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from livekit import rtc
from livekit.agents import AgentSession, APIConnectOptions, TurnHandlingOptions
from livekit.agents.voice.agent_session import SessionConnectOptions

from agent import ticket
from agent.ending import Ending
from agent.facts import FactIndex
from agent.hearing import Hearing
from agent.hours import is_open
from agent.models import LLM_TIMEOUT_S, STT_TIMEOUT_S, Recogniser, Synthesiser, endpoints, thinker
from agent.mouth import Mouth
from agent.prompt import filled, instructions
from agent.report import Report
from agent.voice import Voice
from switchboard import fact
from switchboard.settings import Settings


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
        self.hearing = Hearing(
            self.recogniser.words,
            mouth,
            self.tell,
            language=persona.language,
            patience_s=STT_TIMEOUT_S * len(self.recogniser.models) + 1,
        )
        # In a thread: it takes 0.03 s of computing, in which the room can be joined.
        self.index = asyncio.create_task(asyncio.to_thread(FactIndex, persona.facts), name="call.index")
        synthesiser = Synthesiser(endpoints(settings, "tts"), persona, settings.tts_voice, self.tell)
        self.voice = Voice(
            persona,
            instructions=instructions(persona, datetime.now(UTC), settings.emergency_sentence),
            index=self.index,
            hearing=self.hearing,
            synthesiser=synthesiser,
            tell=self.tell,
            ending=ending,
        )
        self.session: AgentSession[None] = AgentSession(
            stt=self.recogniser.models[0],
            llm=thinker(endpoints(settings, "llm"), persona),
            tts=synthesiser.models[0],
            vad=None,
            turn_handling=_turn_handling(),
            aec_warmup_duration=None,
            user_away_timeout=None,
            conn_options=SessionConnectOptions(
                llm_conn_options=APIConnectOptions(max_retry=1, retry_interval=0.3, timeout=LLM_TIMEOUT_S)
            ),
        )
        self.welcome: list[rtc.AudioFrame] = []

    @cached_property
    def welcome_text(self) -> str:
        now = datetime.now(ZoneInfo(self.persona.timezone))
        closed = self.persona.closed_message and not is_open(self.persona, now)
        return filled(self.persona.closed_message if closed else self.persona.welcome_message, self.persona)

    async def prepare(self) -> None:
        """Has the first words ready before the line is open, and an apology in case the voice fails later."""
        try:
            self.welcome = await self.voice.synthesised(self.welcome_text)
        except Exception:  # the process border to voices of any make: the call goes on without
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
