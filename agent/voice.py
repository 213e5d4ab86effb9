"""The agent that LiveKit's session runs: it hears, looks up facts, thinks and speaks as one persona."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import structlog
from livekit import rtc
from livekit.agents import Agent, FlushSentinel, ModelSettings, StopResponse, function_tool, llm, stt

from agent import emergency, speech
from agent.ending import Ending, Reason
from agent.hearing import Hearing
from agent.models import ONE_MOMENT, Synthesiser, Thinker
from agent.mouth import CLAUSE
from switchboard import passages
from switchboard.fact import MessageTaken, ModelFailed
from switchboard.persona import Persona
from switchboard.prompt import cleaned
from switchboard.ranking.index import FactIndex
from switchboard.relay import reason_of

log = structlog.get_logger(__name__)

APOLOGY = "I'm sorry, something is wrong on my side. Please call again in a few minutes."
# For when no voice can be had at all: the same words.
_PROMPTS = Path(__file__).parent.parent / "prompts"
RECORDED = {APOLOGY: _PROMPTS / "apology.wav", ONE_MOMENT: _PROMPTS / "one_moment.wav"}
Tell = Callable[[Any], None]


class Voice(Agent):
    """One persona on one call.

    `emergency` is the installation's sentence for emergencies, or nothing. `ending` is told when the call shall
    end, `tell` what happens.
    """

    def __init__(
        self,
        persona: Persona,
        *,
        instructions: str,
        index: Awaitable[FactIndex],
        hearing: Hearing,
        thinker: Thinker,
        synthesiser: Synthesiser,
        emergency: str,
        tell: Tell,
        ending: Ending,
        tools: Sequence[llm.Tool] = (),
    ) -> None:
        super().__init__(instructions=instructions, tools=[*tools])
        self._persona = persona
        self._index = index
        self._hearing = hearing
        self._thinker = thinker
        self._synthesiser = synthesiser
        self.emergency = " ".join(emergency.split())
        self._tell = tell
        self._ending = ending
        self._ready = {text: _all_named(speech.recorded(file), text) for text, file in RECORDED.items()}

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncGenerator[stt.SpeechEvent, None]:
        async for event in self._hearing.events(audio):
            yield event

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[Any], model_settings: ModelSettings
    ) -> AsyncGenerator[Any, None]:
        if self.emergency and is_emergency(chat_ctx):
            yield self.emergency
            return
        try:
            reply = self._thinker.reply(await self._with_facts(chat_ctx), tools, model_settings.tool_choice)
            async with aclosing(reply):
                async for piece in reply:
                    yield piece
        except Exception as error:  # the process border to language models of any make
            log.exception("llm_failed")
            self._tell(ModelFailed(part="llm", reason=reason_of(error), recovered=False))
            # Said only if this reply is: one that was prepared early may never be. Hearing it ends the call.
            yield FlushSentinel()
            yield f" {APOLOGY}"

    async def _with_facts(self, chat_ctx: llm.ChatContext) -> llm.ChatContext:
        """The context with the facts that fit the caller's last words, as data just before them."""
        items = chat_ctx.items
        at = next((n for n in range(len(items) - 1, -1, -1) if _is_user(items[n])), None)
        if at is None:
            return chat_ctx
        words = items[at].text_content or ""  # type: ignore[union-attr]
        block = llm.ChatMessage(role="system", content=[await self._facts_for(words)])
        return llm.ChatContext([*items[:at], block, *items[at:]])

    async def _facts_for(self, words: str) -> str:
        if words.startswith('{"keys_pressed"'):
            return passages.render([])
        return (await self._index).passages(words)

    async def tts_node(
        self, text: AsyncIterable[str], model_settings: ModelSettings
    ) -> AsyncGenerator[rtc.AudioFrame, None]:
        try:
            meanwhile = self._ready[ONE_MOMENT]
            async for clause in speech.clauses(text, whole=(*self._ready, self.emergency)):
                # Ready beforehand: what else was slow or failed has cost its time already.
                ready = self._ready.get(clause)
                sound = speech.replay(ready) if ready else self._spoken(clause, meanwhile=meanwhile)
                async with aclosing(sound):
                    async for frame in sound:
                        # Said once in a reply.
                        meanwhile = [] if frame.userdata[CLAUSE] == ONE_MOMENT else meanwhile
                        yield frame
        except Exception as error:  # the process border to voices of any make
            log.exception("tts_failed")
            self._tell(ModelFailed(part="tts", reason=reason_of(error), recovered=False))
            for frame in self._ready[APOLOGY]:
                yield frame

    async def _spoken(
        self, clause: str, *, meanwhile: Sequence[rtc.AudioFrame] = ()
    ) -> AsyncGenerator[rtc.AudioFrame, None]:
        text = speech.pronounced(clause, self._persona.pronunciations)
        async with aclosing(self._synthesiser.speak(text, meanwhile=meanwhile)) as frames:
            async for frame in frames:
                # What is said meanwhile has a name already.
                frame.userdata.setdefault(CLAUSE, clause)
                yield frame

    async def synthesised(self, text: str) -> list[rtc.AudioFrame]:
        """The whole sound of a sentence, for what is known beforehand. Raises `ModelsFailed`."""
        return [frame async for frame in self._spoken(text)]

    async def prepare(self) -> None:
        """What has to be ready when models fail, in the persona's own voice. Raises `ModelsFailed`."""
        for text in self._ready:
            self._ready[text] = await self.synthesised(text)

    @function_tool
    async def end_call(self) -> None:
        """End the call, when the caller has said goodbye or has nothing more to ask. Say nothing else."""
        self._ending.because(Reason.AGENT_ENDED)
        raise StopResponse

    @function_tool
    async def look_up(self, query: str) -> str:
        """Look up what is known here about a question of the caller.

        Args:
            query: the question, in the caller's words
        """
        return await self._facts_for(cleaned(query))

    @function_tool
    async def take_message(self, name: str, number: str, text: str) -> str:
        """Take down a message for the people here, once the caller has given and confirmed all of it.

        Args:
            name: the caller's name
            number: the number to call back
            text: the message
        """
        self._tell(MessageTaken(name=cleaned(name, 200), number=cleaned(number, 64), text=cleaned(text, 2_000)))
        return "The message was taken."


def is_emergency(context: llm.ChatContext) -> bool:
    """Whether the caller waits for an answer to words that mean an emergency."""
    said = [item for item in context.items if isinstance(item, llm.FunctionCallOutput) or _is_spoken(item)]
    last = said[-1] if said else None
    return isinstance(last, llm.ChatMessage) and last.role == "user" and emergency.is_one(last.text_content or "")


def _is_spoken(item: llm.ChatItem) -> bool:
    return isinstance(item, llm.ChatMessage) and item.role in ("user", "assistant")


def _all_named(frames: list[rtc.AudioFrame], clause: str) -> list[rtc.AudioFrame]:
    """The frames as the sound of `clause`."""
    for frame in frames:
        frame.userdata[CLAUSE] = clause
    return frames


def _is_user(item: llm.ChatItem) -> bool:
    return isinstance(item, llm.ChatMessage) and item.role == "user"
