"""What runs in a home: the lock that lets one supervisor in, and the file that says what it runs."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.files import write_private
from local.part import State
from switchboard.settings import SettingsError


class PartStatus(BaseModel):
    model_config = ConfigDict(frozen=True)

    state: State
    pid: int | None = None
    port: int | None = None
    since: datetime


class Urls(BaseModel):
    """Where the parts listen; None for one that is not part of this stack."""

    model_config = ConfigDict(frozen=True)

    livekit: str | None = None
    webhook: str | None = None
    control: str | None = None
    sip: str | None = None


class Status(BaseModel):
    """What `switchboard status --json` prints."""

    model_config = ConfigDict(frozen=True)

    ready: bool = False
    urls: Urls = Urls()
    parts: dict[str, PartStatus] = Field(default_factory=dict)


class Supervised(BaseModel):
    """`state.json`: the status, and the supervisor's pid with its start, since pids come round again."""

    model_config = ConfigDict(frozen=True)

    supervisor: int
    started: float
    status: Status

    @property
    def running(self) -> bool:
        return started_at(self.supervisor) == self.started


class AlreadyRunning(SettingsError):
    """Another supervisor holds this home."""


def started_at(pid: int) -> float | None:
    """When the process started, in seconds since the epoch; None when there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def read(home: Path) -> Supervised | None:
    """What the last supervisor of `home` wrote; None when nothing readable is there."""
    try:
        return Supervised.model_validate_json((home / "state.json").read_text())
    except (OSError, ValidationError):
        return None


def current(home: Path) -> Supervised | None:
    """What runs in `home` now; None when nothing does."""
    found = read(home)
    return found if found and found.running else None


def write(home: Path, status: Status) -> None:
    """Writes `state.json` for this process as the supervisor."""
    pid = os.getpid()
    found = Supervised(supervisor=pid, started=started_at(pid) or 0.0, status=status)
    write_private(home / "state.json", found.model_dump_json(indent=2))


def forget(home: Path) -> None:
    """Removes what says that something runs here."""
    for name in ("state.json", "run/environment.json"):
        (home / name).unlink(missing_ok=True)


def write_environment(home: Path, environment: Mapping[str, str]) -> None:
    """Keeps what the parts were told, keys included, for the commands that talk to them."""
    write_private(home / "run" / "environment.json", json.dumps(dict(environment), indent=2))


def environment(home: Path) -> dict[str, str]:
    """What the running parts of `home` were told; empty when nothing runs."""
    if current(home) is None:
        return {}
    try:
        found = json.loads((home / "run" / "environment.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()}


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Holds `home` for this process. Raises `AlreadyRunning` when another one does."""
    with (home / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"Switchboard already runs in {home}: see `switchboard status`, or stop it with `switchboard down`."
            ) from None
        yield


def leftovers(home: Path, marker: str) -> list[psutil.Process]:
    """Processes that an earlier supervisor of `home` started and that outlived it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(marker) == str(home) and process.pid != os.getpid():
                found.append(process)
    return found


def sweep(home: Path, marker: str) -> int:
    """Ends what an earlier supervisor of `home` left behind; how many that were."""
    found = leftovers(home, marker)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(found, timeout=3)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(found)
