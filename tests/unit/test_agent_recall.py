import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from livekit.agents import llm
from livekit.agents.voice import FunctionToolsExecutedEvent

from agent.greeting import GO_ON, LOST_YOU, greeting
from agent.history import Earlier
from agent.recall import MOST_ITEMS, Past, in_order, past
from agent.report import Report
from switchboard import fact, outbox
from switchboard.dispatch import DispatchMetadata
from switchboard.fact import Fact, Source
from switchboard.history import Said
from switchboard.persona import Persona
from switchboard.settings import Settings
from tests.facts import NOON, said

CALL = uuid4()
DISCLOSURE, WELCOME = "This call is  recorded.", "Good day."
PERSONA, _ = Persona.read({"persona_name": "Test", "disclosure": DISCLOSURE})


def facts(*bodies: fact.AnyBody) -> list[Fact]:
    """A second apart."""
    return [
        Fact(conversation_id="c", call_id=CALL, at=NOON + timedelta(seconds=at), source=Source.AGENT, body=body)
        for at, body in enumerate(bodies)
    ]


def user(text: str) -> fact.Item:
    return fact.Item(item={"role": "user", "content": text})


def assistant(text: str, **more: Any) -> fact.Item:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return fact.Item(item={"type": "message", "role": "assistant", "content": content}, **more)


def tool(call_id: str) -> fact.Item:
    return fact.Item(item={"type": "function_call", "call_id": call_id, "name": "look_up", "arguments": "{}"})


def result(call_id: str) -> fact.Item:
    return fact.Item(item={"type": "function_call_output", "call_id": call_id, "output": "Half past six."})


def after(*bodies: fact.AnyBody) -> Past:
    return Past(tuple(facts(*bodies)))


ANSWERED = fact.CallAnswered(after_s=0.4)


def test_the_model_is_told_the_conversation_in_order_and_no_half_tool_call() -> None:
    talk = after(assistant("Good day."), user("When?"), tool("a"), result("a"), tool("b"), result("c"))
    wire, _ = llm.ChatContext(talk.chat()).to_provider_format("openai")
    assert [one["role"] for one in wire] == ["assistant", "user", "assistant", "tool"]
    assert [one.get("content") for one in wire] == ["Good day.", "When?", None, "Half past six."]
    assert wire[2]["tool_calls"][0]["function"]["name"] == "look_up"


def test_agents_that_came_are_counted_and_attempts_that_found_no_worker_are_not() -> None:
    came = [fact.AgentJoined(attempt=at, job=f"AJ_{at}") for at in (1, 4, 4)]
    assert Past(tuple(in_order(facts(*came), 7))).agents == 2
    assert Past().agents == 0


def test_of_a_long_conversation_the_newest_is_told() -> None:
    talk = after(tool("a"), result("a"), *(user(str(at)) for at in range(MOST_ITEMS - 1)))
    chat = talk.chat()
    assert all(isinstance(one, llm.ChatMessage) for one in chat)
    assert isinstance(chat[-1], llm.ChatMessage)
    assert (len(chat), chat[-1].text_content) == (MOST_ITEMS - 1, str(MOST_ITEMS - 2))


def test_what_was_restored_comes_before_what_is_said_next_whatever_another_hosts_clock_says() -> None:
    ahead = [one.model_copy(update={"at": one.at.replace(year=2100)}) for one in facts(user("Hello"))]
    chat = llm.ChatContext(Past(tuple(ahead)).chat())
    chat.insert(llm.ChatMessage(role="user", content=["And?"]))
    assert [one.text_content for one in chat.messages()] == ["Hello", "And?"]


def test_each_fact_counts_once_in_the_order_of_time_and_the_agents_own_not_at_all() -> None:
    told = facts(fact.AgentJoined(attempt=1, job="a"), user("One"), user("Two"), fact.AgentJoined(attempt=2, job="b"))
    assert [one.id for one in in_order([told[2], *told, told[1]], 2)] == [one.id for one in told[:3]]


def test_a_call_goes_on_counting_where_it_was() -> None:
    talk = after(fact.AgentJoined(attempt=1, job="a"), ANSWERED, assistant("Good day."), user("One"), user("Two"))
    assert (talk.began, talk.turns, talk.answered, talk.unanswered) == (NOON, 2, True, True)
    late = after(user("One").model_copy(update={"offset_s": 100.0}))
    assert late.began == NOON - timedelta(seconds=100)
    assert Past().began is None
    assert Past().talked_s == 0
    assert talk.talked_s > 1


@pytest.mark.parametrize(
    ("past", "apology", "disclosure", "welcome", "answers"),
    [
        (after(ANSWERED), (LOST_YOU,), DISCLOSURE, WELCOME, False),
        (after(ANSWERED, assistant("This call is recorded.")), (LOST_YOU,), "", WELCOME, False),
        (after(ANSWERED, assistant(WELCOME, interrupted=True)), (LOST_YOU,), DISCLOSURE, "", False),
        (after(assistant(DISCLOSURE), assistant("Good")), (LOST_YOU, GO_ON), "", "", False),
        (after(assistant(DISCLOSURE), assistant("Good"), user("When?")), (LOST_YOU,), "", "", True),
        (after(assistant(DISCLOSURE), user("When?"), tool("a"), result("a")), (LOST_YOU,), "", "", True),
        (after(assistant(DISCLOSURE), user("When?"), assistant("At six.")), (LOST_YOU, GO_ON), "", "", False),
    ],
)
def test_a_caller_who_was_lost_hears_what_is_missing_and_nothing_twice(
    past: Past, apology: tuple[str, ...], disclosure: str, welcome: str, answers: bool
) -> None:
    first = greeting(PERSONA, WELCOME, past, lost=True)
    assert (first.apology, first.disclosure, first.welcome, first.answers) == (apology, disclosure, welcome, answers)


