"""Who sent a request: the peer, or what a trusted proxy says of it. For log lines only."""

import ipaddress
from collections.abc import Iterable

from aiohttp import web

from switchboard.settings import SettingsError

MAX_HEADER = 1_000


class Peers:
    def __init__(self, trusted: Iterable[str]) -> None:
        """Raises `SettingsError` for an entry that is no address and no network."""
        try:
            self._trusted = [ipaddress.ip_network(entry, strict=False) for entry in trusted]
        except ValueError as error:
            raise SettingsError(
                f"TRUSTED_PROXIES: {error}; name addresses or networks, such as 10.0.0.2 or 10.0.0.0/24."
            ) from None

    def of(self, request: web.Request) -> str:
        """The nearest address that is no trusted proxy's."""
        nearest = request.remote or "unknown"
        hops = request.headers.get("X-Forwarded-For", "")[:MAX_HEADER].split(",")
        while self._trusts(nearest) and hops:
            hop = hops.pop().strip()
            if not _is_address(hop):
                break
            nearest = hop
        return nearest

    def _trusts(self, text: str) -> bool:
        if not _is_address(text):
            return False
        address = ipaddress.ip_address(text)
        return any(address in network for network in self._trusted if network.version == address.version)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
