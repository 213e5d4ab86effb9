"""Servers that a setting names instead of one of ours: are they there, and do they let us in?"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from switchboard.settings import SettingsError

_TIMEOUT_S = 5.0


async def check(outside: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Raises `SettingsError` with one sentence for the first server that cannot be used."""
    checks = {"livekit": _livekit, "redis": _redis, "postgres": _postgres}
    for part, setting in outside.items():
        if part not in checks:
            continue
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await checks[part](environment)
        except TimeoutError:
            raise SettingsError(_sentence(setting, environment, "gives no answer")) from None
        except OSError as error:
            raise SettingsError(_sentence(setting, environment, error.strerror or "cannot be reached")) from None


async def _livekit(environment: Mapping[str, str]) -> None:
    from livekit import api

    client = api.LiveKitAPI(
        environment["LIVEKIT_URL"], environment["LIVEKIT_API_KEY"], environment["LIVEKIT_API_SECRET"]
    )
    async with client:
        try:
            await client.room.list_rooms(api.ListRoomsRequest())
        except api.TwirpError as error:
            if error.status in (401, 403):
                raise SettingsError(
                    "LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not among the keys of the server at LIVEKIT_URL:"
                    " set a pair that is."
                ) from None
            raise SettingsError(f"LIVEKIT_URL: the server answers {error.code}: see its log.") from None


async def _redis(environment: Mapping[str, str]) -> None:
    from redis import exceptions

    from switchboard import stream

    client = stream.connect(environment["REDIS_URL"], timeout_s=_TIMEOUT_S)
    answer: Any = client.ping()
    try:
        await answer
    except exceptions.AuthenticationError:
        raise SettingsError("REDIS_URL: the server refuses its user or password: set the right ones.") from None
    except exceptions.RedisError:
        raise ConnectionError(None, "cannot be reached") from None
    finally:
        await client.aclose()


async def _postgres(environment: Mapping[str, str]) -> None:
    import asyncpg
    from asyncpg import exceptions

    url = environment["DATABASE_URL"].replace("postgresql+asyncpg://", "postgresql://", 1)
    connect: Any = asyncpg.connect
    try:
        connection = await connect(url, timeout=_TIMEOUT_S)
    except exceptions.InvalidAuthorizationSpecificationError:
        raise SettingsError("DATABASE_URL: the server refuses its user or password: set the right ones.") from None
    except exceptions.InvalidCatalogNameError:
        raise SettingsError("DATABASE_URL names a database that is not there: create it.") from None
    except (exceptions.PostgresError, exceptions.InterfaceError, ValueError) as error:
        raise SettingsError(f"DATABASE_URL: {str(error).splitlines()[0]}: set one that connects.") from None
    await connection.close(timeout=_TIMEOUT_S)


def _sentence(setting: str, environment: Mapping[str, str], why: str) -> str:
    parts = urlsplit(environment[setting])
    where = f"{parts.hostname or 'its socket'}{f':{parts.port}' if parts.port else ''}"
    return f"{setting}: {where} {why[:1].lower()}{why[1:]}: start that server, or unset {setting} to run one here."
