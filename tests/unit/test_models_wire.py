"""OpenAI's shapes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from local.models import wire


@dataclass(frozen=True)
class Call:
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    text: str | None = None
    tool_calls: Sequence[Call] = ()


def ask(**more: object) -> wire.ChatRequest:
    return wire.read_chat(json.dumps({"messages": [{"role": "user", "content": "Hello"}], **more}).encode())


def test_a_streamed_text_is_role_words_and_stop() -> None:
    first, *words, last = wire.chunks(Reply("Breakfast is at  seven.\nYes. "), ask(stream=True))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = [word["choices"][0]["delta"]["content"] for word in words]
    assert "".join(said) == "Breakfast is at  seven.\nYes. "
    assert len(said) == 5
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}


def test_a_streamed_call_names_the_tool_before_its_arguments() -> None:
    reply = Reply(tool_calls=(Call("take_message", {"name": "Ann"}), Call("end_call", {})))
    pieces = [chunk["choices"][0] for chunk in wire.chunks(reply, ask(stream=True))]
    calls = [piece["delta"]["tool_calls"][0] for piece in pieces if "tool_calls" in piece["delta"]]
    assert [call["index"] for call in calls] == [0, 0, 1, 1]
    assert calls[0]["function"] == {"name": "take_message", "arguments": ""}
    assert calls[0]["id"] != calls[2]["id"]
    assert json.loads(calls[1]["function"]["arguments"]) == {"name": "Ann"}
    assert pieces[-1]["finish_reason"] == "tool_calls"


def test_usage_comes_last_when_it_is_asked_for() -> None:
    *others, last = wire.chunks(Reply("Good day"), ask(stream=True, stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_whole_answer_holds_text_and_calls() -> None:
    answer = wire.completion(Reply("One moment.", (Call("look_up", {"query": "pool"}),)), ask())
    message = answer["choices"][0]["message"]
    assert message["content"] == "One moment."
    assert message["tool_calls"][0]["function"] == {"name": "look_up", "arguments": '{"query": "pool"}'}


def test_tools_are_not_offered_when_the_choice_is_none() -> None:
    assert ask(tools=[{"type": "function"}]).tools
    assert ask(tools=[{"type": "function"}], tool_choice="none").tools is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b'{"messages": []}', b'{"messages": "hi"}', b'{"messages": [1]}', b"[" * 100_000),
        b'{"messages": [{}], "tools": {}}',
        json.dumps({"messages": [{}] * 2_001}).encode(),
    ],
)
def test_a_bad_request_is_refused_in_a_sentence(body: bytes) -> None:
    with pytest.raises(wire.Refused, match=r": (send|give)|send one"):
        wire.read_chat(body)
