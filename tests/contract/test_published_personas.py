"""Personas as agents over HTTP: the real process, a real Postgres, a model behind HTTP that notes what it hears."""

import asyncio
import io
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import pytest
import pytest_asyncio

from control.conversations.log import PostgresLog
from control.conversations.runs import MAX_RUNS
from control.conversations.session import DatabaseSession
from control.db.pool import Database, open_database
from local.models.chat import Reply
from switchboard.fact import Item, MessageTaken
from tests.browser import PROXY, Browser, signed_in, user
from tests.control_service import Answer, ControlService, control_service
from tests.facts import a_call, until
from tests.noting_model import NotingModel, calls, noting_model
from tests.postgres_server import server
from tests.promises import promise
from tests.server_events import events_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
# A holder that died lets go of a conversation after 15 s.
LEASE_S = 40.0
AS_JSON = {"Content-Type": "application/json"}
PERSONA = {
    "persona_name": "Corner Bakery",
    "personality": "You are cheerful about {{thing}}.",
    "variables": {"thing": "bread"},
    "model": "baker-1",
    "temperature": 0.25,
    "facts": [
        {"say": "We open at six in the morning.", "asked": ["when do you open", "what are your opening hours"]},
        {"say": "Cakes have to be ordered two days ahead.", "asked": ["can I order a cake"]},
    ],
}


