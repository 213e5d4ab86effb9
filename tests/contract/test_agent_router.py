"""Agents over HTTP: the example of docs/, as a program of its own with a real Postgres and a model behind HTTP."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from agents import Agent
from fastapi import FastAPI, HTTPException

from control.conversations.agent_router import RunRequest, create_agent_router
from control.conversations.log import PostgresLog
from control.conversations.runs import MAX_RUNS
from control.conversations.session import DatabaseSession
from control.db.pool import Database, open_database
from local.ports import free_port
from switchboard.fact import Item
from tests.deployment import ROOT
from tests.facts import until
from tests.models_process import running
from tests.postgres_server import fresh_database, server
from tests.promises import promise
from tests.server_events import events_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
RED, BLUE = "red-key", "blue-key"
# A holder that died lets go of a conversation after 15 s.
LEASE_S = 40.0
# Streams would hold up the end of the program for as long as they last.
GRACE = ("--timeout-graceful-shutdown", "2")


@dataclass
class Shop:
    """The program, the model that its agents ask, and the database behind it."""

    url: str
    environment: dict[str, str]
    http: aiohttp.ClientSession
    models: str
    database: Database
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        port = self.url.rpartition(":")[2]
        command = ("-m", "uvicorn", "--app-dir", "docs/examples", "--port", port, *GRACE, "shop:app")
        self.process = await asyncio.create_subprocess_exec(sys.executable, *command, env=self.environment, cwd=ROOT)
        await until(self._answers)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(how)
            async with asyncio.timeout(30):
                await self.process.wait()

    async def ask(self, path: str, body: Any, *, key: str = RED) -> tuple[int, Any]:
        headers = {"X-Key": key, "Content-Type": "application/json"}
        data = body if isinstance(body, str) else json.dumps(body)
        async with self.http.post(self.url + path, data=data, headers=headers) as answer:
            return answer.status, await answer.json()

    async def model(self, what: str, told: dict[str, Any]) -> None:
        async with self.http.post(f"{self.models}/scripted/{what}", json=told) as answer:
            assert answer.status == 200, await answer.text()

    async def said(self, session_id: str) -> list[str]:
        items = [cast(dict[str, Any], one) for one in await DatabaseSession(session_id, self.database).get_items()]
        return [_text(one["content"]) for one in items if "content" in one]

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None
        try:
            async with self.http.get(self.url + "/counter/info") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_shop() -> AsyncIterator[Shop]:
    async with (
        fresh_database() as url,
        running("local.models.scripted") as models,
        aiohttp.ClientSession() as http,
        open_database(url) as database,
    ):
        told = {"OPENAI_BASE_URL": f"{models}/v1", "OPENAI_API_KEY": "none", "SHOP_KEYS": f"red={RED},blue={BLUE}"}
        environment = {**os.environ, **told, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
        shop = Shop(f"http://127.0.0.1:{free_port()}", environment, http, models, database)
        try:
            await shop.start()
            yield shop
        finally:
            await shop.end(signal.SIGKILL)


@pytest_asyncio.fixture(loop_scope="module")
async def shop(one_shop: Shop) -> Shop:
    """With a model that is as new."""
    async with one_shop.http.delete(f"{one_shop.models}/scripted") as answer:
        assert answer.status == 200
    await one_shop.model("times", {"first_token_ms": 0, "token_ms": 0})
    return one_shop


@asynccontextmanager
async def streaming(shop: Shop, body: dict[str, Any], path: str = "/counter/stream") -> AsyncIterator[Any]:
    """The events of a stream, as (kind, data)."""
    async with shop.http.post(shop.url + path, json=body, headers={"X-Key": RED}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield events_of(answer)


@promise("router.run")
async def test_an_agent_answers_and_remembers_and_another_one_reads_the_same_history(shop: Shop) -> None:
    await shop.model("reply", {"text": "Hello."})
    status, first = await shop.ask("/counter/run", {"input": "My code is 3 3 7."})
    assert (status, first["final_output"], first["success"]) == (200, "Hello.", True)
    await shop.model("reply", {"recall": True})
    body = {"input": "What is it?", "session_id": first["session_id"]}
    for path in ("/counter/run", "/billing/run"):
        assert await shop.ask(path, body) == (
            200,
            {"final_output": "The code is 3, 3, 7.", "success": True, "session_id": first["session_id"]},
        )
    assert len(await shop.said(first["session_id"])) == 6


@promise("router.run")
async def test_a_conversation_has_the_id_that_its_client_chose(shop: Shop) -> None:
    status, answer = await shop.ask("/counter/run", {"input": "Hi", "session_id": "red:A_b-1.2"})
    assert (status, answer["session_id"]) == (200, "red:A_b-1.2")


@promise("router.info")
async def test_an_agent_says_what_it_is(shop: Shop) -> None:
    async with shop.http.get(shop.url + "/counter/info") as answer:
        found = await answer.json()
    assert found["session_config"].pop("description")
    assert found == {
        "name": "Counter",
        "agent_name": "counter",
        "instructions": "You sell tools. Questions about invoices go to Billing.",
        "model": "gpt-4.1-mini",
        "tools_count": 1,
        "handoffs_count": 1,
        "endpoints": {"run": "/counter/run", "stream": "/counter/stream", "info": "/counter/info"},
        "session_config": {"sessions_enabled": True, "session_type": "PostgreSQL"},
    }


@promise("router.errors")
@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        {},
        {"input": ""},
        {"input": 7},
        {"input": "a\0"},
        {"input": "x", "other": 1},
        {"input": "x", "session_id": "a b"},
        {"input": "x", "session_id": "red:" + "a" * 125},
    ],
    ids=str,
)
async def test_a_request_with_a_fault_is_told_which(shop: Shop, body: Any) -> None:
    for path in ("/counter/run", "/counter/stream"):
        status, answer = await shop.ask(path, body)
        assert (status, answer["code"]) == (400, "bad_request")
        assert answer["message"]


@promise("router.errors")
async def test_the_host_says_who_may(shop: Shop) -> None:
    for path in ("/counter/run", "/billing/stream"):
        assert (await shop.ask(path, {"input": "x"}, key="none"))[0] == 401
        status, answer = await shop.ask(path, {"input": "x", "session_id": "red:mine"}, key=BLUE)
        assert (status, answer) == (404, {"code": "not_found", "message": "There is no such conversation."})


@promise("router.errors")
async def test_a_model_that_fails_is_said_and_leaves_nothing_of_the_turn(shop: Shop) -> None:
    await shop.model("failures", {"llm": "error"})
    session_id = "red:failed"
    status, answer = await shop.ask("/counter/run", {"input": "x", "session_id": session_id})
    assert (status, answer["code"]) == (502, "model_failed")
    async with streaming(shop, {"input": "x", "session_id": session_id}) as events:
        found = [event async for event in events]
    assert [kind for kind, _ in found] == ["error", "done"]
    assert found[0][1]["code"] == "model_failed"
    assert await shop.said(session_id) == []
    await shop.model("failures", {"llm": None})
    assert (await shop.ask("/counter/run", {"input": "x", "session_id": session_id}))[0] == 200
    assert len(await shop.said(session_id)) == 2


@promise("router.stream")
async def test_words_come_as_they_are_said_then_the_whole_and_the_end(shop: Shop) -> None:
    await shop.model("reply", {"text": "One two three."})
    async with streaming(shop, {"input": "Count", "session_id": "red:stream"}) as events:
        found = [event async for event in events]
    assert [kind for kind, _ in found] == ["delta", "delta", "delta", "final", "done"]
    assert "".join(data["text"] for kind, data in found if kind == "delta") == "One two three."
    assert found[-2][1] == {"final_output": "One two three.", "session_id": "red:stream", "success": True}
    assert await shop.said("red:stream") == ["Count", "One two three."]


@promise("router.stream")
async def test_tools_and_handoffs_are_told(shop: Shop) -> None:
    await shop.model("reply", {"text": "Twelve.", "tool_calls": [{"name": "stock", "arguments": {"article": "saw"}}]})
    async with streaming(shop, {"input": "How many saws?"}) as events:
        found = [event async for event in events]
    assert [kind for kind, _ in found] == ["tool_call", "tool_output", "delta", "final", "done"]
    assert (found[0][1]["name"], json.loads(found[0][1]["arguments"])) == ("stock", {"article": "saw"})
    assert found[1][1] == {"call_id": found[0][1]["call_id"], "output": "There are 12 of saw."}
    await shop.model("reply", {"text": "Paid.", "tool_calls": [{"name": "transfer_to_billing", "arguments": {}}]})
    async with streaming(shop, {"input": "My invoice?"}) as events:
        kinds = [(kind, data) async for kind, data in events]
    assert ("handoff", {"agent": "Billing"}) in kinds


@promise("router.stopped")
async def test_a_client_that_goes_away_stops_the_run_and_the_history_holds_what_was_produced(shop: Shop) -> None:
    await shop.model("times", {"first_token_ms": 0, "token_ms": 50})
    await shop.model("reply", {"text": " ".join(f"w{at}" for at in range(400))})
    heard: list[str] = []
    async with streaming(shop, {"input": "Talk", "session_id": "red:gone"}) as events:
        async for _kind, data in events:
            heard.append(data["text"])
            if len(heard) == 5:
                break

    async def kept() -> bool:
        return len(await shop.said("red:gone")) == 2

    await until(kept)
    words, answer = await shop.said("red:gone")
    assert words == "Talk"
    assert answer.startswith("".join(heard))
    assert len(answer.split()) < 100
    events = await PostgresLog(shop.database).items("red:gone")
    assert [cast(Item, event.fact.body).interrupted for event in events] == [False, True]
    await shop.model("times", {"first_token_ms": 0, "token_ms": 0})
    assert (await shop.ask("/counter/run", {"input": "Go on", "session_id": "red:gone"}))[0] == 200


@promise("router.stopped")
async def test_wherever_a_client_leaves_what_it_heard_is_history(shop: Shop) -> None:
    # It says no more than three words, or the whole and nothing behind it.
    await shop.model("reply", {"text": "a b c, d e f."})
    for words in (1, 2, 3, 6):
        await shop.model("failures", {"llm": "stall" if words < 6 else None})
        session_id, heard = f"red:left-{words}", ""
        async with streaming(shop, {"input": "Talk", "session_id": session_id}) as events:
            for _ in range(words):
                heard += (await anext(events))[1]["text"]

        async def kept(session_id: str = session_id) -> bool:
            return len(await shop.said(session_id)) == 2

        await until(kept)
        assert (await shop.said(session_id))[1].startswith(heard)
        [_, answer] = await PostgresLog(shop.database).items(session_id)
        assert words == 6 or cast(Item, answer.fact.body).interrupted


@promise("router.busy")
async def test_a_conversation_takes_one_turn_at_a_time(shop: Shop) -> None:
    await shop.model("reply", {"text": "one two, three four."})
    await shop.model("failures", {"llm": "stall"})
    async with streaming(shop, {"input": "a", "session_id": "red:busy"}) as events:
        await anext(events)
        status, answer = await shop.ask("/billing/run", {"input": "b", "session_id": "red:busy"})
        assert (status, answer["code"]) == (409, "conflict")
        await shop.model("failures", {"llm": None})
        assert (await shop.ask("/billing/run", {"input": "b", "session_id": "red:other"}))[0] == 200

    async def free() -> bool:
        return (await shop.ask("/billing/run", {"input": "b", "session_id": "red:busy"}))[0] == 200

    await until(free)
    assert [text for text in await shop.said("red:busy") if len(text) == 1] == ["a", "b"]


@promise("router.away")
async def test_without_a_database_the_answer_is_503_and_with_it_the_history_is_whole(shop: Shop) -> None:
    await shop.ask("/counter/run", {"input": "a", "session_id": "red:away"})
    await asyncio.to_thread(server().kill)
    try:
        for path in ("/counter/run", "/counter/stream"):
            status, answer = await shop.ask(path, {"input": "b", "session_id": "red:away"})
            assert (status, answer["code"]) == (503, "unavailable")
    finally:
        await asyncio.to_thread(server().start)

    async def served() -> bool:
        return (await shop.ask("/counter/run", {"input": "c", "session_id": "red:away"}))[0] == 200

    await until(served)
    assert [text for text in await shop.said("red:away") if len(text) == 1] == ["a", "c"]


@promise("router.limits")
async def test_more_runs_at_once_than_a_router_has_are_told_to_come_again(shop: Shop) -> None:
    await shop.model("failures", {"llm": "hang"})
    running = [asyncio.create_task(shop.ask("/counter/run", {"input": "x"})) for _ in range(MAX_RUNS)]
    try:
        await until(lambda: _asked(shop, MAX_RUNS))
        for path in ("/counter/run", "/counter/stream"):
            async with shop.http.post(shop.url + path, json={"input": "x"}, headers={"X-Key": RED}) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
                assert (await answer.json())["code"] == "too_many"
        await shop.model("failures", {"llm": None})
        assert (await shop.ask("/billing/run", {"input": "x"}))[0] == 200
    finally:
        await shop.end(signal.SIGKILL)
        await asyncio.gather(*running, return_exceptions=True)
    await shop.start()


async def _asked(shop: Shop, times: int) -> bool:
    async with shop.http.get(f"{shop.models}/scripted/stats") as answer:
        return int((await answer.json())["llm"]) >= times


@promise("router.limits")
async def test_a_host_that_forbids_is_the_answer() -> None:
    async def session(body: RunRequest) -> DatabaseSession:
        raise HTTPException(403, f"{len(body.input)} letters are forbidden here.")

    app = FastAPI()
    app.include_router(create_agent_router(Agent("Closed"), "/closed", "closed", session))
    port = free_port()
    serving = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as http:
        tasks.create_task(serving.serve())
        await until(lambda: _is_started(serving))
        for path in ("run", "stream"):
            async with http.post(f"http://127.0.0.1:{port}/closed/{path}", json={"input": "abc"}) as answer:
                assert answer.status == 403
                assert await answer.json() == {"code": "forbidden", "message": "3 letters are forbidden here."}
        serving.should_exit = True


async def _is_started(serving: uvicorn.Server) -> bool:
    return serving.started


@promise("router.killed")
async def test_a_program_killed_in_a_run_leaves_the_history_as_it_was(shop: Shop) -> None:
    await shop.ask("/counter/run", {"input": "a", "session_id": "red:killed"})
    await shop.model("failures", {"llm": "stall"})
    async with streaming(shop, {"input": "b", "session_id": "red:killed"}) as events:
        await anext(events)
        await shop.end(signal.SIGKILL)
    await shop.model("failures", {"llm": None})
    assert len(await shop.said("red:killed")) == 2
    await shop.start()

    async def served() -> bool:
        return (await shop.ask("/counter/run", {"input": "c", "session_id": "red:killed"}))[0] == 200

    await until(served, LEASE_S)
    assert [text for text in await shop.said("red:killed") if len(text) == 1] == ["a", "c"]


@promise("router.ended")
async def test_a_program_that_is_told_to_end_keeps_what_its_runs_have_produced(shop: Shop) -> None:
    await shop.model("reply", {"text": "one two, three four five."})
    await shop.model("failures", {"llm": "stall"})
    async with streaming(shop, {"input": "b", "session_id": "red:ended"}) as events:
        await anext(events)
        await shop.end(signal.SIGTERM)
    await shop.model("failures", {"llm": None})
    assert len(await shop.said("red:ended")) == 2
    await shop.start()
