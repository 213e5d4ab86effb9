"""A Persona API for tests: over real HTTP, well or badly behaved as it is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from local.ports import free_port


class FakePersonaApi:
    """`asked` holds the raw paths that came, `authorizations` their Authorization headers."""

    def __init__(self) -> None:
        self.personas: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.answer: web.Response | None = None
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.slow_s = 0.0
        self.port = free_port()
        self._runner: web.AppRunner | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/personas"

    def behave(self, *, status: int = 200, body: bytes | None = None, slow_s: float = 0, **headers: str) -> None:
        """From here on; without arguments it behaves well."""
        self.status, self.body, self.slow_s, self.headers = status, body, slow_s, headers

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        if path == "/personas":
            return web.Response(status=404)
        self.asked.append(path)
        self.authorizations.append(request.headers.get("Authorization"))
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.body is not None or self.status != 200:
            return web.Response(status=self.status, body=self.body or b"", headers=self.headers)
        persona = self.personas.get(request.match_info["number"])
        if persona is None:
            return web.Response(status=404, text=json.dumps({"error": "no persona"}))
        return web.json_response(persona)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._any)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _any(self, request: web.Request) -> web.Response:
        request.match_info["number"] = request.path.rpartition("/")[2]
        return await self._handle(request)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None


@contextlib.asynccontextmanager
async def persona_api() -> AsyncIterator[FakePersonaApi]:
    api = FakePersonaApi()
    await api.start()
    try:
        yield api
    finally:
        await api.stop()
