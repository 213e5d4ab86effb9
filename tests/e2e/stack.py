"""A whole stack in a home of its own, on free ports, for tests that talk to it from outside."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livekit import api

from local import probe, state
from local.ports import free_port
from switchboard.settings import OTHERS, OUR_PREFIXES, known_names

START_LIMIT_S = 120.0
TAIL_LINES = 40


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A running stack. `settings` are the environment names that it was started with."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> dict[str, Any]:
        """What `switchboard status --json` says."""
        return dict(json.loads(self.run("status", "--json").stdout))

    @property
    def urls(self) -> dict[str, str]:
        """`livekit`, `webhook`, `control`, `sip` (`sip:127.0.0.1:PORT`)."""
        running = state.current(self.home)
        assert running is not None, "the stack is down"
        return dict(running.status.urls.model_dump(exclude_none=True))

    @property
    def env(self) -> dict[str, str]:
        """What the parts were told, keys included: LIVEKIT_API_KEY, INTERNAL_TOKEN, REDIS_URL, DATABASE_URL, …"""
        return state.environment(self.home)

    @property
    def admin_key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def pid(self, part: str) -> int | None:
        running = state.current(self.home)
        return running.status.parts[part].pid if running else None

    def sip(self, number: str) -> str:
        """The SIP address of `number` on this stack's line."""
        return f"sip:{number}@{self.urls['sip'].removeprefix('sip:')}"

    def livekit(self) -> api.LiveKitAPI:
        """Its LiveKit's API, to be entered where there is a loop."""
        env = self.env
        return api.LiveKitAPI(env["LIVEKIT_URL"], env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"])

    def run(self, *words: str, timeout_s: float = START_LIMIT_S) -> "subprocess.CompletedProcess[str]":
        """Runs `switchboard` with these words against this home."""
        return subprocess.run(
            (sys.executable, "-m", "cli", *words),
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def environ(self) -> dict[str, str]:
        """An environment in which only this stack's settings are set."""
        mine = {
            name: value
            for name, value in os.environ.items()
            if name not in known_names() and (not name.startswith(OUR_PREFIXES) or name.startswith(OTHERS))
        }
        return {**mine, **self.settings, "SWITCHBOARD_HOME": str(self.home)}

    def up(self, *words: str) -> str:
        """Starts the stack and returns what it printed once it is ready."""
        done = self.run("up", "--detach", "--any-port", *words)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def down(self) -> None:
        done = self.run("down")
        assert done.returncode == 0, done.stderr

    def until_part(self, part: str, *, other_than: int | None, limit_s: float = 30.0) -> int:
        """The pid of `part` once it is ready as another process than `other_than`."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            running = state.current(self.home)
            found = running.status.parts[part] if running else None
            if found and found.state == "ready" and found.pid not in (None, other_than):
                return int(found.pid or 0)
            time.sleep(0.05)
        raise AssertionError(f"{part} was not ready again within {limit_s:g} s\n{self.logs()}")

    def logs(self) -> str:
        """The last lines of every part's log."""
        parts = []
        for log in sorted((self.home / "logs").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            parts.append(f"--- {log.name}\n" + "\n".join(line[:500] for line in lines))
        return "\n".join(parts)


@contextlib.contextmanager
def started(home: Path, **settings: str) -> Iterator[LocalStack]:
    """A stack in `home` with these settings, down again afterwards."""
    stack = LocalStack(home, settings)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@contextlib.contextmanager
def scripted_models(log: Path) -> Iterator[dict[str, str]]:
    """Models that answer after known delays; gives the settings that use them."""
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            (sys.executable, "-m", "local.models.scripted", "--port", str(port)), stdout=out, stderr=out
        )
    try:
        _until_listening(process, port, log)
        yield {f"{part}_BASE_URL": f"http://127.0.0.1:{port}/v1" for part in ("STT", "LLM", "TTS")}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        if asyncio.run(probe.http_ok(port, "/health")):
            return
        time.sleep(0.05)
    raise AssertionError(f"the scripted models did not come up:\n{log.read_text(errors='replace')}")
