"""The agent of a call that goes on with a conversation: a real control, behind a door, tells it of that."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import web
from livekit import api, rtc

from agent.greeting import GO_ON, LOST_YOU
from control.conversations.web import web_call
from local.ports import free_port
from switchboard.call import call_id_of_browser
from switchboard.fact import CallEnded, CallResumed, ConversationContinued, Fact
from switchboard.settings import Settings
from tests.agent_process import AgentProcess, agent_process
from tests.contract.test_agent_resume import WELCOME, Call
from tests.control_service import INTERNAL_TOKEN, ControlService, control_service
from tests.promises import promise
from tests.room_guest import eventually
from webhook.call import call_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISCLOSURE = "This call is recorded."
ORDER = [{"role": "user", "content": "My order number is 4 7 1."}, {"role": "assistant", "content": "Thank you."}]


class Door:
    """Control as the agent reaches it. `how`: open, nonsense, broken, or hanging."""

    def __init__(self, control: ControlService) -> None:
        self.control, self.how = control, "open"
        self.port = free_port()

    async def pass_on(self, request: web.Request) -> web.Response:
        if self.how == "open":
            headers = {"Authorization": request.headers["Authorization"]}
            answer = await self.control.request("GET", request.path_qs, key=None, headers=headers)
            return web.json_response(answer.body, status=answer.status)
        if self.how == "nonsense":
            return web.json_response({"items": [{"at": "never", "body": "x" * 1_000}]})
        if self.how == "broken":
            return web.Response(status=500)
        assert request.transport is not None
        await eventually(request.transport.is_closing, 60)
        raise web.HTTPGone

    @contextlib.asynccontextmanager
    async def standing(self) -> AsyncIterator["Door"]:
        app = web.Application()
        app.router.add_get("/internal/{rest:.*}", self.pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control() -> AsyncIterator[ControlService]:
    async with control_service() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_door(control: ControlService) -> AsyncIterator[Door]:
    async with Door(control).standing() as door:
        yield door


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(one_door: Door) -> AsyncIterator[AgentProcess]:
    told = {"CONTROL_URL": f"http://127.0.0.1:{one_door.port}", "INTERNAL_TOKEN": INTERNAL_TOKEN}
    async with agent_process(**told) as running:
        await running.script("reply", {"recall": True})
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def door(one_door: Door) -> Door:
    one_door.how = "open"
    return one_door


async def a_chat(control: ControlService) -> str:
    chat_id = str((await control.request("POST", "/chats", json={})).body["chat_id"])
    await written(control, chat_id, ORDER)
    return chat_id


async def written(control: ControlService, chat_id: str, talk: list[dict[str, str]]) -> None:
    changed = await control.request("PUT", f"/chats/{chat_id}", json={"conversation": talk})
    assert changed.status == 200


def continued(facts: list[Fact]) -> list[dict[str, Any]]:
    return [one.body.model_dump(exclude={"kind"}) for one in facts if isinstance(one.body, ConversationContinued)]


@promise("continued.knows")
async def test_the_agent_knows_what_was_written_and_greets_as_in_any_call(
    control: ControlService, door: Door, agent: AgentProcess
) -> None:
    chat_id = await a_chat(control)
    call = Call(agent, await agent.ring(), conversation=chat_id, disclosure=DISCLOSURE)
    await call.greeted()
    await agent.until_fact(call.phone.call_id, "item", times=2)
    await call.ask("What is my order number?", items=4)
    assert call.spoken == [DISCLOSURE, WELCOME, "The code is 4, 7, 1."]
    facts = await call.end()
    assert continued(facts) == [{"items": 2, "missing": ""}]
    assert {one.conversation_id for one in facts} == {chat_id}
    assert "call_resumed" not in [one.kind for one in facts]
    assert [one.kind for one in facts].count("item") == 4
    assert [one.body.turns for one in facts if isinstance(one.body, CallEnded)] == [1]


@promise("continued.away")
@pytest.mark.parametrize(
    ("how", "missing"),
    [
        ("hanging", "no answer within 2 s"),
        ("broken", "status 500"),
        ("nonsense", "an answer that cannot be read"),
    ],
)
async def test_without_control_the_call_is_answered_and_a_fact_says_what_is_missing(
    control: ControlService, door: Door, agent: AgentProcess, how: str, missing: str
) -> None:
    chat_id = await a_chat(control)
    door.how = how
    call = Call(agent, await agent.ring(), conversation=chat_id)
    await call.greeted()
    await call.ask("What is my order number?", items=3)
    assert call.spoken == [WELCOME, "You gave me no code."]
    facts = await call.end()
    assert continued(facts) == [{"items": 0, "missing": missing}]
    assert {one.conversation_id for one in facts} == {chat_id}


@promise("continued.resumed")
async def test_an_agent_that_takes_the_call_over_knows_chat_and_call_in_their_order(
    control: ControlService, door: Door, agent: AgentProcess
) -> None:
    chat_id = await a_chat(control)
    call = Call(agent, await agent.ring(), conversation=chat_id)
    await call.greeted()
    await call.ask("And my code is 8 2.", items=3)
    # Written while the call is on: the agent that comes next knows it.
    await written(control, chat_id, [*ORDER, {"role": "user", "content": "My room is 9."}])
    facts = await call.replace()
    assert [one.body.items for one in facts if isinstance(one.body, CallResumed)] == [6]
    assert continued(facts) == [{"items": 2, "missing": ""}, {"items": 3, "missing": ""}]
    await eventually(lambda: call.spoken == [f"{LOST_YOU} {GO_ON}"], 10)
    await call.ask("What are they?", items=5)
    assert call.spoken[1:] == ["The code is 8, 2, 4, 7, 1, 9."]
    facts = await call.end()
    assert [one.body.turns for one in facts if isinstance(one.body, CallEnded)] == [2]


async def _present(agent: AgentProcess, room: str) -> list[api.ParticipantInfo]:
    answer = await agent.client.room.list_participants(api.ListParticipantsRequest(room=room))
    return [one for one in answer.participants if one.kind != api.ParticipantInfo.Kind.AGENT]


@promise("continued.trust")
async def test_the_holder_of_a_web_calls_token_cannot_choose_another_conversation(agent: AgentProcess) -> None:
    environment = {**agent.server.environment(), "SWITCHBOARD_HOME": "unused"}
    settings = Settings.model_validate(environment)
    made = web_call(settings, "+15550100001", "ours")
    room = rtc.Room()
    await room.connect(made.url, made.token)
    try:
        await room.local_participant.set_attributes({"switchboard.conversation": "theirs"})
        [who] = await _present(agent, made.room)
        call = call_of(who, room=made.room, room_sid="")
        assert call is not None
        assert (call.conversation_id, call.call_id) == ("ours", made.call_id)
    finally:
        await room.disconnect()


@promise("continued.trust")
async def test_what_a_phone_or_a_browser_says_of_itself_chooses_no_conversation(
    control: ControlService, door: Door, agent: AgentProcess
) -> None:
    chat_id = await a_chat(control)
    lie = {"switchboard.conversation": chat_id, "sip.h.x-switchboard-conversation": chat_id}
    phone = await agent.ring(**lie)
    [who] = await _present(agent, phone.name)
    call = call_of(who, room=phone.name, room_sid="")
    assert call is not None
    assert (call.conversation_id, str(call.call_id)) == (phone.call_id, phone.call_id)
    # Somebody has sent an agent that was told nothing: neither does the agent believe it.
    await _serves_alone(agent, phone.name, phone.call_id)
    name = f"web-{uuid4().hex}"
    browser = rtc.Room()
    await browser.connect(agent.server.url, agent.server.token(name, "liar"))
    await browser.local_participant.set_attributes({"switchboard.dialed": "+15550100001", **lie})
    [who] = await _present(agent, name)
    assert who.attributes["switchboard.conversation"] == chat_id
    assert call_of(who, room=name, room_sid="") is None
    await _serves_alone(agent, name, str(call_id_of_browser(name, "liar")))
    await browser.disconnect()


async def _serves_alone(agent: AgentProcess, room: str, call_id: str) -> None:
    await agent.dispatch(room, "")
    facts = await agent.until_fact(call_id, "persona_applied")
    assert {one.conversation_id for one in facts} == {call_id}
    assert continued(facts) == []