@dataclass
class Bakery:
    """Control with a persona of one test, its slug, and the model that answers for it."""

    control: ControlService
    model: NotingModel
    database: Database
    slug: str

    async def ask(self, body: Any, path: str = "run", **more: Any) -> Answer:
        return await self.control.request("POST", f"/agents/{self.slug}/{path}", json=body, **more)

    async def change(self, **fields: Any) -> None:
        answer = await self.control.request("PUT", f"/personas/{self.slug}", json={**PERSONA, **fields})
        assert answer.status in (200, 201), answer

    async def said(self, session_id: str) -> list[str]:
        items = [cast(dict[str, Any], one) for one in await DatabaseSession(session_id, self.database).get_items()]
        return [_text(one["content"]) for one in items if "content" in one]

    @asynccontextmanager
    async def streaming(self, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """The events of a stream, as (kind, data)."""
        headers = {"Authorization": f"Bearer {self.control.admin_key}"}
        place = f"{self.control.base}/agents/{self.slug}/stream"
        async with self.control.http.post(place, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            yield events_of(answer)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_control() -> AsyncIterator[tuple[ControlService, NotingModel, Database]]:
    async with noting_model() as model:
        services = {
            "LLM_BASE_URL": f"{model.url}/first/v1",
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{model.url}/second/v1",
            "SWITCHBOARD_EMERGENCY_SENTENCE": "Hang up and dial 112.",
        }
        async with control_service(**PROXY, **services) as control, open_database(control.database_url) as database:
            yield control, model, database


@pytest_asyncio.fixture(loop_scope="module")
async def bakery(one_control: tuple[ControlService, NotingModel, Database]) -> Bakery:
    control, model, database = one_control
    model.reset()
    found = Bakery(control, model, database, f"bakery-{uuid4().hex[:8]}")
    await found.change()
    return found


@promise("agents.persona")
async def test_a_persona_answers_with_the_instructions_facts_and_model_of_its_calls(bakery: Bakery) -> None:
    answer = await bakery.ask({"input": "When do you open?"})
    assert answer.status == 200, answer
    session_id = answer.body["session_id"]
    assert answer.body == {"final_output": "All of it is fine.", "success": True, "session_id": session_id}
    asked = bakery.model.asked[-1]
    assert (asked["model"], asked["temperature"]) == ("baker-1", 0.25)
    instructions, facts = bakery.model.system()
    assert instructions.startswith("You are Corner Bakery.\n\nYou are cheerful about bread.")
    assert "say exactly this: Hang up and dial 112." in instructions
    assert "end_call" not in instructions
    [best] = re.findall(r'^{"score": (0\.9\d), "say": "We open at six in the morning."}$', facts, re.MULTILINE)
    assert float(best) > 0.9
    assert [one["role"] for one in asked["messages"]] == ["system", "system", "user"]
    assert {one["function"]["name"] for one in asked["tools"]} == {"look_up", "take_message"}
    assert await bakery.said(session_id) == ["When do you open?", "All of it is fine."]
    bakery.model.replies = [calls("look_up", query="a cake?"), Reply("Two days ahead.")]
    again = await bakery.ask({"input": "And for a birthday?", "session_id": session_id})
    assert (again.status, again.body["final_output"]) == (200, "Two days ahead.")
    roles = [one["role"] for one in bakery.model.asked[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "system", "user", "assistant", "tool"]
    assert "Cakes have to be ordered two days ahead." in bakery.model.asked[-1]["messages"][-1]["content"]


@promise("agents.info")
async def test_a_persona_says_what_it_is_to_whoever_may_see_personas(bakery: Bakery) -> None:
    viewer = await signed_in(bakery.control, (await user(bakery.control, f"eve-{bakery.slug}"))["id"])
    for path in ("info", "info/"):
        answer = await viewer.ask("GET", f"/agents/{bakery.slug}/{path}")
        assert answer.status == 200, answer
        assert answer.body.pop("instructions").startswith("You are Corner Bakery.")
        assert answer.body["session_config"].pop("description")
        base = f"/agents/{bakery.slug}"
        assert answer.body == {
            "name": "Corner Bakery",
            "agent_name": bakery.slug,
            "model": "baker-1",
            "tools_count": 2,
            "handoffs_count": 0,
            "endpoints": {"run": f"{base}/run", "stream": f"{base}/stream", "info": f"{base}/info"},
            "session_config": {"sessions_enabled": True, "session_type": "PostgreSQL"},
        }
    assert (await bakery.control.request("GET", f"/agents/{bakery.slug}/info", key=None)).status == 401


@promise("agents.faults")
async def test_a_request_with_a_fault_begins_nothing(bakery: Bakery) -> None:
    faults: list[Any] = [[], {}, {"input": ""}, {"input": 7}, {"input": "x", "other": 1}, {"input": "a\0"}]
    faults += [{"input": "x", "session_id": one} for one in ("a b", "", "a" * 129, "ä", "a/b", "a\n")]
    for path in ("run", "stream", "run/"):
        for body in faults:
            answer = await bakery.ask(body, path)
            assert (answer.status, answer.body["code"]) == (400, "bad_request"), body
        huge = await bakery.ask(None, path, data=io.BytesIO(b'"' + b"x" * 1_100_000 + b'"'), headers=AS_JSON)
        assert (huge.status, huge.body["code"]) == (413, "too_large")
    assert bakery.model.asked == []


@promise("agents.faults")
async def test_viewers_may_not_run_a_persona_and_the_internal_token_is_nobody(bakery: Bakery) -> None:
    viewer = await signed_in(bakery.control, (await user(bakery.control, f"ed-{bakery.slug}"))["id"])
    operator = await an_operator(bakery)
    for path in ("run", "stream"):
        refused = await viewer.ask("POST", f"/agents/{bakery.slug}/{path}", json={"input": "x"})
        assert (refused.status, refused.body["code"]) == (403, "forbidden")
        internal = await bakery.ask({"input": "x"}, path, key=bakery.control.settings["INTERNAL_TOKEN"])
        assert (internal.status, internal.body["code"]) == (403, "forbidden")
        assert (await bakery.ask({"input": "x"}, path, key=None)).status == 401
        forged = await operator.ask("POST", f"/agents/{bakery.slug}/{path}", json={"input": "x"}, forged=True)
        assert forged.status == 403
    assert bakery.model.asked == []


@promise("agents.faults")
async def test_models_that_fail_are_said_and_leave_nothing_of_the_turn(bakery: Bakery) -> None:
    bakery.model.failing = {"first", "second"}
    body = {"input": "x", "session_id": f"{bakery.slug}:failed"}
    answer = await bakery.ask(body)
    assert (answer.status, answer.body["code"]) == (502, "model_failed")
    async with bakery.streaming(body) as events:
        found = [event async for event in events]
    assert [kind for kind, _ in found] == ["error", "done"]
    assert found[0][1]["code"] == "model_failed"
    assert set(bakery.model.asked_of) == {"first", "second"}
    assert await bakery.said(body["session_id"]) == []
    bakery.model.failing = set()
    assert (await bakery.ask(body)).status == 200
    assert len(await bakery.said(body["session_id"])) == 2
    assert "Traceback" not in bakery.control.log()


@promise("agents.faults")
async def test_what_is_refused_or_fails_leaves_no_conversation(bakery: Bakery) -> None:
    async def conversations() -> int:
        async with bakery.database.session() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM conversations"))

    before = await conversations()
    bakery.model.failing = {"first", "second"}
    for _ in range(2):
        assert (await bakery.ask({"input": "x"})).status == 502
    async with bakery.streaming({"input": "x"}) as events:
        assert [kind async for kind, _ in events] == ["error", "done"]
    assert await conversations() == before
    bakery.model.failing = set()
    bakery.model.gate.clear()
    busy = {"input": "x", "session_id": f"{bakery.slug}:refused"}
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bakery.ask(busy))
        asked = len(bakery.model.asked) + 1
        await until(lambda: _asked(bakery.model, asked))
        assert (await bakery.ask(busy)).status == 409
        assert await conversations() == before
        bakery.model.gate.set()
    assert run.result().status == 200
    assert await conversations() == before + 1


@promise("agents.long")
async def test_a_conversation_that_is_longer_than_a_model_remembers_goes_on(bakery: Bakery) -> None:
    session_id = (await bakery.ask({"input": "First of all"})).body["session_id"]
    session = DatabaseSession(session_id, bakery.database)
    for at in range(30):
        await session.add_items([{"role": "user", "content": f"{at} " + "x" * 10_000}])
    asked = {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": '{"query": "bread"}'}
    await session.add_items([cast(Any, asked), {"type": "function_call_output", "call_id": "c", "output": "Rye."}])
    answer = await bakery.ask({"input": "And now?", "session_id": session_id})
    assert answer.status == 200, answer
    messages = bakery.model.asked[-1]["messages"]
    assert len(str(messages)) < 120_000
    told = [str(one["content"])[:3] for one in messages if one["role"] == "user"]
    assert told == [*(f"{at} "[:3] for at in range(21, 30)), "And"]
    assert [one["role"] for one in messages[-4:]] == ["assistant", "tool", "system", "user"]
    assert len(await bakery.said(session_id)) == 30 + 4


@promise("agents.faults")
async def test_where_no_language_model_is_set_who_asks_is_told_and_all_else_works() -> None:
    async with control_service() as bare:
        for path in ("run", "stream"):
            answer = await bare.request("POST", f"/agents/default/{path}", json={"input": "x"})
            assert (answer.status, answer.body["code"]) == (503, "unavailable")
            assert "LLM_BASE_URL" in answer.body["message"]
        assert (await bare.request("GET", "/personas/default")).status == 200
        assert (await bare.request("GET", "/agents/nobody/info")).status == 404


@promise("agents.failover")
async def test_where_one_service_fails_the_next_one_answers(bakery: Bakery) -> None:
    for broken in ("first", "second"):
        bakery.model.failing = {broken}
        for _ in range(2):
            assert (await bakery.ask({"input": "x"})).body["final_output"] == "All of it is fine."


@promise("agents.changes")
async def test_a_persona_appears_changes_and_goes_while_control_runs(bakery: Bakery) -> None:
    there, bakery.slug = bakery.slug, f"later-{bakery.slug}"

    async def statuses() -> list[int]:
        info = await bakery.control.request("GET", f"/agents/{bakery.slug}/info")
        return [info.status, *[(await bakery.ask({"input": "x"}, path)).status for path in ("run", "stream")]]

    assert await statuses() == [404, 404, 404]
    await bakery.change()
    assert await statuses() == [200, 200, 200]
    assert (await bakery.control.request("DELETE", f"/personas/{bakery.slug}")).status == 204
    assert await statuses() == [404, 404, 404]
    await bakery.change(persona_name="Another Bakery")
    assert (await bakery.control.request("GET", f"/agents/{bakery.slug}/info")).body["name"] == "Another Bakery"
    bakery.slug = there
    assert await statuses() == [200, 200, 200]
    for slug in ("run", "No-Slug", "a%2Fb", "%00", "x" * 64):
        bakery.slug = slug
        assert set(await statuses()) <= {400, 404}


@promise("agents.changes")
async def test_a_run_keeps_the_persona_that_it_began_with(bakery: Bakery) -> None:
    bakery.model.replies = [calls("look_up", query="a cake?"), Reply("Done.")]
    bakery.model.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bakery.ask({"input": "x"}))
        await until(lambda: _asked(bakery.model, 1))
        await bakery.change(personality="You are new.", facts=[], model="baker-2")
        bakery.model.gate.set()
    assert run.result().status == 200
    assert [one["model"] for one in bakery.model.asked] == ["baker-1", "baker-1"]
    assert "cheerful about bread" in bakery.model.system()[0]
    assert "two days ahead" in bakery.model.asked[-1]["messages"][-1]["content"]
    await bakery.ask({"input": "x"})
    assert "You are new." in bakery.model.system()[0]


async def _asked(model: NotingModel, times: int) -> bool:
    return len(model.asked) >= times


async def an_operator(bakery: Bakery) -> Browser:
    made = await user(bakery.control, f"op-{uuid4().hex[:8]}", "operator")
    return await signed_in(bakery.control, made["id"])


@promise("agents.owner")
async def test_a_conversation_is_its_beginners_alone(bakery: Bakery) -> None:
    ann, ben = await an_operator(bakery), await an_operator(bakery)
    base = f"/agents/{bakery.slug}"
    for session_id in (None, f"{bakery.slug}:A_b-1.2"):
        body: dict[str, Any] = {"input": "Mine"} | ({"session_id": session_id} if session_id else {})
        begun = await ann.ask("POST", f"{base}/run", json=body)
        assert begun.status == 200, begun
        mine = begun.body["session_id"]
        assert session_id in (None, mine)
        for path in ("run", "stream"):
            theirs = await ben.ask("POST", f"{base}/{path}", json={"input": "Theirs", "session_id": mine})
            assert (theirs.status, theirs.body["code"]) == (404, "not_found")
        again = await ann.ask("POST", f"{base}/run", json={"input": "Again", "session_id": mine})
        assert again.status == 200
        assert [text for text in await bakery.said(mine) if "fine" not in text] == ["Mine", "Again"]


@promise("agents.owner")
async def test_of_two_that_begin_the_same_conversation_at_once_one_owns_it(bakery: Bakery) -> None:
    both = [await an_operator(bakery), await an_operator(bakery)]
    body = {"input": "Mine", "session_id": f"{bakery.slug}:race"}
    answers = await asyncio.gather(*(one.ask("POST", f"/agents/{bakery.slug}/run", json=body) for one in both))
    # One who comes while it is being begun is told that it is busy, and from then on that there is none.
    assert sorted(one.status for one in answers) in ([200, 404], [200, 409])
    assert len(await bakery.said(body["session_id"])) == 2
    again = [await one.ask("POST", f"/agents/{bakery.slug}/run", json=body) for one in both]
    assert sorted(one.status for one in again) == [200, 404]


@promise("agents.owner")
async def test_a_chat_goes_on_by_its_id_and_calls_and_removed_chats_do_not(bakery: Bakery) -> None:
    ann, ben = await an_operator(bakery), await an_operator(bakery)
    chat = (await ann.ask("POST", "/chats", json={"title": "Cake"})).body["chat_id"]
    place, body = f"/agents/{bakery.slug}/run", {"input": "A cake, please.", "session_id": chat}
    assert (await ben.ask("POST", place, json=body)).status == 404
    assert (await ann.ask("POST", place, json=body)).status == 200
    said = (await ann.ask("GET", f"/chats/{chat}")).body["conversation"]
    assert said == [
        {"role": "user", "content": "A cake, please."},
        {"role": "assistant", "content": "All of it is fine."},
    ]
    assert (await ann.ask("DELETE", f"/chats/{chat}")).status == 204
    assert (await ann.ask("POST", place, json=body)).status == 404
    call_id = uuid4()
    await bakery.control.record(a_call(call_id))
    for one in (ann, ben):
        assert (await one.ask("POST", place, json={"input": "x", "session_id": str(call_id)})).status == 404


@promise("agents.owner")
async def test_who_began_a_conversation_has_it_forgotten_and_it_takes_nothing_more(bakery: Bakery) -> None:
    ann, ben = await an_operator(bakery), await an_operator(bakery)
    place, body = f"/agents/{bakery.slug}/run", {"input": "Mine", "session_id": f"{bakery.slug}:forgotten"}
    assert (await ann.ask("POST", place, json=body)).status == 200
    gone = f"/conversations/{body['session_id']}"
    assert (await ben.ask("DELETE", gone)).status == 404
    assert (await ann.ask("DELETE", gone)).status == 202
    asked = len(bakery.model.asked)
    for one in (ann, ben):
        assert (await one.ask("POST", place, json=body)).status == 404
    assert len(bakery.model.asked) == asked


@promise("agents.stream")
async def test_words_come_as_they_are_written_then_the_whole_and_the_end(bakery: Bakery) -> None:
    bakery.model.replies = [calls("look_up", query="a cake?"), Reply("One two three.")]
    session_id = f"{bakery.slug}:stream"
    async with bakery.streaming({"input": "Count", "session_id": session_id}) as events:
        found = [event async for event in events]
    kinds = ["tool_call", "tool_output", "delta", "delta", "delta", "final", "done"]
    assert [kind for kind, _ in found] == kinds
    assert "".join(data["text"] for kind, data in found if kind == "delta") == "One two three."
    assert found[-2][1] == {"final_output": "One two three.", "session_id": session_id, "success": True}
    assert await bakery.said(session_id) == ["Count", "One two three."]


@promise("agents.stopped")
async def test_a_client_that_goes_away_stops_the_run_and_the_history_holds_what_was_produced(bakery: Bakery) -> None:
    bakery.model.gate.clear()
    session_id = f"{bakery.slug}:gone"
    async with bakery.streaming({"input": "Talk", "session_id": session_id}) as events:
        assert await anext(events) == ("delta", {"text": "All"})

    async def kept() -> bool:
        return len(await bakery.said(session_id)) == 2

    await until(kept)
    bakery.model.gate.set()
    assert await bakery.said(session_id) == ["Talk", "All"]
    found = await PostgresLog(bakery.database).items(session_id)
    assert [cast(Item, event.fact.body).interrupted for event in found] == [False, True]
    assert (await bakery.ask({"input": "Go on", "session_id": session_id})).status == 200


@promise("agents.limits")
async def test_so_many_runs_are_under_way_at_once_and_others_come_again(bakery: Bakery) -> None:
    bakery.model.gate.clear()
    running = [
        asyncio.create_task(bakery.ask({"input": "x", "session_id": f"{bakery.slug}:{at}"})) for at in range(MAX_RUNS)
    ]
    try:
        await until(lambda: _asked(bakery.model, MAX_RUNS))
        for path in ("run", "stream"):
            full = await bakery.ask({"input": "x"}, path)
            assert (full.status, full.body["code"], full.headers["Retry-After"]) == (429, "too_many", "2")
        bakery.model.gate.set()
        assert {one.status for one in await asyncio.gather(*running)} == {200}
    finally:
        bakery.model.gate.set()
        await asyncio.gather(*running, return_exceptions=True)
    assert (await bakery.ask({"input": "x"})).status == 200


@promise("agents.limits")
async def test_a_conversation_takes_one_turn_at_a_time(bakery: Bakery) -> None:
    bakery.model.gate.clear()
    session_id = f"{bakery.slug}:busy"
    async with bakery.streaming({"input": "a", "session_id": session_id}) as events:
        await anext(events)
        for path in ("run", "stream"):
            answer = await bakery.ask({"input": "b", "session_id": session_id}, path)
            assert (answer.status, answer.body["code"]) == (409, "conflict")
        bakery.model.gate.set()
        assert [kind async for kind, _ in events][-1] == "done"
    assert (await bakery.ask({"input": "b", "session_id": session_id})).status == 200
    assert [text for text in await bakery.said(session_id) if len(text) == 1] == ["a", "b"]


@promise("agents.message")
async def test_a_message_that_is_taken_is_on_record_with_its_turn(bakery: Bakery) -> None:
    bakery.model.replies = [calls("take_message", name="Ann", number="123", text="Two loaves."), Reply("Taken.")]
    session_id = f"{bakery.slug}:message"
    assert (await bakery.ask({"input": "Yes, that is right.", "session_id": session_id})).status == 200
    facts = [event.fact for event in await PostgresLog(bakery.database).read(session_id)]
    [taken] = [one for one in facts if isinstance(one.body, MessageTaken)]
    assert taken.body == MessageTaken(name="Ann", number="123", text="Two loaves.")
    assert taken.source == "control"
    bakery.model.replies = [calls("take_message", name="Ann", number="123", text="Two loaves.")]
    bakery.model.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bakery.ask({"input": "x", "session_id": (lost := f"{bakery.slug}:lost")}))
        await until(lambda: _asked(bakery.model, 3))
        bakery.model.gate.set()
        await until(lambda: _asked(bakery.model, 4))
        bakery.model.failing = {"first", "second"}
    assert run.result().status == 502
    assert list(await PostgresLog(bakery.database).read(lost)) == []


@promise("agents.metrics")
async def test_sessions_runs_and_tokens_are_counted_for_each_persona_those_of_failed_runs_too(bakery: Bakery) -> None:
    async def counted() -> dict[str, float]:
        text = (await bakery.control.request("GET", "/metrics", key=None)).body
        lines = re.findall(rf'^switchboard_agent_(\w+){{agent="{bakery.slug}"(.*?)}} (\S+)$', text, re.MULTILINE)
        return {name + "".join(re.findall(r'="(\w+)"', more)): float(value) for name, more, value in lines}

    bakery.model.replies = [Reply("one two three")]
    session_id = (await bakery.ask({"input": "x"})).body["session_id"]
    async with bakery.streaming({"input": "x", "session_id": session_id}) as events:
        assert [kind async for kind, _ in events][-1] == "done"
    found = await counted()
    assert (found["sessions_total"], found["runs_totaldone"], found["tokens_totaloutput"]) == (1, 2, 6)
    assert (found["run_seconds_count"], found["first_delta_seconds_count"]) == (2, 1)
    assert found["tokens_totalinput"] > 20
    bakery.model.replies = [calls("look_up", query="x"), calls("no_such_tool")]
    assert (await bakery.ask({"input": "x"})).status == 502
    after = await counted()
    assert (after["runs_totalfailed"], after["sessions_total"]) == (1, 1)
    assert after["tokens_totaloutput"] == 8
    assert after["tokens_totalinput"] > found["tokens_totalinput"]


@promise("agents.away")
async def test_without_a_database_the_answer_is_503_and_with_it_the_history_is_whole(bakery: Bakery) -> None:
    session_id = f"{bakery.slug}:away"
    await bakery.ask({"input": "a", "session_id": session_id})
    await asyncio.to_thread(server().kill)
    try:
        for path in ("run", "stream"):
            answer = await bakery.ask({"input": "b", "session_id": session_id}, path)
            assert (answer.status, answer.body["code"]) == (503, "unavailable")
        assert (await bakery.control.request("GET", f"/agents/{bakery.slug}/info")).status == 503
    finally:
        await asyncio.to_thread(server().start)

    async def served() -> bool:
        return (await bakery.ask({"input": "c", "session_id": session_id})).status == 200

    await until(served)
    assert [text for text in await bakery.said(session_id) if len(text) == 1] == ["a", "c"]


@promise("agents.killed")
async def test_control_killed_in_a_run_leaves_the_history_as_it_was(bakery: Bakery) -> None:
    session_id = f"{bakery.slug}:killed"
    await bakery.ask({"input": "a", "session_id": session_id})
    bakery.model.gate.clear()
    async with bakery.streaming({"input": "b", "session_id": session_id}) as events:
        await anext(events)
        await bakery.control.end(signal.SIGKILL)
    bakery.model.gate.set()
    assert len(await bakery.said(session_id)) == 2
    await bakery.control.start()

    async def served() -> bool:
        return (await bakery.ask({"input": "c", "session_id": session_id})).status == 200

    await until(served, LEASE_S)
    assert [text for text in await bakery.said(session_id) if len(text) == 1] == ["a", "c"]


@promise("agents.ended")
async def test_control_that_is_told_to_end_keeps_what_its_runs_have_produced(bakery: Bakery) -> None:
    session_id = f"{bakery.slug}:ended"
    bakery.model.gate.clear()
    async with bakery.streaming({"input": "b", "session_id": session_id}) as events:
        await anext(events)
        assert await bakery.control.end(signal.SIGTERM) == 0
    bakery.model.gate.set()
    assert await bakery.said(session_id) == ["b", "All"]
    await bakery.control.start()
