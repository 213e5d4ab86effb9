"""Connections to Postgres, and the one word for its absence."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, cast

import asyncpg
import structlog

from switchboard.cancellation import cancellations

log = structlog.get_logger(__name__)

Row = Mapping[str, Any]

SIZE = 10
ACQUIRE_S = 5.0
COMMAND_S = 15.0
# Text that Postgres will never take, however often it is offered: wrong data, broken constraints, too much.
REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,  # type: ignore[attr-defined]
    asyncpg.InternalClientError,  # type: ignore[attr-defined]
)
# What a statement may end with when its connection breaks under it; of a connection that lives it is a fault.
_OF_A_LOST_CONNECTION = (asyncpg.PostgresError, AttributeError, RuntimeError, EOFError)  # type: ignore[attr-defined]


class DatabaseAway(Exception):
    """Postgres cannot be reached or cannot work now; the same request may succeed later."""


def dsn(url: str) -> str:
    """The address as asyncpg takes it, from `postgresql://`, `postgres://` or `postgresql+asyncpg://`."""
    return re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql://", url)


class Connection(Protocol):
    """What we use of asyncpg's connection. Arguments are `$1`, `$2` …; `timeout` is seconds."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str: ...

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]: ...

    async def fetchrow(self, query: str, *args: object) -> Row | None: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    def transaction(self) -> AbstractAsyncContextManager[object]: ...

    def is_closed(self) -> bool: ...


class Database:
    """A pool of connections. Every session raises `DatabaseAway` when Postgres cannot be worked with."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A connection of the pool; each statement stands for itself."""
        with _Named():
            connection = await self._pool.acquire(timeout=ACQUIRE_S)
        try:
            with _Named(connection):
                yield cast(Connection, connection)
        except (DatabaseAway, asyncio.CancelledError):
            # Giving it back in good order would wait for a Postgres that may hang.
            with suppress(*_AWAY):
                connection.terminate()
            raise
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a transaction: all of it or nothing."""
        async with self.session() as connection, connection.transaction():
            yield connection

    async def _release(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=ACQUIRE_S)
        except (*_AWAY, *_OF_A_LOST_CONNECTION) as error:
            log.debug("connection_lost", error=str(error))


class _Named:
    """Gives the many errors of an absent database their one name."""

    def __init__(self, connection: Any = None) -> None:
        self._connection = connection
        self._cancelled = cancellations()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Client-side faults of a value are interface errors too, but no outage.
        if isinstance(error, REFUSED):
            return
        if isinstance(error, _AWAY) or (isinstance(error, _OF_A_LOST_CONNECTION) and self._is_lost()):
            if cancellations() > self._cancelled:
                # The error is that of rolling back after the cancellation; callers would try again for ever.
                raise asyncio.CancelledError from error
            raise DatabaseAway(f"the database is away: {type(error).__name__}: {error}") from error

    def _is_lost(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.is_closed())
        except _AWAY:
            # The pool has taken it back already, as it does with one that broke.
            return True


@asynccontextmanager
async def open_database(url: str, *, echo: bool = False, size: int = SIZE) -> AsyncIterator[Database]:
    """The database at `url`, with at most `size` connections. Raises `DatabaseAway` when it is not there."""

    async def prepare(connection: Any) -> None:
        await connection.set_type_codec("jsonb", encoder=_as_json, decoder=json.loads, schema="pg_catalog")
        if echo:
            connection.add_query_logger(_echo)

    with _Named():
        pool = await asyncpg.create_pool(  # type: ignore[no-untyped-call]
            dsn(url), min_size=0, max_size=size, init=prepare, command_timeout=COMMAND_S, timeout=ACQUIRE_S
        )
    try:
        database = Database(pool)
        async with database.session() as connection:
            await connection.execute("SELECT 1")
        yield database
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except _AWAY:
            pool.terminate()


def _as_json(value: object) -> str:
    return value if isinstance(value, Json) else json.dumps(value, ensure_ascii=False)


class Json(str):
    """Text that is JSON already."""


def _echo(record: Any) -> None:
    # The statement alone: its values are callers' words.
    log.info("sql", statement=" ".join(str(record.query).split()), ms=round(record.elapsed * 1000, 1))


def storable(text: str) -> str:
    """Without NUL characters, which Postgres has no place for."""
    return text.replace("\0", "")


def changed(said: str) -> int:
    """How many rows a statement says that it changed, as in `DELETE 3` or `INSERT 0 3`."""
    return int(said.rsplit(maxsplit=1)[-1])
