"""`python -m control.worker`: does the jobs that were enqueued until it is told to stop."""

import argparse
import asyncio
import functools
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg.conninfo
import structlog

from control.db.pool import dsn
from control.db.start import migrated_database
from control.jobs.attempt import Attempts
from control.jobs.catalogue import CATALOGUE, Catalogue
from control.jobs.engine import PostgresJobs
from control.jobs.job import Queue
from control.jobs.schedule import SCHEDULE, Every
from control.jobs.working import Share, Working
from switchboard import logs, stream
from switchboard.recording_store import RecordingStore
from switchboard.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 100


async def serve(settings: Settings, share: Share, catalogue: Catalogue, schedule: Sequence[Every]) -> None:
    """Works until SIGTERM or SIGINT, then drains. Raises `SettingsError`."""
    settings.need("DATABASE_URL")
    _check(settings.database_url)
    # Said now and not at night: jobs open it again when they need it.
    RecordingStore.of(settings)
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, functools.partial(_stop, main))
    loop.set_exception_handler(_left)
    redis = stream.connect(settings.redis_url)
    try:
        async with migrated_database(settings) as database:
            jobs = PostgresJobs(database, redis, catalogue, schedule)
            attempts = Attempts(database, redis, settings, jobs, catalogue)
            log.info("worker_begins", queues=[*share.queues] or "all", at_once=share.at_once)
            await Working(settings.database_url, settings.home, database, jobs, attempts, share).run()
    finally:
        await redis.aclose()


def _stop(main: "asyncio.Task[object] | None") -> None:
    # A second signal must not end the draining of the first.
    if main is not None and not main.cancelling():
        log.info("worker_drains")
        main.cancel()


def _left(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Procrastinate awaits no job whose end it could not write down; the task is found by its row."""
    log.warning("worker_left_error", what=context["message"], error=repr(context.get("exception")))


def _check(url: str) -> None:
    """Both clients take the address; what only one of them knows in it is found here."""
    try:
        psycopg.conninfo.conninfo_to_dict(dsn(url))
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"DATABASE_URL: {str(error).strip()}: mend the address.") from None


def _share(words: Sequence[str]) -> Share:
    """Raises `SettingsError` for words that are none of ours."""
    parser = argparse.ArgumentParser(prog="python -m control.worker", exit_on_error=False)
    parser.add_argument("--queues", default="", help="names with commas between them; all when left out")
    parser.add_argument("--at-once", type=int, default=Share().at_once, help="how many jobs run at once")
    try:
        given, unknown = parser.parse_known_args(words)
        if unknown:
            raise SettingsError(f"{unknown[0]} is no option: --queues and --at-once are.")
    except argparse.ArgumentError as error:
        raise SettingsError(f"{error}.") from None
    names = [name.strip() for name in given.queues.split(",") if name.strip()]
    if wrong := sorted({*names} - {*Queue}):
        raise SettingsError(f"--queues: there is no queue {wrong[0]}: the queues are {', '.join(Queue)}.")
    if not 1 <= given.at_once <= MOST_AT_ONCE:
        raise SettingsError(f"--at-once must be from 1 to {MOST_AT_ONCE}.")
    return Share(tuple(Queue(name) for name in names), given.at_once)


def main(
    words: Sequence[str] | None = None, catalogue: Catalogue = CATALOGUE, schedule: Sequence[Every] = SCHEDULE
) -> int:
    """0 after a stop that was asked for, 2 when a setting keeps the worker from starting."""
    try:
        share = _share(sys.argv[1:] if words is None else words)
        settings = Settings.read()
        logs.configure("worker", level=settings.log_level, json=settings.log_json)
        asyncio.run(serve(settings, share, catalogue, schedule))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
