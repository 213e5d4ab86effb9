"""A language model over HTTP that notes what it is asked and when its first words left, for tests and benches."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from local.models import wire
from local.models.chat import Reply, ToolCall


@dataclass
class NotingModel:
    """One model behind two services, `{url}/first/v1` and `{url}/second/v1`.

    `replies` are given one after the other, the last one for good. `gate` closed holds an answer up behind its first
    word, so that a run is under way for as long as a test wants.
    """

    url: str = ""
    replies: list[Reply] = field(default_factory=lambda: [Reply("All of it is fine.")])
    failing: set[str] = field(default_factory=set)
    first_s: float = 0.0
    each_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    asked_of: list[str] = field(default_factory=list)
    sent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        """As new, with the gate open."""
        self.gate.set()
        fresh = NotingModel()
        self.replies, self.failing = fresh.replies, fresh.failing
        self.asked, self.asked_of = fresh.asked, fresh.asked_of

    def system(self, at: int = -1) -> list[str]:
        """The system messages of a request."""
        return [str(one["content"]) for one in self.asked[at]["messages"] if one["role"] == "system"]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.asked_of.append(service := request.match_info["service"])
        if service in self.failing:
            return web.json_response({"error": {"message": "wanted"}}, status=500)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return await self._stream(request, reply, wire.read_chat(await request.read()))

    async def _stream(self, request: web.Request, reply: Reply, asked: wire.ChatRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        await response.prepare(request)
        words = next((str(one["content"]) for one in reversed(asked.messages) if one["role"] == "user"), "")
        for at, chunk in enumerate(wire.chunks(reply, asked)):
            if at:
                await asyncio.sleep(self.first_s if at == 1 else self.each_s)
            if at == 2 or (at and reply.tool_calls):
                await self.gate.wait()
            await response.write(wire.event(chunk))
            if at == 1:
                self.sent[words] = time.perf_counter()
        await response.write(wire.DONE)
        await response.write_eof()
        return response


def calls(tool: str, **arguments: str) -> Reply:
    """A reply that calls a tool."""
    return Reply(None, (ToolCall(tool, arguments),))


@asynccontextmanager
async def noting_model() -> AsyncIterator[NotingModel]:
    """The model on a free port of this process, with its gate open."""
    model = NotingModel()
    model.gate.set()
    app = web.Application()
    app.router.add_post("/{service}/v1/chat/completions", model.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        model.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield model
    finally:
        model.gate.set()
        await runner.cleanup()
