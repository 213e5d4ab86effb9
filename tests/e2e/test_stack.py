"""The stack as whoever runs it meets it: up, status, what dies comes back, down."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import state
from local.stack import MARKER
from tests.e2e.stack import LocalStack, started
from tests.promises import promise

PARTS = {"livekit", "redis", "postgres", "models", "control", "webhook", "agent", "phone"}
SECOND_START_S = 15.0


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
    for name in ("keys.json", "admin.key", "run/environment.json", "run/livekit.yaml", "run/valkey.conf"):
        assert stat.S_IMODE((own.home / name).stat().st_mode) == 0o600, name
    logs = own.logs()
    for name in ("LIVEKIT_API_SECRET", "INTERNAL_TOKEN", "REDIS_URL"):
        assert own.env[name] not in logs, name
    assert own.admin_key not in logs
    running = " ".join(word for pid in _processes(own.home) for word in psutil.Process(pid).cmdline())
    assert own.env["LIVEKIT_API_SECRET"] not in running


@promise("stack.restart")
@pytest.mark.parametrize("part", ["redis", "postgres", "webhook", "agent", "phone"])
def test_a_part_that_is_killed_comes_back(own: LocalStack, part: str) -> None:
    killed = own.until_part(part, other_than=None)
    os.kill(killed, signal.SIGKILL)
    assert own.until_part(part, other_than=killed) != killed


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
