"""Whether calls can be answered, and which parts are degraded."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from aiohttp import web

CHECK_S = 1.0
CACHED_S = 1.0

# A check gives "ok" or, in a few words, what is wrong.
Check = Callable[[], Awaitable[str]]


class Health:
    """Calls can be answered as long as LiveKit answers; Redis and the Persona API may be away."""

    def __init__(self, *, livekit: Check, redis: Check, persona_api: Check) -> None:
        self._checks = {"livekit": livekit, "redis": redis, "persona_api": persona_api}
        self._began = time.monotonic()
        self._looked = float("-inf")
        self._found: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self.draining = False

    async def answer(self, _request: web.Request) -> web.Response:
        """`GET /health`."""
        found = await self._look()
        up = found["livekit"] == "ok" and not self.draining
        body = {
            "status": self._status(found),
            **found,
            "uptime_s": round(time.monotonic() - self._began, 1),
            "version": version("switchboard"),
        }
        return web.json_response(body, status=200 if up else 503)

    def _status(self, found: dict[str, str]) -> str:
        if self.draining:
            return "draining"
        if found["livekit"] != "ok":
            return "down"
        return "ok" if all(state == "ok" for state in found.values()) else "degraded"

    async def _look(self) -> dict[str, str]:
        async with self._looking:
            if time.monotonic() - self._looked >= CACHED_S:
                states = await asyncio.gather(*(_checked(check) for check in self._checks.values()))
                self._found = dict(zip(self._checks, states, strict=True))
                self._looked = time.monotonic()
            return self._found


async def _checked(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_S:g} s"
