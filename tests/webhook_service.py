"""The webhook service as a process of its own, and LiveKit's side of it: events signed with a key."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from livekit import api

from local.ports import free_port
from tests.livekit_server import stop

READY_TIMEOUT_S = 20.0
ROOT = Path(__file__).parent.parent
RECORDINGS = Path(__file__).parent / "data" / "livekit-sip"


@dataclass(frozen=True, slots=True)
class WebhookService:
    url: str
    log: Path
    process: asyncio.subprocess.Process

    @property
    def events_url(self) -> str:
        return f"{self.url}/livekit-webhook"

    def log_text(self) -> str:
        return self.log.read_text()


@contextlib.asynccontextmanager
async def webhook_service(settings: Mapping[str, str], *, port: int = 0) -> AsyncIterator[WebhookService]:
    """Starts `python -m webhook` with these settings alone, waits until it listens, and ends it."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="webhook-") as folder:
        log = Path(folder) / "log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {"PORT": str(port), "SWITCHBOARD_HOME": folder, "PYTHONPATH": str(ROOT), "REDIS_URL": _nowhere("redis")}
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "webhook",
                env={**inherited, **own, "CONTROL_URL": _nowhere("http"), **settings},
                cwd=folder,
                stdout=out,
                stderr=out,
            )
        service = WebhookService(f"http://127.0.0.1:{port}", log, process)
        try:
            await _ready(service)
            yield service
        finally:
            await stop(process, timeout=15)


def _nowhere(scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{free_port()}"


async def _ready(service: WebhookService) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_TIMEOUT_S):
        while True:
            if service.process.returncode is not None:
                raise RuntimeError(f"the webhook service ended at once: {service.log_text()[-800:]}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{service.url}/metrics") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


def token(body: bytes, key: str, secret: str, *, ttl: timedelta = timedelta(minutes=5)) -> str:
    """The token that LiveKit sends along with a body."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_ttl(ttl).with_sha256(digest).to_jwt()


def headers(body: bytes, key: str, secret: str) -> dict[str, str]:
    """The headers of LiveKit's post."""
    return {"Authorization": token(body, key, secret), "Content-Type": "application/webhook+json"}


def recorded(name: str) -> list[dict[str, Any]]:
    """The events of a recorded call: `answered-call` or `agent-killed-mid-call`."""
    return [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]


def joined(room: str, identity: str, attributes: Mapping[str, str], *, id_: str, **more: Any) -> bytes:
    """The body that tells of a SIP participant, in the shape of the recorded ones."""
    event = recorded("answered-call")[1]
    participant = {**event["participant"], "identity": identity, "attributes": dict(attributes), **more}
    return json.dumps(
        {**event, "id": id_, "room": {**event["room"], "name": room}, "participant": participant}
    ).encode()
