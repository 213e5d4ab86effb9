"""The database as a process of ours begins with it: reached, and of this version."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg

from control.db.migrate import MigrationError, migrate
from control.db.pool import Database, DatabaseAway, open_database
from switchboard.settings import Settings, SettingsError

WAIT_S = 10.0
PAUSE_S = 0.3


@asynccontextmanager
async def migrated_database(settings: Settings) -> AsyncIterator[Database]:
    """The database of DATABASE_URL. Raises `SettingsError` when it stays unreachable or its data is unfit."""
    async with AsyncExitStack() as stack:
        database = await _opened(stack, settings)
        await _migrate(database)
        yield database


async def _opened(stack: AsyncExitStack, settings: Settings) -> Database:
    """Postgres often starts beside us, so that a refused connection is tried again for a while."""
    give_up = time.monotonic() + WAIT_S
    while True:
        try:
            return await stack.enter_async_context(open_database(settings.database_url, echo=settings.database_echo))
        except DatabaseAway as error:
            if time.monotonic() > give_up:
                raise SettingsError(
                    f"DATABASE_URL: Postgres at {_place(settings.database_url)} cannot be reached "
                    f"({type(error.__cause__).__name__}): start it, or mend the address."
                ) from None
        except (asyncpg.PostgresError, ValueError) as error:  # type: ignore[attr-defined]
            raise SettingsError(
                f"DATABASE_URL: Postgres at {_place(settings.database_url)} refuses us ({error}): mend the address."
            ) from None
        await asyncio.sleep(PAUSE_S)


def _place(url: str) -> str:
    """Host or socket folder and database, without user and password."""
    parts = urlsplit(url)
    return f"{parse_qs(parts.query).get('host', [parts.hostname])[0]}{parts.path}"


async def _migrate(database: Database) -> None:
    try:
        async with database.session() as connection:
            await migrate(connection)
    except MigrationError as error:
        raise SettingsError(str(error)) from None
    except DatabaseAway as error:
        raise away_at_start(error) from None


def away_at_start(error: DatabaseAway) -> SettingsError:
    return SettingsError(f"DATABASE_URL: Postgres went away while this started ({error}).")
