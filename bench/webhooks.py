"""Equal webhooks at two receivers: `python -m bench.webhooks [COUNT]` prints how many agents were sent, as JSON.

Half of the posts repeat one event, half tell the same by events of their own; 20 at once; once with Redis,
once with Redis stopped, and once with Redis stopped and receivers that share no folder, as on two hosts
(there the agents settle in the room who stays).
"""

import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from livekit import api, rtc

from tests.livekit_server import LiveKitServer, livekit_server
from tests.persona_api import persona_api
from tests.redis_server import redis_server
from tests.webhook_service import WebhookService, headers, joined, webhook_service

AT_ONCE = 20
PERSONA = {"persona_name": "Bench", "welcome_message": "Hello."}
SETTLES_S = 8.0


async def run(count: int) -> dict[str, Any]:
    """The three cases with `count` posts each."""
    async with livekit_server() as livekit, redis_server() as redis, persona_api() as personas:
        personas.personas = {"+15550100001": PERSONA}
        own = {"REDIS_URL": redis.url, "PERSONA_API_BASE": personas.base, "AGENT_TO_DISPATCH": "bench"}
        given = {**livekit.environment(), **own}
        found = {"redis": await _case(livekit, given, count, shared=True)}
        await redis.stop()
        found["redis_stopped"] = await _case(livekit, given, count, shared=True)
        found["redis_stopped_two_hosts"] = await _case(livekit, given, count, shared=False)
    return found


async def _case(livekit: LiveKitServer, given: dict[str, str], count: int, *, shared: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        homes = (first, first if shared else second)
        async with (
            webhook_service({**given, "SWITCHBOARD_HOME": homes[0]}) as one,
            webhook_service({**given, "SWITCHBOARD_HOME": homes[1]}) as other,
            _caller(livekit) as (room, attributes),
        ):
            same = joined(room, "caller", attributes, id_="EV_same")
            bodies = [
                same if at % 2 else joined(room, "caller", attributes, id_=f"EV_{secrets.token_hex(8)}")
                for at in range(count)
            ]
            statuses, waits = await _flood(livekit, (one, other), bodies)
            dispatches = await _settled(livekit, room)
    waits.sort()
    return {
        "posts": count,
        "statuses": statuses,
        "agents_sent": dispatches,
        "answer_ms_p50": round(waits[len(waits) // 2] * 1000, 1),
        "answer_ms_p99": round(waits[len(waits) * 99 // 100] * 1000, 1),
    }


@contextlib.asynccontextmanager
async def _caller(livekit: LiveKitServer) -> AsyncIterator[tuple[str, dict[str, str]]]:
    room = f"bench_{secrets.token_hex(4)}"
    attributes = {
        "sip.callID": f"SCL_{secrets.token_hex(4)}",
        "sip.ruleID": "SDR_bench",
        "sip.trunkPhoneNumber": "+15550100001",
    }
    grants = api.VideoGrants(room_join=True, room=room)
    token = api.AccessToken(livekit.api_key, livekit.api_secret).with_identity("caller").with_kind("sip")
    connection = rtc.Room()
    await connection.connect(livekit.url, token.with_grants(grants).with_attributes(attributes).to_jwt())
    try:
        yield room, attributes
    finally:
        await connection.disconnect()


async def _flood(
    livekit: LiveKitServer, services: Sequence[WebhookService], bodies: Sequence[bytes]
) -> tuple[dict[str, int], list[float]]:
    statuses: dict[str, int] = {}
    waits: list[float] = []
    waiting = iter(enumerate(bodies))
    async with aiohttp.ClientSession() as session:

        async def sender() -> None:
            for at, body in waiting:
                signed = headers(body, livekit.api_key, livekit.api_secret)
                began = time.perf_counter()
                async with session.post(services[at % 2].events_url, data=body, headers=signed) as answer:
                    statuses[str(answer.status)] = statuses.get(str(answer.status), 0) + 1
                waits.append(time.perf_counter() - began)

        await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return statuses, waits


async def _settled(livekit: LiveKitServer, room: str) -> int:
    """The dispatches of the first attempt after the watchers, too, have looked."""
    async with livekit.client() as client:
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < SETTLES_S:
            await asyncio.sleep(0.5)
            listed = await client.agent_dispatch.list_dispatch(room)
            sent = [json.loads(one.metadata) for one in listed if one.agent_name == "bench"]
            count = sum(one["attempt"] == 1 for one in sent)
    return count


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    found = asyncio.run(run(count))
    print(json.dumps(found, indent=2))
    return 0 if all(found[case]["agents_sent"] == 1 for case in ("redis", "redis_stopped")) else 1


if __name__ == "__main__":
    sys.exit(main())
