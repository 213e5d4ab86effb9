import json

from agent.report import MAX_BYTES, capped, cost_of
from switchboard import fact

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
