"""Callers in rooms of a real LiveKit server, and what the webhook service made of them."""

import asyncio
import contextlib
import io
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import aiohttp
from livekit import api, rtc
from redis.asyncio import Redis

from switchboard import stream
from switchboard.call import call_id_of_browser, call_id_of_sip
from switchboard.fact import Fact
from tests.livekit_server import LiveKitServer
from tests.persona_api import FakePersonaApi
from tests.redis_server import RedisServer
from tests.webhook_service import WebhookService, headers, joined

AGENT = "test-agent"


def settings(livekit: LiveKitServer, redis: RedisServer, personas: FakePersonaApi, **more: str) -> dict[str, str]:
    own = {"AGENT_TO_DISPATCH": AGENT, "REDIS_URL": redis.url, "PERSONA_API_BASE": personas.base}
    return {**livekit.environment(), **own, "PERSONA_API_TOKEN": "crm-token", **more}


def sip(dialed: str = "+15550100001", number: str = "+15550199000", **more: str) -> dict[str, str]:
    return {
        "sip.callID": f"SCL_{secrets.token_hex(6)}",
        "sip.ruleID": "SDR_test",
        "sip.callStatus": "ringing",
        "sip.trunkPhoneNumber": dialed,
        "sip.phoneNumber": number,
        **more,
    }


class Line:
    """A participant in a room of its own, or in `room`: a phone or a browser."""

    def __init__(
        self, livekit: LiveKitServer, attributes: dict[str, str], *, browser: bool = False, room: str = ""
    ) -> None:
        self.room = room or f"call_{secrets.token_hex(6)}"
        self.identity = f"caller_{secrets.token_hex(4)}"
        self.attributes = attributes
        self._livekit = livekit
        grants = api.VideoGrants(room_join=True, room=self.room, can_update_own_metadata=not browser)
        token = api.AccessToken(livekit.api_key, livekit.api_secret).with_identity(self.identity).with_grants(grants)
        self._token = token.with_kind("standard" if browser else "sip").with_attributes(attributes).to_jwt()
        self._connection = rtc.Room()
        self.call_id = (
            call_id_of_browser(self.room, self.identity) if browser else call_id_of_sip(attributes["sip.callID"])
        )

    async def __aenter__(self) -> "Line":
        await self._connection.connect(self._livekit.url, self._token)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.disconnect()

    def event(self, id_: str = "") -> bytes:
        return joined(self.room, self.identity, self.attributes, id_=id_ or f"EV_{secrets.token_hex(6)}")


async def post(livekit: LiveKitServer, service: WebhookService, body: bytes) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            service.events_url, data=io.BytesIO(body), headers=headers(body, livekit.api_key, livekit.api_secret)
        ) as answer,
    ):
        return answer.status


async def sent(livekit: LiveKitServer, room: str) -> list[dict[str, Any]]:
    """The metadata of our dispatches in the room."""
    async with livekit.client() as client:
        found = await client.agent_dispatch.list_dispatch(room)
    return [json.loads(one.metadata) for one in found if one.agent_name == AGENT]


async def until(look: Callable[[], Awaitable[Any]], *, timeout_s: float = 10.0) -> Any:
    """What `look` gives as soon as it gives something."""
    async with asyncio.timeout(timeout_s):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def cache(redis: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis.url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def facts(redis: RedisServer, call_id: UUID, kind: str = "") -> list[Fact]:
    async with cache(redis) as client:
        entries = await client.xrange(stream.STREAM)
    read = (stream.read(fields) for _id, fields in entries)
    return [one for one in read if one and one.call_id == call_id and one.kind.startswith(kind)]


async def dispatched(livekit: LiveKitServer, service: WebhookService, line: Line) -> dict[str, Any]:
    assert await post(livekit, service, line.event()) == 200
    found: list[dict[str, Any]] = await until(lambda: sent(livekit, line.room))
    return found[0]


async def flood(
    livekit: LiveKitServer, services: Sequence[WebhookService], bodies: Sequence[bytes], at_once: int = 20
) -> list[int]:
    few = asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession() as session:

        async def one(at: int, body: bytes) -> int:
            signed = headers(body, livekit.api_key, livekit.api_secret)
            url = services[at % len(services)].events_url
            async with few, session.post(url, data=body, headers=signed) as answer:
                return answer.status

        return await asyncio.gather(*(one(at, body) for at, body in enumerate(bodies)))
