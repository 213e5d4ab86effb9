"""Ports for the parts: the wanted one when it is free, another one otherwise."""

import socket
from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["tcp", "udp"]
_KIND = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(slots=True)
class Ports:
    """Chosen ports stay bound until the part that gets them starts, so that nobody takes them meanwhile."""

    moved: dict[str, tuple[int, int]] = field(default_factory=dict)
    _held: dict[int, list[socket.socket]] = field(default_factory=dict)

    def choose(self, name: str, wanted: int, transport: Transport = "tcp", host: str = "127.0.0.1") -> int:
        """`wanted`, or another port when it is 0 or taken; a taken one is noted in `moved` as (wanted, chosen)."""
        try:
            port = self._hold(wanted, transport, host)
        except OSError:
            port = self._hold(0, transport, host)
            self.moved[name] = (wanted, port)
        return port

    def release(self, port: int | None) -> None:
        """Lets go of a port, right before the part that listens on it starts."""
        for held in self._held.pop(port or 0, []):
            held.close()

    def close(self) -> None:
        for port in list(self._held):
            self.release(port)

    def _hold(self, wanted: int, transport: Transport, host: str) -> int:
        held = socket.socket(socket.AF_INET, _KIND[transport])
        if transport == "tcp":
            # As servers do: a port whose old connections linger counts as free.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, wanted))
        except OSError:
            held.close()
            raise
        port = int(held.getsockname()[1])
        self._held.setdefault(port, []).append(held)
        return port
