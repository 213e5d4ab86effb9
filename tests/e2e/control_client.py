"""A stack's control service as its admin asks it."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.e2e.stack import LocalStack

RECORDED_S = 30.0

Json = dict[str, Any]


async def answered(stack: LocalStack, method: str, path: str, body: Json | None = None) -> tuple[int, bytes]:
    """The status and what was answered with it."""
    headers = {"Authorization": f"Bearer {stack.admin_key}"}
    url = f"{stack.urls['control']}{path}"
    async with aiohttp.ClientSession(headers=headers) as http, http.request(method, url, json=body) as answer:
        return answer.status, await answer.read()


async def ask(stack: LocalStack, method: str, path: str, body: Json | None = None) -> Json:
    """What was answered; fails unless it was done."""
    status, data = await answered(stack, method, path, body)
    assert status < 300, data
    return dict(json.loads(data))


async def recorded(stack: LocalStack, call_id: str, until: Callable[[Json], bool]) -> Json:
    """The call on record, once `until` holds."""
    end = time.monotonic() + RECORDED_S
    while time.monotonic() < end:
        status, data = await answered(stack, "GET", f"/calls/{call_id}")
        if status == 200 and until(found := json.loads(data)):
            return dict(found)
        await asyncio.sleep(0.1)
    raise AssertionError(f"call {call_id} was not recorded as expected\n{stack.logs()}")


def has(kind: str, times: int = 1) -> Callable[[Json], bool]:
    """Whether so many facts of the kind are on record."""
    return lambda call: [event["kind"] for event in call["events"]].count(kind) >= times


def said(words: str) -> Callable[[Json], bool]:
    """Whether somebody said them."""
    return lambda call: any(words in item["text"] for item in call["transcript"])


def ended(call: Json) -> bool:
    return bool(call["status"] == "ended")
