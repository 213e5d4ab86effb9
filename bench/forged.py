"""Forged webhooks over real HTTP: `python -m bench.forged [COUNT]` prints what was accepted, as JSON.

The receiver is a process of its own; LiveKit is not needed, as nothing that is forged gets so far. The
positive control is the same body, signed: it is sent before and after.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import aiohttp

from local.ports import free_port
from tests.forgeries import KINDS, Forgery, forged
from tests.webhook_service import WebhookService, headers, joined, webhook_service

KEY, SECRET = "bench-key", "bench-secret-that-is-long-enough-to-sign-with"
AT_ONCE = 20
CALLER = {"sip.callID": "SCL_bench", "sip.ruleID": "SDR_bench", "sip.trunkPhoneNumber": "+15550100001"}


async def run(count: int) -> dict[str, Any]:
    """Sends `count` forgeries, 20 at once; gives the statuses by class."""
    settings = {
        "LIVEKIT_URL": f"http://127.0.0.1:{free_port()}",
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
    }
    body = joined("bench", "caller", CALLER, id_="EV_bench")
    async with webhook_service(settings) as service, aiohttp.ClientSession() as session:
        before = await _signed(session, service, body)
        began = time.perf_counter()
        statuses = await _send(session, service, forged(count, body, KEY, SECRET))
        took = time.perf_counter() - began
        after = await _signed(session, service, body)
    accepted = sum(number for (_kind, status), number in statuses.items() if status < 400)
    return {
        "sent": count,
        "accepted": accepted,
        "positive_control": [before, after],
        "statuses": {kind: {str(s): n for (k, s), n in sorted(statuses.items()) if k == kind} for kind in KINDS},
        "per_second": round(count / took),
    }


async def _send(
    session: aiohttp.ClientSession, service: WebhookService, forgeries: Iterable[Forgery]
) -> Counter[tuple[str, int]]:
    statuses: Counter[tuple[str, int]] = Counter()
    # One iterator that all senders draw from.
    waiting = iter(forgeries)

    async def sender() -> None:
        for one in waiting:
            async with session.post(service.events_url, data=one.body, headers=one.headers) as answer:
                statuses[one.kind, answer.status] += 1

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return statuses


async def _signed(session: aiohttp.ClientSession, service: WebhookService, body: bytes) -> int:
    async with session.post(service.events_url, data=body, headers=headers(body, KEY, SECRET)) as answer:
        return answer.status


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    found = asyncio.run(run(count))
    print(json.dumps(found, indent=2))
    return 0 if found["accepted"] == 0 and set(found["positive_control"]) == {200} else 1


if __name__ == "__main__":
    sys.exit(main())
