"""A LiveKit server of its own whose webhooks go through a door, which can be shut."""

import asyncio
import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.door import Door, doors
from bench.stack import BenchFailed
from local import livekit, probe
from local.ports import Ports
from tests.e2e.stack import LocalStack

READY_S = 30.0
STOP_S = 10.0


@dataclass(slots=True)
class Doored:
    """`settings` make a stack use this server; `leads_to` says which stack's webhook service is behind the door."""

    settings: Mapping[str, str]
    door: Door
    _ports: list[int]

    def leads_to(self, stack: LocalStack) -> None:
        self._ports[:] = [int(stack.env["PORT"])]


@contextlib.contextmanager
def doored(folder: Path) -> Iterator[Doored]:
    """The server with `livekit.yaml` as a stack has it, until the block is left. Raises BenchFailed."""
    behind = [0]
    with doors() as made:
        door = made.before(lambda: behind[0])
        ports = Ports()
        port, media = ports.choose("livekit", 0), ports.choose("livekit media", 0, "udp", "0.0.0.0")
        key, secret = "chaos" + secrets.token_hex(4), secrets.token_hex(24)
        config = livekit.configuration(
            port=port,
            udp_port=media,
            keys={key: secret},
            webhook_url=f"http://127.0.0.1:{door.port}",
            signed_by=key,
        )
        ports.close()
        settings = {
            "LIVEKIT_URL": f"ws://127.0.0.1:{port}",
            "LIVEKIT_API_KEY": key,
            "LIVEKIT_API_SECRET": secret,
        }
        with _running(folder, yaml.safe_dump(config), port):
            yield Doored(settings, door, behind)


@contextlib.contextmanager
def _running(folder: Path, config: str, port: int) -> Iterator[None]:
    program = livekit.binary()
    if program is None:
        raise BenchFailed("the LiveKit server is not built: run `make up` once, or set LIVEKIT_SERVER.")
    log = folder / "livekit.log"
    with log.open("wb") as out:
        process = subprocess.Popen((str(program), "--config-body", config), stdout=out, stderr=out)
    try:
        end = time.monotonic() + READY_S
        while not asyncio.run(probe.http_ok(port, "/")):
            if process.poll() is not None or time.monotonic() > end:
                raise BenchFailed(f"the LiveKit server did not come up: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
