"""`switchboard backup` and `switchboard restore`: a whole installation as one file, and back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from zipfile import ZipFile

import typer

from cli import archive, dump
from cli.archive import Manifest
from cli.fault import CommandFailed
from cli.running import settings_here
from control.db import migrate
from control.forgetting import ledger
from local import postgres, state
from local.files import write_private
from local.part import Part
from local.serve import prepare_home
from local.stack import MARKER, for_servers
from local.supervisor import Supervisor
from switchboard import outbox
from switchboard.fact import CallEnded, Fact, Source, shared_id
from switchboard.settings import Settings

# How calls end on record that were live when the backup was made.
REASON = "not_in_backup"


def backup(file: Annotated[Path, typer.Argument(help="A new file; it holds secrets.")]) -> None:
    """Save the whole installation to a file, also while calls run."""
    settings = settings_here()
    manifest, held, files = asyncio.run(_backup(settings, file))
    typer.echo(f"{file}: {held}, {dump.count(files, 'file')} of facts, {_size(file)}.")
    typer.echo(f"Made by version {manifest.version}. It holds keys, so keep it closed; .env is not in it.")


def restore(
    file: Annotated[Path, typer.Argument(help="What `switchboard backup` made.")],
    replace: Annotated[bool, typer.Option("--replace", help="Throw away what is here.")] = False,
) -> None:
    """Make the installation what it was when the file was made. Needs the stack to be down."""
    manifest, held = asyncio.run(_restore(Settings.read(), file, replace=replace))
    typer.echo(f"Restored {held} as of {manifest.made_at.astimezone():%Y-%m-%d %H:%M:%S %Z}.")


async def _backup(settings: Settings, file: Path) -> tuple[Manifest, dump.Held, int]:
    home = settings.home.absolute()
    with archive.written(file) as made:
        async with _reached(settings, home) as url:
            held = await dump.look(url)
            if held.migration is None:
                raise CommandFailed("The database holds nothing of Switchboard: start it once with `switchboard up`.")
            manifest = Manifest(
                made_at=datetime.now(UTC),
                version=version("switchboard"),
                migration=held.migration,
                postgres=held.postgres,
            )
            made.writestr(archive.MANIFEST, manifest.model_dump_json(indent=2))
            # Before the database: a file goes once its facts are recorded, so each fact is in one or both.
            files = await asyncio.to_thread(archive.keep_files, made, home)
            with made.open(archive.DATABASE, "w", force_zip64=True) as out:
                await asyncio.to_thread(dump.save, url, out)
    return manifest, held, files


async def _restore(settings: Settings, file: Path, *, replace: bool) -> tuple[Manifest, dump.Held]:
    with archive.opened(file) as (found, manifest):
        _check_age(manifest, file)
        home = prepare_home(settings.home)
        with state.only_one(home):
            async with _database(settings, home) as url:
                await _check_place(url, home, replace=replace)
                with found.open(archive.DATABASE) as source:
                    await asyncio.to_thread(dump.load, url, source, emptied=replace)
                _put_files(found, home)
                await _close_calls(url, manifest, home)
                return manifest, await dump.look(url)


@contextlib.asynccontextmanager
async def _reached(settings: Settings, home: Path) -> AsyncIterator[str]:
    """The database of the running stack or of DATABASE_URL; else that of `home`, running for as long as the body."""
    if settings.database_url:
        yield settings.database_url
        return
    if not (home / "postgres").exists():
        raise CommandFailed(f"{home} holds no database: set SWITCHBOARD_HOME to a home that does.")
    with state.only_one(home):
        async with _database(settings, home) as url:
            yield url


@contextlib.asynccontextmanager
async def _database(settings: Settings, home: Path) -> AsyncIterator[str]:
    """The database of DATABASE_URL, or that of `home`, running for as long as the body. The caller holds the home."""
    if settings.database_url:
        yield settings.database_url
        return
    state.sweep(home, MARKER)
    sockets, stop, ready = postgres.socket_folder(home), asyncio.Event(), asyncio.Event()
    part = postgres.part(home, sockets, for_servers(home))
    running = asyncio.create_task(Supervisor([part], logs=home / "logs", report=_Quiet()).run(stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            yield postgres.url(sockets)
    finally:
        stop.set()
        waiting.cancel()
        # Raises what kept it from coming up.
        await running
        postgres.forget_sockets(home)


class _Quiet:
    """Tells nobody how the server comes and goes: it runs for a moment only."""

    def note(self, part: str, text: str) -> None: ...
    def ready(self, part: Part, after_s: float) -> None: ...
    def restarting(self, part: Part, why: str, pause_s: float) -> None: ...


def _check_age(manifest: Manifest, file: Path) -> None:
    if manifest.migration > max(migrate.known()):
        raise CommandFailed(
            f"{file} was made by version {manifest.version}, whose database is newer than version"
            f" {version('switchboard')} knows: restore it with the newer version."
        )


async def _check_place(url: str, home: Path, *, replace: bool) -> None:
    held = await dump.look(url)
    if held.postgres < dump.OLDEST:
        raise CommandFailed(
            f"The database is served by Postgres {held.postgres}: restoring needs {dump.OLDEST} or later."
        )
    if held.others:
        raise CommandFailed(
            f"The database is in use by {dump.count(held.others, 'other connection')}:"
            " stop control, and whatever else uses it."
        )
    if replace:
        return
    if held.tables:
        what = f" ({held})" if held.migration else ""
        raise CommandFailed(f"The database is not empty{what}: add --replace to throw that away.")
    if key := next((home / name for name in archive.SECRETS if (home / name).exists()), None):
        raise CommandFailed(f"{key} is there already: add --replace to throw it away.")


def _put_files(found: ZipFile, home: Path) -> None:
    for name in archive.SECRETS:
        if name in found.namelist():
            write_private(home / name, found.read(name).decode())
    if archive.LEDGER in found.namelist():
        # What was forgotten since the backup was made stays known.
        ledger.join(home, found.read(archive.LEDGER))
    folder = outbox.folder(home)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in archive.facts_in(found):
        # A file of facts only grows: of two with one name the longer has all of the other.
        if not (folder / name).exists() or (folder / name).stat().st_size < len(content):
            write_private(folder / name, content.decode(errors="replace"))


async def _close_calls(url: str, manifest: Manifest, home: Path) -> None:
    """Ends the calls that were live when the backup was made, as nobody else will: by facts in a file of their own.

    It is shipped like those of any ended process, and a call that has its true end in another file keeps that one.
    """
    calls = {one.call_id: one for one in await dump.open_calls(url)}
    facts = [fact for path in outbox.abandoned(home) for fact in outbox.facts_in(path)]
    for fact in facts:
        if fact.call_id is not None:
            calls.setdefault(fact.call_id, dump.OpenCall(fact.call_id, fact.conversation_id, fact.at))
    ended = {fact.call_id for fact in facts if fact.kind == "call_ended"} | await dump.ended_calls(url, calls)
    lines = [_end(one, manifest).model_dump_json() for call_id, one in calls.items() if call_id not in ended]
    if lines:
        name = f"restored-{manifest.made_at:%Y%m%dT%H%M%S}.jsonl"
        write_private(outbox.folder(home) / name, "\n".join(lines) + "\n")


def _end(call: dump.OpenCall, manifest: Manifest) -> Fact:
    lasted = (manifest.made_at - call.started_at).total_seconds()
    return Fact(
        id=shared_id(call.call_id, "call_ended", 0),
        conversation_id=call.conversation_id,
        call_id=call.call_id,
        at=manifest.made_at,
        source=Source.CONTROL,
        body=CallEnded(reason=REASON, duration_s=round(max(0.0, lasted), 1)),
    )


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size > 100_000 else f"{size / 1e3:.1f} kB"
