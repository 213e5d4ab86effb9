"""A chat goes on as a call and the call as a chat, through everything that a user's own program would use."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from agents import Agent, OpenAIChatCompletionsModel
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from livekit import rtc
from openai import AsyncOpenAI

from control.conversations.agent_router import RunRequest, create_agent_router
from control.conversations.session import DatabaseSession
from control.db.pool import open_database
from tests.e2e.control_client import Json, ask, ended, has, recorded
from tests.e2e.stack import LocalStack
from tests.promises import promise

HARBOR = "+15550100001"
WRITTEN = [{"role": "user", "content": "My order number is 4 7 1."}, {"role": "assistant", "content": "Thank you."}]


async def code_of(stack: LocalStack, place: str) -> str:
    return str((await ask(stack, "POST", f"{place}/codes"))["code"])


async def kill_agent_of(stack: LocalStack, call_id: str) -> None:
    url = f"http://127.0.0.1:{stack.env['AGENT_PORT']}/calls"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        [pid] = [one["pid"] for one in await answer.json() if one["call_id"] == call_id]
    os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def recalling(stack: LocalStack) -> AsyncIterator[str]:
    """The models' address, while the language model answers with the digits that users have said."""
    models = stack.settings["LLM_BASE_URL"]
    async with aiohttp.ClientSession() as http:
        async with http.post(models.replace("/v1", "/scripted/reply"), json={"recall": True}) as answer:
            assert answer.status == 200
        yield models
        async with http.delete(models.replace("/v1", "/scripted")) as answer:
            assert answer.status == 200


def asked_at_the_desk(stack: LocalStack, models: str, session_id: str, words: str) -> Json:
    """What the agent of a program of one's own answers in one of the stack's conversations."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_database(stack.env["DATABASE_URL"]) as app.state.database:
            yield

    async def session(body: RunRequest, request: Request) -> DatabaseSession:
        return DatabaseSession(str(body.session_id), request.app.state.database)

    model = OpenAIChatCompletionsModel("scripted", AsyncOpenAI(base_url=models, api_key="none"))
    app = FastAPI(lifespan=lifespan)
    app.include_router(
        create_agent_router(Agent("Desk", instructions="Help.", model=model), "/desk", "desk", session)
    )
    with TestClient(app) as program:
        return dict(program.post("/desk/run", json={"input": words, "session_id": session_id}).json())


@promise("call.continued")
async def test_a_chat_goes_on_as_a_call_and_the_call_as_a_chat_and_nothing_said_is_forgotten(
    scripted_stack: LocalStack,
) -> None:
    stack = scripted_stack
    chat_id = (await ask(stack, "POST", "/chats", {"title": "Order"}))["chat_id"]
    await ask(stack, "PUT", f"/chats/{chat_id}", {"conversation": WRITTEN})
    async with recalling(stack) as models:
        code = await code_of(stack, f"/chats/{chat_id}")
        given = await ask(stack, "POST", "/calls/web", {"number": HARBOR, "code": code})
        browser, call_id = rtc.Room(), given["call_id"]
        await browser.connect(given["url"], given["token"])
        await recorded(stack, call_id, has("item"))
        await browser.local_participant.send_text("What is my order number?", topic="lk.chat")
        found = await recorded(stack, call_id, has("item", 3))
        assert found["conversation_id"] == chat_id
        assert found["transcript"][-1]["text"] == "The code is 4, 7, 1."
        await browser.local_participant.send_text("My room is 8.", topic="lk.chat")
        await recorded(stack, call_id, has("item", 5))
        await kill_agent_of(stack, call_id)
        await recorded(stack, call_id, has("call_resumed"))
        await browser.local_participant.send_text("What did I tell you?", topic="lk.chat")
        found = await recorded(stack, call_id, has("item", 7))
        assert found["transcript"][-1]["text"] == "The code is 4, 7, 1, 8."
        await browser.disconnect()
        call = await recorded(stack, call_id, ended)

        said = [line["text"] for line in call["transcript"]]
        both = [*(one["content"] for one in WRITTEN), *said]
        code = await code_of(stack, f"/calls/{call_id}")
        chat = await ask(stack, "POST", "/chats", {"code": code})
        assert (chat["chat_id"], chat["title"]) == (chat_id, "Order")
        assert [one["content"] for one in chat["conversation"]] == both
        answer = await asyncio.to_thread(asked_at_the_desk, stack, models, chat_id, "And 9?")
    assert answer == {"final_output": "The code is 4, 7, 1, 8, 9.", "success": True, "session_id": chat_id}
    chat = await ask(stack, "GET", f"/chats/{chat_id}")
    assert [one["content"] for one in chat["conversation"]] == [*both, "And 9?", "The code is 4, 7, 1, 8, 9."]
    assert (await ask(stack, "GET", f"/calls/{call_id}"))["transcript"] == call["transcript"]
