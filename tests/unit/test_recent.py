"""How much of a conversation a persona's model is told."""

from typing import Any, cast

from agents import TResponseInputItem

from control.personas.recent import recent
from switchboard.history import MOST_TEXT_IN_ALL


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def call(id: str, size: int = 1) -> list[dict[str, Any]]:
    return [
        {"type": "function_call", "call_id": id, "name": "look_up", "arguments": "x" * size},
        {"type": "function_call_output", "call_id": id, "output": "y"},
    ]


def told(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return [cast(dict[str, Any], one) for one in recent([cast(TResponseInputItem, one) for one in items])]


def test_what_is_short_is_told_whole() -> None:
    items = [said("a"), *call("1"), said("b", "assistant"), said("c"), *call("2")]
    assert told(*items) == items
    assert told() == []
    assert told(*call("1")) == call("1")


def test_of_what_is_long_the_newest_is_told_in_order() -> None:
    items = [said(f"{at}: " + "x" * 1_000) for at in range(300)]
    found = told(*items)
    assert found == items[-len(found) :]
    assert 90 < len(found) < 100


def test_a_tools_result_goes_with_its_call() -> None:
    long = said("x" * (MOST_TEXT_IN_ALL - 200))
    assert told(*call("1", 300), long) == [long]
    assert told(said("before"), *call("1"), long) == [*call("1"), long]


def test_what_was_written_last_stays_with_what_came_of_it_however_long_it_is() -> None:
    last = [said("x" * 200_000), *call("1", 50_000), *call("2", 50_000)]
    assert told(said("before"), *last) == last