def test_a_caller_who_heard_nobody_yet_is_greeted() -> None:
    first = greeting(PERSONA, WELCOME, Past(), lost=False)
    assert (first.apology, first.disclosure, first.welcome, first.answers) == ((), DISCLOSURE, WELCOME, False)


def _metadata(attempt: int) -> DispatchMetadata:
    return DispatchMetadata(conversation_id=str(CALL), call_id=CALL, attempt=attempt)


async def test_without_redis_the_files_tell_also_with_half_a_line_at_their_end(tmp_path: Path) -> None:
    settings = Settings.model_validate({"SWITCHBOARD_HOME": tmp_path, "REDIS_URL": "redis://127.0.0.1:1"})
    told = facts(fact.AgentJoined(attempt=1, job="a"), ANSWERED, user("When?"), fact.Dtmf(digit="1"))
    file = outbox.folder(tmp_path) / f"{CALL}-1-AJ_a.jsonl"
    file.parent.mkdir()
    lines = [one.model_dump_json() for one in [*told, said("c", "Half", call_id=CALL)]]
    file.write_text("\n".join(lines)[:-20])
    async with asyncio.timeout(2):
        found = await past(settings, _metadata(2))
    assert [one.id for one in found.facts] == [one.id for one in told[:3]]
    assert await past(settings, _metadata(1)) == Past()
    assert await past(settings, None) == Past()


async def test_nothing_known_is_an_empty_past(tmp_path: Path) -> None:
    settings = Settings.model_validate({"SWITCHBOARD_HOME": tmp_path, "REDIS_URL": "redis://127.0.0.1:1"})
    assert await past(settings, _metadata(2)) == Past(whole=False)


class _Kept:
    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def put(self, one: Fact) -> None:
        self.facts.append(one)


def _report(box: _Kept, attempt: int, past: Past = Past()) -> Report:  # noqa: B008
    return Report(box, conversation_id="c", call_id=CALL, attempt=attempt, past=past)  # type: ignore[arg-type]


def test_a_message_that_two_agents_of_a_call_take_is_one_fact() -> None:
    box = _Kept()
    message = fact.MessageTaken(name="Ann", number="5550100", text="Call me.")
    for attempt, body in ((1, message), (2, message), (2, message.model_copy(update={"text": "Do call me."}))):
        _report(box, attempt).add(body)
    first, second, other = (one.id for one in box.facts)
    assert first == second != other


def test_turns_and_duration_of_a_call_are_those_of_all_its_agents() -> None:
    box = _Kept()
    report = _report(box, 2, after(fact.AgentJoined(attempt=1, job="a"), user("One"), user("Two")))
    report.ended("silence", {}, {})
    ended = box.facts[0].body
    assert isinstance(ended, fact.CallEnded)
    assert ended.turns == 2
    assert ended.duration_s == pytest.approx((box.facts[0].at - NOON).total_seconds(), abs=0.1)


def test_a_tool_call_is_on_record_and_recalled_with_its_result() -> None:
    box = _Kept()
    call = llm.FunctionCall(call_id="a", name="look_up", arguments='{"query": "breakfast"}')
    output = llm.FunctionCallOutput(call_id="a", name="look_up", output="Half past six.", is_error=False)
    _report(box, 1).tools(FunctionToolsExecutedEvent(function_calls=[call], function_call_outputs=[output]))
    again_call, again_output = Past(tuple(box.facts)).chat()
    assert isinstance(again_call, llm.FunctionCall)
    assert isinstance(again_output, llm.FunctionCallOutput)
    assert (again_call.call_id, again_call.name, again_call.arguments) == (call.call_id, call.name, call.arguments)
    assert (again_output.call_id, again_output.output) == (output.call_id, output.output)


def test_what_was_written_beside_the_call_is_told_in_the_order_of_time_and_counts_as_nothing_of_the_call() -> None:
    beside = [
        Said(at=NOON - timedelta(days=1), body=user("My name is Ann.")),
        Said(at=NOON + timedelta(seconds=1.5), body=user("Typed")),
    ]
    talk = replace(after(assistant(WELCOME), user("One"), user("Two")), earlier=Earlier(tuple(beside)))
    assert [one.text_content for one in talk.chat() if isinstance(one, llm.ChatMessage)] == [
        "My name is Ann.",
        WELCOME,
        "One",
        "Typed",
        "Two",
    ]
    assert (talk.turns, talk.said, talk.began) == (2, [WELCOME], NOON)
    fresh = Past(earlier=Earlier(tuple(beside)))
    assert (fresh.answered, fresh.unanswered, fresh.turns, fresh.began) == (False, False, 0, None)
