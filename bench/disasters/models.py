"""Speech recognition, the language model, the voice: each erring, silent, or stalling in the middle of a sentence.

Measured at the caller's ear, from the end of what the caller said: until something is heard, and the longest silence
after that until the agent has said what it had to.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.disasters.scene import Options, Row
from local.models import sound
from switchboard.fact import CallEnded, Fact, Item, ModelFailed
from tests.agent_process import AgentProcess, Phone, agent_process
from tests.models_process import running
from tests.room_guest import eventually

PARTS = ("stt", "llm", "tts")
FAILURES = ("error", "hang", "stall")
QUESTION = "When is breakfast?"
REPLY = "Breakfast is at seven every morning, also on Sundays."
SAY_AGAIN = "Sorry, I didn't catch that. Could you say it again?"
WANTED_S = 3.0
FRAME_S = 0.01
HEARD_S = 6.0
CALLS, QUICK_CALLS = 5, 1


@dataclass(frozen=True, slots=True)
class Case:
    """What a caller heard while a part failed. Seconds; `first_s` is infinite when there was nothing."""

    part: str
    failure: str
    fallback: bool
    first_s: float
    pause_s: float
    said: str
    recovered: bool
    failed: bool
    ended: str

    @property
    def name(self) -> str:
        return f"{self.part} {self.failure}, {'another one serves' if self.fallback else 'alone'}"

    @property
    def good(self) -> bool:
        """The answer with another service; without one a request to say it again, or an apology and the end."""
        if self.fallback:
            return self.recovered and self.said.endswith(REPLY) and not self.ended
        return self.failed and (self.said == SAY_AGAIN if self.part == "stt" else self.ended in ("", "model_failed"))

    @property
    def figure(self) -> str:
        return f"heard after {self.first_s:.2f} s, then silent for at most {self.pause_s:.2f} s"

    def within(self, limit_s: float) -> bool:
        return max(self.first_s, self.pause_s) <= limit_s


@dataclass(frozen=True, slots=True)
class Pair:
    """Two agents: one has but one service for each part, and the other one a second, which is well."""

    alone: AgentProcess
    backed: AgentProcess
    spare: str

    async def cases(self, part: str, failure: str, *, whole: bool = True) -> list[Case]:
        """The failure without and with a second service, at once; `whole`: to the end of a call that ends."""
        calls = (self._case(agent, part, failure, whole=whole) for agent in (self.alone, self.backed))
        return list(await asyncio.gather(*calls))

    async def _case(self, agent: AgentProcess, part: str, failure: str, *, whole: bool) -> Case:
        fallback = agent is self.backed
        await agent.forget_script()
        await agent.script("reply", {"text": REPLY}, also=[self.spare])
        phone = await answered(agent)
        question = await agent.taught(QUESTION, also=[self.spare])
        await agent.script("failures", {part: failure})
        frames = phone.heard[phone.agents()[0]]
        at = await _asked(agent, phone, question, frames, heard=part != "stt")
        facts = await _until_said(agent, phone, part, fallback=fallback, whole=whole)
        heard = frames[at:]
        await phone.hang_up()
        return _seen(facts, heard, part, failure, fallback=fallback)


async def answered(agent: AgentProcess) -> Phone:
    """A phone that has heard the welcome."""
    phone = await agent.ring()
    await agent.dispatch(phone.name, agent.metadata(phone, welcome_message="Hello, the test hotel."))
    await eventually(lambda: bool(phone.agents()), 20)
    await phone.answer()
    await agent.until_fact(phone.call_id, "item")
    await eventually(lambda: not phone.hears())
    return phone


async def _asked(
    agent: AgentProcess, phone: Phone, question: sound.Samples, frames: Sequence[bool], *, heard: bool
) -> int:
    """Where in `frames` the question ended. Asked again when it was not `heard`: a busy machine tears the sound."""
    await phone.play(question)
    at = len(frames)
    with contextlib.suppress(TimeoutError):
        if heard:
            await agent.until_user(phone.call_id, HEARD_S)
        return at
    await phone.play(question)
    return len(frames)


async def _until_said(agent: AgentProcess, phone: Phone, part: str, *, fallback: bool, whole: bool) -> list[Fact]:
    """The facts once the agent has said what it had to: the welcome, the question, the answer; or an apology."""
    if fallback or part == "stt":
        return await agent.until_fact(phone.call_id, "item", times=3 if fallback else 2)
    if whole:
        return await agent.until_fact(phone.call_id, "call_ended")
    facts = await agent.until_fact(phone.call_id, "model_failed")
    await eventually(lambda: bool(phone.hears()))
    return facts


def _seen(facts: Sequence[Fact], heard: Sequence[bool], part: str, failure: str, *, fallback: bool) -> Case:
    loud = [at for at, one in enumerate(heard) if one]
    items = [one.body.item for one in facts if isinstance(one.body, Item)]
    said = [text(item) for item in items if item.get("role") == "assistant"][1:]
    failures = [one.body.recovered for one in facts if isinstance(one.body, ModelFailed)]
    return Case(
        part=part,
        failure=failure,
        fallback=fallback,
        first_s=round(loud[0] * FRAME_S, 2) if loud else float("inf"),
        pause_s=round(max((b - a for a, b in itertools.pairwise(loud)), default=0) * FRAME_S, 2),
        said=said[-1].strip() if said else "",
        recovered=True in failures,
        failed=False in failures,
        ended=next((one.body.reason for one in facts if isinstance(one.body, CallEnded)), ""),
    )


def text(item: Any) -> str:
    """The words of a message in a fact."""
    content = item["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """Both agents, running."""
    async with (
        running("local.models.scripted") as spare,
        agent_process() as alone,
        agent_process(SWITCHBOARD_LOCAL_MODELS_URL=f"{spare}/v1") as backed,
    ):
        yield Pair(alone, backed, spare)


async def run(options: Options) -> list[Row]:
    """Each part in each way, some times."""
    cases: list[Case] = []
    async with pair() as both:
        for _ in range(options.count(CALLS, QUICK_CALLS)):
            for part, failure in itertools.product(PARTS, FAILURES):
                cases += await both.cases(part, failure)
    options.cases.extend(map(asdict, cases))
    return [_row([one for one in cases if one.name == name]) for name in dict.fromkeys(one.name for one in cases)]


def _row(cases: Sequence[Case]) -> Row:
    worst = max(cases, key=lambda one: max(one.first_s, one.pause_s))
    good = sum(one.good for one in cases)
    return Row(
        f"{worst.name}: worst of {len(cases)}, {good} as wanted",
        worst.figure,
        f"≤ {WANTED_S:g} s",
        good == len(cases) and worst.within(WANTED_S),
    )
