"""What the running parts say of themselves, in a few words for `switchboard status`."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from local import probe
from local.state import Status

Json = Mapping[str, Any]


async def conditions(status: Status) -> dict[str, str]:
    """By part, those that are up and can be asked: how they are; nothing to say is empty."""
    asked = {
        name: _asked(*_where(status, name), words)
        for name, words in _WORDS.items()
        if name in status.parts and status.parts[name].state == "ready"
    }
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))


def _where(status: Status, name: str) -> tuple[str, int, str]:
    if name == "agent":
        return "127.0.0.1", status.parts[name].port or 0, "/ready"
    parts = urlsplit(getattr(status.urls, name) or "")
    return parts.hostname or "127.0.0.1", status.parts[name].port or 0, "/health"


async def _asked(host: str, port: int, path: str, words: Callable[[Json], str]) -> str:
    answer = await probe.http_json(port, path, host)
    if answer is None:
        return "gives no answer"
    try:
        return words(answer)
    except (KeyError, TypeError, AttributeError):
        return "gives an answer that cannot be read"


def _webhook(answer: Json) -> str:
    if answer["status"] == "draining":
        return "drains"
    return ", ".join(
        f"{name}: {answer[name]}" for name in ("livekit", "redis", "persona_api") if answer[name] != "ok"
    )


def _control(answer: Json) -> str:
    return ", ".join(f"{name}: away" for name in answer["degraded"])


def _agent(answer: Json) -> str:
    load = f"{answer['calls']} of {answer['most']} calls"
    return load if answer["ready"] else f"{load}, takes no more"


_WORDS: dict[str, Callable[[Json], str]] = {"control": _control, "webhook": _webhook, "agent": _agent}
