"""How often somebody may try to sign in: counted for the address they come from and for the account they try."""

import ipaddress
import math
import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import Redis

from control.errors import TooMany

log = structlog.get_logger(__name__)

PREFIX = "limits"
# An office behind one address signs in in the morning; one person does not need five links in a minute.
OF_ADDRESS = (parse("20/minute"), parse("120/hour"))
OF_ACCOUNT = (parse("5/minute"), parse("30/hour"))
# A customer of a provider has a network of this size in IPv6, and all addresses in it.
_IPV6_NETWORK = 64


class Throttle:
    """Every try is counted here in memory, and in Redis for all processes of control; each may refuse.

    So a Redis that is away neither lets everybody try without end nor keeps anybody out.
    """

    def __init__(self, redis: Redis) -> None:
        """To be made where the event loop runs."""
        shared = RedisStorage(
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]
        )
        self._here = FixedWindowRateLimiter(MemoryStorage())
        self._shared = FixedWindowRateLimiter(shared)
        self._is_away = False

    async def address(self, address: str) -> None:
        """Counts a try from there. Raises `TooMany`."""
        await self._count(OF_ADDRESS, "address", network_of(address))

    async def account(self, account: UUID) -> None:
        """Counts a try for a user. Raises `TooMany`."""
        await self._count(OF_ACCOUNT, "account", str(account))

    async def _count(self, items: Sequence[RateLimitItem], kind: str, who: str) -> None:
        waits = [await self._wait(self._here, item, kind, who) for item in items]
        try:
            waits += [await self._wait(self._shared, item, kind, who) for item in items]
        except StorageError as error:
            self._says_away(error.storage_error)
        else:
            self._is_away = False
        if wait := max(waits):
            log.warning("sign_in_throttled", kind=kind, who=who, retry_after_s=wait)
            raise TooMany(f"Too many tries to sign in; try again in {wait} s.", wait)

    async def _wait(self, limiter: FixedWindowRateLimiter, item: RateLimitItem, kind: str, who: str) -> int:
        """Counts; seconds until the next try, 0 while this one is allowed."""
        if await limiter.hit(item, "sign-in", kind, who):
            return 0
        window = await limiter.get_window_stats(item, "sign-in", kind, who)
        return max(1, math.ceil(window.reset_time - time.time()))

    def _says_away(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("sign_ins_counted_alone", error=type(error).__name__)
        self._is_away = True


def network_of(address: str) -> str:
    """The part of an address that one customer of a provider has for himself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
