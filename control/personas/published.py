"""The personas of the installation as agents: in writing they answer as they do on the phone."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agents import Agent, ModelSettings, RunContextWrapper, Tool, function_tool

from control.conversations.runs import Runs
from control.conversations.turn import Turn
from control.db.pool import Database
from control.errors import Unavailable
from control.personas import store
from control.personas.store import Stored
from control.personas.thinker import PersonaModel, Thinker
from switchboard.endpoints import endpoints
from switchboard.fact import MessageTaken
from switchboard.persona import Persona
from switchboard.prompt import cleaned, instructions
from switchboard.settings import Settings, SettingsError

if TYPE_CHECKING:
    from switchboard.ranking.index import FactIndex

# Versions of personas that are kept ready; another one takes some 50 ms, the first of all a second.
MOST_READY = 32


@dataclass(frozen=True, slots=True)
class Ready:
    """One version of a persona."""

    persona: Persona
    model: PersonaModel
    tools: list[Tool]


class Published:
    """Every persona is published under its slug, for as long as there is one. `runs` are theirs, of all together."""

    def __init__(self, settings: Settings, database: Database, thinker: Thinker | None) -> None:
        self.runs = Runs()
        self._settings = settings
        self._database = database
        self._thinker = thinker
        self._ready: OrderedDict[tuple[str, int], Ready] = OrderedDict()
        self._preparing = asyncio.Lock()

    async def agent(self, slug: str) -> Agent[Turn]:
        """The persona as it is now: what becomes of it later does not touch the agent.

        Raises `NotFound`, and `Unavailable` where no language model is set.
        """
        async with self._database.session() as connection:
            stored = await store.get(connection, slug)
        if self._thinker is None:
            raise Unavailable("No language model is set up here: LLM_BASE_URL or OPENAI_API_KEY names one.")
        ready = await self._prepared(stored, self._thinker)
        persona = ready.persona
        return Agent(
            name=persona.persona_name,
            instructions=instructions(persona, datetime.now(UTC), self._settings.emergency_sentence, spoken=False),
            model=ready.model,
            model_settings=ModelSettings(temperature=persona.temperature, include_usage=True),
            tools=ready.tools,
        )

    async def _prepared(self, stored: Stored, thinker: Thinker) -> Ready:
        key = stored.slug, stored.version
        async with self._preparing:
            if key not in self._ready:
                persona, _rejected = Persona.read(stored.body)
                index = await asyncio.to_thread(_index, persona)
                self._ready[key] = Ready(persona, thinker.model(persona, index), _tools(index))
            self._ready.move_to_end(key)
            if len(self._ready) > MOST_READY:
                self._ready.popitem(last=False)
            return self._ready[key]


@asynccontextmanager
async def published_personas(settings: Settings, database: Database) -> AsyncIterator[Published]:
    """Ends the runs, each with what it has produced kept, when the body does."""
    thinker = _thinker(settings)
    published = Published(settings, database, thinker)
    try:
        yield published
    finally:
        await published.runs.stop()
        if thinker is not None:
            await thinker.aclose()


def _thinker(settings: Settings) -> Thinker | None:
    """None without a language model: all else that control does needs none, and who asks a persona is told."""
    try:
        return Thinker(endpoints(settings, "llm"))
    except SettingsError:
        return None


def _index(persona: Persona) -> "FactIndex":
    # Imported with the first question: the vectors and tables of words take 70 MiB, and most of a second.
    from switchboard.ranking.index import FactIndex

    return FactIndex(persona.facts)


def _tools(index: "FactIndex") -> list[Tool]:
    @function_tool
    async def look_up(query: str) -> str:
        """Look up what is known here about a question of the caller.

        Args:
            query: the question, in the caller's words
        """
        return await asyncio.to_thread(index.passages, cleaned(query))

    return [look_up, take_message]


@function_tool
async def take_message(context: RunContextWrapper[Turn], name: str, number: str, text: str) -> str:
    """Take down a message for the people here, once the caller has given and confirmed all of it.

    Args:
        name: the caller's name
        number: the number to call back
        text: the message
    """
    context.context.tell(MessageTaken(name=cleaned(name, 200), number=cleaned(number, 64), text=cleaned(text, 2_000)))
    return "The message was taken."
