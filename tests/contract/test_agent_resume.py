"""An agent takes a call over from one that died; the test is the phone, and sends the agents."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from livekit import rtc

from agent.greeting import GO_ON, LOST_YOU
from switchboard import stream
from switchboard.fact import AgentLeft, CallEnded, CallResumed, Fact, Item
from tests.agent_process import AgentProcess, Phone, agent_process
from tests.promises import promise
from tests.room_guest import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

WELCOME = "Good day, this is the test hotel."
CODE = "My code is 4 7 1 9."
THE_CODE = "The code is 4, 7, 1, 9."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[AgentProcess]:
    async with agent_process() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _recalling_model(agent: AgentProcess) -> None:
    await agent.forget_script()
    await agent.script("reply", {"recall": True})


class Call:
    """A phone call whose agents are written down as they speak, and can be killed.

    `conversation`: one that the call goes on with.
    """

    def __init__(self, agent: AgentProcess, phone: Phone, *, conversation: str = "", **persona: Any) -> None:
        self.agent, self.phone, self._conversation = agent, phone, conversation
        self._texts: list[tuple[str, str]] = []
        self._gone: set[str] = set()
        self._persona = {"welcome_message": WELCOME, **persona}
        phone.room.register_text_stream_handler("lk.transcription", self._written)

    def _written(self, reader: rtc.TextStreamReader, identity: str) -> None:
        async def read() -> None:
            self._texts.append((identity, await reader.read_all()))

        self.phone.start(read())

    async def send(self, attempt: int) -> None:
        metadata = self.agent.metadata(self.phone, attempt=attempt, conversation=self._conversation, **self._persona)
        await self.agent.dispatch(self.phone.name, metadata)

    async def greeted(self) -> None:
        await self.send(1)
        await eventually(lambda: bool(self.phone.agents()), 20)
        await self.phone.answer()
        await self.agent.until_fact(self.phone.call_id, "item")

    async def ask(self, text: str, *, items: int) -> None:
        """Types; returns when so many messages are on record."""
        await self.phone.type(text)
        await self.agent.until_fact(self.phone.call_id, "item", times=items)

    @property
    def spoken(self) -> list[str]:
        """What the agent says that is there now."""
        return [text for who, text in self._texts if who not in {"sip_caller", *self._gone}]

    @property
    def files(self) -> Path:
        return self.agent.log.parent / "home" / "outbox"

    def kill(self) -> None:
        """Ends the job's process with -9: the one that writes the facts of this call."""
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if self.phone.call_id in str(link.readlink()):
                    os.kill(int(link.parts[2]), signal.SIGKILL)
                    return
        raise AssertionError("no process serves the call")

    async def replace(self) -> list[Fact]:
        """Kills the agent and sends another one; returns when that one has taken the call over."""
        self._gone |= set(self.phone.agents())
        self.kill()
        await self.send(2)
        return await self.agent.until_fact(self.phone.call_id, "call_resumed")

    async def end(self) -> list[Fact]:
        await self.phone.hang_up()
        return await self.agent.until_fact(self.phone.call_id, "call_ended")


async def _call(agent: AgentProcess, **persona: Any) -> Call:
    return Call(agent, await agent.ring(), **persona)


def _resumed(facts: list[Fact]) -> dict[str, Any]:
    return next(one.body.model_dump(exclude={"kind"}) for one in facts if isinstance(one.body, CallResumed))


@promise("resume.unanswered")
async def test_a_question_left_unanswered_is_answered_by_the_next_agent(agent: AgentProcess) -> None:
    call = await _call(agent)
    await call.greeted()
    await call.ask(CODE, items=3)
    await agent.script("times", {"first_token_ms": 5_000})
    await call.ask("What is my code?", items=4)
    await agent.script("times", {"first_token_ms": 200})
    facts = await call.replace()
    assert _resumed(facts) == {"attempt": 2, "items": 4, "unanswered": True}
    await eventually(lambda: bool(call.phone.hears()), 5)
    facts = await agent.until_fact(call.phone.call_id, "item", times=5)
    assert call.spoken == [LOST_YOU, THE_CODE]
    facts = await call.end()
    assert [one.kind for one in facts].count("call_answered") == 1
    assert sum(isinstance(one.body, Item) for one in facts) == 5
    ended = next(one.body for one in facts if isinstance(one.body, CallEnded))
    joined = next(one.at for one in facts if one.kind == "agent_joined")
    assert ended.turns == 2
    assert ended.duration_s == pytest.approx((facts[-1].at - joined).total_seconds(), abs=0.5)


@promise("resume.goes_on")
@pytest.mark.parametrize("away", ["files", "redis"])
async def test_the_next_agent_knows_the_conversation_from_redis_or_from_files(agent: AgentProcess, away: str) -> None:
    call = await _call(agent, disclosure="This call is recorded.")
    await call.greeted()
    await agent.until_fact(call.phone.call_id, "item", times=2)
    await call.ask(CODE, items=4)
    if away == "files":
        for path in call.files.glob(f"{call.phone.call_id}-*"):
            path.rename(path.with_suffix(".elsewhere"))
    else:
        async with stream.connect(agent.redis_url) as redis:
            await redis.execute_command("CLIENT", "PAUSE", 2_000)  # type: ignore[no-untyped-call]
    facts = await call.replace()
    assert _resumed(facts) == {"attempt": 2, "items": 4, "unanswered": False}
    await eventually(lambda: call.spoken == [f"{LOST_YOU} {GO_ON}"], 5)
    await eventually(lambda: bool(call.phone.hears()), 5)
    await call.ask("What is my code?", items=6)
    assert call.spoken[1:] == [THE_CODE]
    await call.end()


@promise("resume.ringing")
async def test_a_caller_who_still_rings_is_greeted_as_always(agent: AgentProcess) -> None:
    call = await _call(agent)
    await call.send(1)
    await agent.until_fact(call.phone.call_id, "persona_applied")
    await call.replace()
    await agent.until_fact(call.phone.call_id, "persona_applied", times=2)
    await call.phone.answer()
    await agent.until_fact(call.phone.call_id, "item")
    assert call.spoken == [WELCOME]
    await call.end()


@promise("resume.worker_gone")
async def test_an_agent_whose_worker_is_gone_leaves_at_once_and_ends_nothing(agent: AgentProcess) -> None:
    # The last test here: it takes the worker that all of them share.
    call = await _call(agent)
    await call.greeted()
    agent.process.kill()
    await eventually(lambda: not call.phone.agents(), 3)
    facts = await agent.until_fact(call.phone.call_id, "agent_left")
    assert [one.body.reason for one in facts if isinstance(one.body, AgentLeft)] == ["worker_lost"]
    assert "call_ended" not in [one.kind for one in facts]
    assert call.phone.name in await agent.rooms()
