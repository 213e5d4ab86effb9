"""OpenAI's shapes on the wire: errors, and the chunks of a chat completion. No I/O."""

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

Json = dict[str, Any]
MAX_MESSAGES = 2_000


class ToolCall(Protocol):
    """A tool that the model wants called."""

    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...


class Reply(Protocol):
    """What a model says: text, calls, or both."""

    @property
    def text(self) -> str | None: ...
    @property
    def tool_calls(self) -> Sequence[ToolCall]: ...


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The part of a chat completion request that is read here."""

    model: str
    messages: list[Json]
    tools: list[Json] | None
    stream: bool
    usage_in_stream: bool


class Refused(Exception):
    """A request that is answered with an error; the text says what to do about it."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param

    def response(self) -> web.Response:
        """The answer, in OpenAI's shape."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": None}
        return web.json_response({"error": error}, status=self.status)


def read_object(body: bytes) -> Json:
    """The JSON object of a request. Raises Refused."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("the body is no JSON: send a JSON object") from None
    if not isinstance(value, dict):
        raise Refused("the body is no JSON object: send one")
    return value


def read_chat(body: bytes) -> ChatRequest:
    """The chat completion that is asked for. Raises Refused."""
    asked = read_object(body)
    messages, tools, options = asked.get("messages"), asked.get("tools"), asked.get("stream_options")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise Refused("messages is missing: send a list with at least one message", param="messages")
    if len(messages) > MAX_MESSAGES:
        raise Refused(f"messages has {len(messages)} entries: send at most {MAX_MESSAGES}", param="messages")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(one, dict) for one in tools)):
        raise Refused("tools is no list of tools: send a list, or leave it out", param="tools")
    return ChatRequest(
        model=str(asked.get("model") or "local"),
        messages=messages,
        tools=tools if asked.get("tool_choice") != "none" else None,
        stream=asked.get("stream") is True,
        usage_in_stream=isinstance(options, dict) and options.get("include_usage") is True,
    )


def completion(reply: Reply, request: ChatRequest) -> Json:
    """The whole answer at once."""
    calls = [_call(call) for call in reply.tool_calls]
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return {**_head(request, "chat.completion"), "choices": [choice], "usage": _usage(reply, request)}


def chunks(reply: Reply, request: ChatRequest) -> Iterator[Json]:
    """The answer in pieces: role, words, tool calls (name first), the reason it ended, and usage if asked for."""
    head = _head(request, "chat.completion.chunk")
    if request.usage_in_stream:
        head["usage"] = None

    def chunk(delta: Json, finish: str | None = None) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": "" if reply.text else None})
    yield from (chunk({"content": word}) for word in re.findall(r"\s*\S+\s*$|\s*\S+", reply.text or ""))
    for index, call in enumerate(map(_call, reply.tool_calls)):
        arguments = call["function"].pop("arguments")
        named = {**call, "function": {**call["function"], "arguments": ""}}
        yield chunk({"tool_calls": [{"index": index, **named}]})
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
    yield chunk({}, _finish(reply))
    if request.usage_in_stream:
        yield {**head, "choices": [], "usage": _usage(reply, request)}


def ends_clause(chunk: Json) -> bool:
    """Whether the words of a piece of an answer end in punctuation."""
    said = [choice["delta"].get("content") or "" for choice in chunk["choices"]]
    return "".join(said).rstrip().endswith((",", ";", ":", ".", "!", "?"))


def event(chunk: Json) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _head(request: ChatRequest, kind: str) -> Json:
    name = f"chatcmpl-{uuid.uuid4().hex}"
    return {"id": name, "object": kind, "created": int(time.time()), "model": request.model}


def _call(call: ToolCall) -> Json:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls else "stop"


def _usage(reply: Reply, request: ChatRequest) -> Json:
    """Words, for there are no tokens here."""
    asked = sum(len(str(message.get("content") or "").split()) for message in request.messages)
    said = len((reply.text or "").split()) + len(reply.tool_calls)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
