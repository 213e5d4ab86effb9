"""The one way out to addresses that users supply: checked at connect time, limited in size and time.

Private, loopback, link-local, mapped and otherwise special addresses are refused unless the installation
allows them; redirects are not followed. What a name resolves to is checked where the socket is opened, so
that a second look-up cannot give another answer.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class OutboundError(Exception):
    """The request was not answered as asked; the text says why."""


class Refused(OutboundError):
    """The address is one that this installation does not call."""


class TooLarge(OutboundError):
    """The answer is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts (`crm.internal`, `127.0.0.1`, `127.0.0.1:8081`) and networks (`10.0.0.0/8`) let through."""

    hosts: frozenset[str]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Allowed":
        hosts, networks = set(), []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.add(entry.lower())
        return cls(frozenset(hosts), tuple(networks))

    def host(self, name: str, port: int) -> bool:
        return name.lower() in self.hosts or f"{name.lower()}:{port}" in self.hosts

    def address(self, address: Address) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)


def is_public(address: Address) -> bool:
    """Whether the address is on the public Internet, also when wrapped in an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


class _Resolver(AbstractResolver):
    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if self._allowed.host(host, port):
            return found
        good = [one for one in found if _may_connect(one["host"], self._allowed)]
        if not good:
            raise Refused(f"{host} is at an address that is not public; allow it by SWITCHBOARD_OUTBOUND_ALLOWED.")
        return good

    async def close(self) -> None:
        await self._inner.close()


def _may_connect(text: str, allowed: Allowed) -> bool:
    address = ipaddress.ip_address(text.split("%")[0])
    return is_public(address) or allowed.address(address)


class Outbound:
    """Makes requests; one for a process, opened by `opened`."""

    def __init__(self, session: aiohttp.ClientSession, allowed: Allowed) -> None:
        self._session = session
        self._allowed = allowed

    @classmethod
    @asynccontextmanager
    async def opened(cls, allowed: Iterable[str] = ()) -> AsyncIterator["Outbound"]:
        rules = Allowed.of(allowed)
        connector = aiohttp.TCPConnector(resolver=_Resolver(rules), limit=64, ttl_dns_cache=None, use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            yield cls(session, rules)

    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        plain_http: bool = False,
    ) -> Answer:
        """One request, no redirects. Raises `OutboundError` (refused, too large, no answer in `timeout_s`).

        HTTP without TLS only to loopback or allowed hosts, unless `plain_http`.
        """
        try:
            self._check(url, plain_http)
            async with asyncio.timeout(timeout_s):
                async with self._session.request(
                    method, url, headers=headers, json=json, allow_redirects=False
                ) as answer:
                    body = await _read(answer, max_bytes)
                    return Answer(answer.status, dict(answer.headers), body)
        except TimeoutError:
            raise OutboundError(f"no answer within {timeout_s:g} s") from None
        except aiohttp.ClientConnectorDNSError as error:
            raise _refusal(error) or OutboundError("the host name is not known") from None
        except aiohttp.ClientError as error:
            raise OutboundError(f"{type(error).__name__}") from None
        except ValueError:
            raise Refused("the URL or a header is malformed") from None

    def _check(self, url: str, plain_http: bool) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in ("http", "https") or not host:
            raise Refused("the URL must start with http:// or https:// and name a host")
        literal = _literal(host)
        allowed = self._allowed.host(host, port) or (literal is not None and self._allowed.address(literal))
        if literal is not None and not allowed and not is_public(literal):
            raise Refused(f"{host} is not a public address; allow it by SWITCHBOARD_OUTBOUND_ALLOWED.")
        if parts.scheme == "http" and not (plain_http or allowed):
            raise Refused("plain HTTP is used only to hosts that SWITCHBOARD_OUTBOUND_ALLOWED names; use HTTPS.")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refusal(error: BaseException) -> Refused | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Refused):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"the answer is larger than {max_bytes} bytes")
    return bytes(body)
