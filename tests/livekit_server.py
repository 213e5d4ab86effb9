"""A real LiveKit server for tests, on loopback and free ports: `async with LiveKitServer.start(...) as server`."""

import asyncio
import atexit
import contextlib
import os
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml
from livekit import api

from local.livekit import loopback
from local.ports import free_port
from switchboard import media_stack

CACHED = Path.home() / ".cache/switchboard/livekit-server-v1.13.5/server"
READY_TIMEOUT_S = 20.0

# livekit's native threads may still call back while it is disposed of at exit, and abort the process when
# the interpreter is gone by then. Registered before livekit's own hook, so that it runs after it.
atexit.register(time.sleep, 0.5)


class NoLiveKitServer(Exception):
    """The server's binary is missing or did not come up."""


@dataclass(frozen=True, slots=True)
class LiveKitServer:
    """A running server. `url` is its WebSocket URL, `http` the same for its API."""

    url: str
    http: str
    api_key: str
    api_secret: str
    pid: int
    log: Path

    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {
            "LIVEKIT_URL": self.url,
            "LIVEKIT_API_KEY": self.api_key,
            "LIVEKIT_API_SECRET": self.api_secret,
        }

    def client(self) -> api.LiveKitAPI:
        """An API client; the caller closes it (`async with`)."""
        return api.LiveKitAPI(self.http, self.api_key, self.api_secret)

    def token(self, room: str, identity: str, *, kind: str = "standard", **attributes: str) -> str:
        """A token that may do everything in `room`."""
        grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True, agent=kind == "agent")
        token = api.AccessToken(self.api_key, self.api_secret).with_identity(identity).with_grants(grants)
        if kind != "standard":
            token = token.with_kind(kind)  # type: ignore[arg-type]
        return token.with_attributes(attributes).to_jwt()


def binary() -> Path:
    """The server's binary, from LIVEKIT_SERVER or the cache. Raises NoLiveKitServer."""
    path = Path(os.environ.get("LIVEKIT_SERVER") or CACHED)
    if not path.is_file():
        raise NoLiveKitServer(f"{path} is missing: run `make up` once, which builds it, or set LIVEKIT_SERVER.")
    return path


def configuration(port: int, udp_port: int, key: str, secret: str, webhooks: Sequence[str] = ()) -> dict[str, object]:
    """The server's configuration for one machine: nothing leaves the loopback interface."""
    config: dict[str, object] = {
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "rtc": loopback(udp_port),
        "keys": {key: secret},
        "logging": {"level": "info"},
    }
    if webhooks:
        config["webhook"] = {"api_key": key, "urls": list(webhooks)}
    return config


@contextlib.asynccontextmanager
async def livekit_server(
    *, webhooks: Sequence[str] = (), room: Mapping[str, int] | None = None, like: LiveKitServer | None = None
) -> AsyncIterator[LiveKitServer]:
    """Starts a server, waits until it answers, and stops it again. `room` overrides its room settings.

    `like`: it comes back where that one was, with its keys.
    """
    media_stack.mute_log("info")
    key, secret = "test" + secrets.token_hex(4), secrets.token_hex(24)
    port = free_port()
    if like is not None:
        key, secret, port = like.api_key, like.api_secret, int(like.http.rpartition(":")[2])
    config = configuration(port, free_port("udp"), key, secret, webhooks)
    if room:
        config["room"] = dict(room)
    with tempfile.TemporaryDirectory(prefix="livekit-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                binary(), "--config-body", yaml.safe_dump(config), stdout=out, stderr=out
            )
        server = LiveKitServer(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}", key, secret, process.pid, log)
        try:
            await _ready(server, process)
            yield server
        finally:
            await stop(process)


async def stop(process: asyncio.subprocess.Process, timeout: float = 5.0) -> None:
    """Ends one process that was started here."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(timeout):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _ready(server: LiveKitServer, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_TIMEOUT_S):
        while True:
            if process.returncode is not None:
                raise NoLiveKitServer(f"the LiveKit server ended at once: {server.log.read_text()[-500:]}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(server.http) as answer:
                    if answer.status == 200 and (await answer.text()) == "OK":
                        return
            await asyncio.sleep(0.05)
