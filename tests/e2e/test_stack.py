"""The stack as whoever runs it meets it: up, status, what dies comes back, down."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local import probe, state
from local.stack import MARKER
from tests.e2e.stack import LocalStack, started
from tests.promises import promise

PARTS = {"livekit", "redis", "postgres", "models", "control", "webhook", "agent", "phone", "jobs"}
SECOND_START_S = 45.0
LIMIT_S = 90.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack that these tests may hurt."""
    with started(tmp_path_factory.mktemp("own") / "home") as found:
        yield found


@promise("stack.status")
def test_status_says_where_everything_is_once_it_is_ready(own: LocalStack) -> None:
    found = own.status
    assert found["ready"] is True
    assert set(found["urls"]) == {"livekit", "webhook", "control", "sip"}
    assert set(found["parts"]) == PARTS
    for part in found["parts"].values():
        assert set(part) == {"state", "pid", "port", "since"}
        assert part["state"] == "ready"
        assert psutil.pid_exists(part["pid"])


@promise("stack.secrets")
def test_what_is_secret_is_closed_to_others(own: LocalStack) -> None:
    closed = ("keys.json", "admin.key", "sign-in.link", "run/environment.json", "run/livekit.yaml", "run/valkey.conf")
    for name in closed:
        assert stat.S_IMODE((own.home / name).stat().st_mode) == 0o600, name
    logs = own.logs()
    for name in ("LIVEKIT_API_SECRET", "INTERNAL_TOKEN", "REDIS_URL"):
        assert own.env[name] not in logs, name
    assert own.admin_key not in logs
    assert (own.home / "sign-in.link").read_text().strip().partition("#")[2] not in logs
    running = " ".join(word for pid in _processes(own.home) for word in psutil.Process(pid).cmdline())
    assert own.env["LIVEKIT_API_SECRET"] not in running


@promise("stack.restart")
@pytest.mark.parametrize("part", ["redis", "postgres", "webhook", "agent", "phone", "jobs"])
def test_a_part_that_is_killed_comes_back(own: LocalStack, part: str) -> None:
    killed = own.until_part(part, other_than=None)
    os.kill(killed, signal.SIGKILL)
    assert own.until_part(part, other_than=killed) != killed


@promise("stack.condition")
def test_status_says_what_the_parts_miss(own: LocalStack) -> None:
    redis = own.until_part("redis", other_than=None)
    os.kill(redis, signal.SIGSTOP)
    try:
        _until(lambda: own.run("status").stdout.count("redis: away") == 2)
    finally:
        os.kill(redis, signal.SIGCONT)
    _until(lambda: "away" not in own.run("status").stdout)


@promise("stack.drain")
def test_a_worker_that_is_told_to_end_finishes_its_call_and_another_takes_the_next(
    own: LocalStack, tmp_path: Path
) -> None:
    own.until_part("agent", other_than=None)
    with _second_worker(own, tmp_path / "worker.log") as (second, port):
        long = _call(own, "What time is breakfast served?", "Do you have parking?", "Thank you, goodbye.")
        ports = {int(own.env["AGENT_PORT"]): own.pid("agent"), port: second.pid}
        _until(lambda: any(_calls(one) for one in ports))
        [(draining, pid)] = [(one, pid) for one, pid in ports.items() if _calls(one)]
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        _until(lambda: not asyncio.run(probe.http_ok(draining, "/ready")))
        short = _call(own, "What time is breakfast served?")
        [other] = set(ports) - {draining}
        _until(lambda: _calls(other) == 1)
        assert _calls(draining) == 1
        for call, turns in ((short, 1), (long, 3)):
            said, _ = call.communicate(timeout=LIMIT_S)
            assert call.returncode == 0, said
            assert [bool(turn["heard"]) for turn in json.loads(said)["turns"]] == [True] * turns
        # The drained worker has ended by itself: the supervisor has a new one, or the second is gone.
        _until(lambda: second.poll() == 0 if pid == second.pid else own.pid("agent") not in (None, pid))
        own.until_part("agent", other_than=None)


@contextlib.contextmanager
def _second_worker(stack: LocalStack, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A worker that takes calls, and its port."""
    with log.open("wb") as out:
        command = (sys.executable, "-m", "cli", "worker")
        process = subprocess.Popen(command, env=stack.environ(), stdout=out, stderr=out)
    try:
        _until(lambda: b"/ready" in log.read_bytes())
        port = int(log.read_bytes().partition(b"/ready")[0].rpartition(b":")[2])
        _until(lambda: asyncio.run(probe.http_ok(port, "/ready")))
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(LIMIT_S)
        finally:
            process.kill()


def _call(stack: LocalStack, *texts: str) -> "subprocess.Popen[str]":
    words = [word for text in texts for word in ("--say", text)]
    return subprocess.Popen(
        (sys.executable, "-m", "cli", "call", "+15550100001", "--json", *words),
        env=stack.environ(),
        stdout=subprocess.PIPE,
        text=True,
    )


def _calls(port: int) -> int:
    return int((asyncio.run(probe.http_json(port, "/health")) or {"calls": 0})["calls"])


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


@promise("stack.second_up")
def test_a_second_up_in_the_same_home_is_refused_in_one_sentence(own: LocalStack) -> None:
    done = own.run("up")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "already runs" in done.stderr


@promise("stack.leaves_nothing")
def test_down_leaves_no_process_and_the_next_start_is_quick_and_finds_its_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started(home) as stack:
        key = stack.admin_key
        assert _processes(home)
    assert _processes(home) == []
    began = time.monotonic()
    with started(home) as stack:
        took = time.monotonic() - began
        print(f"second start: {took:.1f} s")
        assert stack.admin_key == key
    assert took <= SECOND_START_S


@promise("stack.killed_supervisor")
def test_a_killed_supervisor_takes_its_parts_along_and_up_starts_again(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "home")
    try:
        stack.up("--only", "livekit", "--only", "redis", "--only", "postgres", "--only", "agent")
        running = state.current(stack.home)
        assert running is not None
        parts = [psutil.Process(pid) for pid in _processes(stack.home)]
        os.kill(running.supervisor, signal.SIGKILL)
        _, alive = psutil.wait_procs(parts, timeout=10)
        assert alive == []
        assert stack.status == {
            "ready": False,
            "urls": {"livekit": None, "webhook": None, "control": None, "sip": None},
            "parts": {},
        }
        stack.up("--only", "redis")
    finally:
        stack.down()


def _processes(home: Path) -> list[int]:
    return [process.pid for process in state.leftovers(home, MARKER)]
