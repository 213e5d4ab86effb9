"""The sign of life of a job worker in its home: there as long as it works, and as old as its last heartbeat."""

from pathlib import Path


def file(home: Path) -> Path:
    """Where the sign is."""
    return home / "run" / "jobs.beat"


def show(home: Path) -> None:
    """Says that the worker has just beaten. Raises `OSError`."""
    path = file(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch()


def hide(home: Path) -> None:
    """Says that no worker works."""
    file(home).unlink(missing_ok=True)
