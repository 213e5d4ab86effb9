"""What is on record of a call, while it runs and afterwards: from control's API."""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.e2e.stack import LocalStack

LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A call on record. `events` are in their order, `lines` what was said."""

    call_id: str
    status: str
    reason: str | None
    events: list[Mapping[str, Any]]
    lines: list[Mapping[str, Any]]

    def count(self, kind: str) -> int:
        return sum(one["kind"] == kind for one in self.events)

    def bodies(self, kind: str) -> list[Mapping[str, Any]]:
        return [one["body"] for one in self.events if one["kind"] == kind]

    @property
    def attempts(self) -> int:
        """The highest attempt of an agent that joined."""
        return max((int(one["attempt"]) for one in self.bodies("agent_joined")), default=0)

    def answer_to(self, question: str) -> str:
        """What the agent said after the last time that the caller said this; "" when it said nothing."""
        asked = [at for at, one in enumerate(self.lines) if one["role"] == "user" and _alike(one["text"], question)]
        after = self.lines[asked[-1] + 1 :] if asked else []
        return " ".join(one["text"] for one in after if one["role"] == "assistant")


def _alike(one: str, other: str) -> bool:
    return _letters(other) in _letters(one)


def _letters(text: str) -> str:
    return "".join(re.findall(r"[a-z0-9]", text.lower()))


def digits(text: str) -> str:
    return "".join(re.findall(r"\d", text))


async def read(stack: LocalStack, call_id: str | None) -> Entry | None:
    """The call as it is on record now; None while control does not know it or is away."""
    headers = {"Authorization": f"Bearer {stack.admin_key}"}
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
            http.get(f"{stack.urls['control']}/calls/{call_id}") as answer,
        ):
            if answer.status == 200:
                found = await answer.json()
                return Entry(str(call_id), found["status"], found["reason"], found["events"], found["transcript"])
    return None


async def until(
    stack: LocalStack, call_id: str | None, holds: Callable[[Entry], bool], limit_s: float = LIMIT_S
) -> Entry | None:
    """The call once `holds`; as it is by then when that is not so within the limit."""
    end = time.monotonic() + limit_s
    while True:
        found = await read(stack, call_id)
        if (found is not None and holds(found)) or time.monotonic() > end:
            return found
        await asyncio.sleep(0.1)


async def ended(stack: LocalStack, call_id: str | None, limit_s: float = LIMIT_S) -> Entry | None:
    return await until(stack, call_id, lambda one: one.status == "ended", limit_s)
