import json
from pathlib import Path
from uuid import uuid4

from livekit.agents import FunctionToolsExecutedEvent, llm

from agent.recall import Past
from agent.report import MAX_BYTES, Report, capped, cost_of
from switchboard import fact, stream
from switchboard.outbox import Outbox, facts_in

USAGE = {
    "api.openai.com/gpt-4.1-mini": {"input_tokens": 1_000.0, "output_tokens": 100.0},
    "127.0.0.1:8092/local": {"characters_count": 500.0},
}


def test_a_call_costs_what_its_priced_models_used() -> None:
    prices = {"gpt-4.1-mini": {"input_tokens": 0.0000004, "output_tokens": 0.0000016}, "other": {"input_tokens": 1.0}}
    assert cost_of(USAGE, prices) == 0.00056


def test_without_a_price_there_is_no_cost() -> None:
    assert cost_of(USAGE, {}) is None


def test_the_longest_words_fit_into_a_fact_in_any_script() -> None:
    for text in ("a" * 100_000, "\U0001f600" * 50_000, "\x00" * 50_000):
        assert len(json.dumps(capped(text))) <= max(MAX_BYTES, fact.MAX_BYTES - 10_000)
    assert capped("short") == "short"


async def test_what_a_tool_was_asked_and_answered_is_on_record(tmp_path: Path) -> None:
    async with stream.connect("redis://127.0.0.1:1/0") as away:
        facts = Outbox(tmp_path / "facts.jsonl", away)
        report = Report(facts, conversation_id="thread", call_id=uuid4(), attempt=1, past=Past())
        asked = llm.FunctionCall(call_id="c1", name="look_up", arguments='{"question": "parking"}')
        answered = llm.FunctionCallOutput(call_id="c1", name="look_up", output="x" * 100_000, is_error=False)
        report.tools(FunctionToolsExecutedEvent(function_calls=[asked], function_call_outputs=[answered]))
    bodies = [one.body for one in facts_in(tmp_path / "facts.jsonl")]
    items = [body.item for body in bodies if isinstance(body, fact.Item)]
    assert [item["type"] for item in items] == ["function_call", "function_call_output"]
    assert items[0]["arguments"] == '{"question": "parking"}'
    assert items[1]["output"] == capped("x" * 100_000)
