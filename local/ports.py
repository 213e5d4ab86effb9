"""Ports for the parts: the wanted one when it is free, another one otherwise."""

import contextlib
import random
import socket
from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["tcp", "udp"]
_KIND = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
# Below those that the system gives to whoever connects: while a part is away nobody's connection takes its port.
_OURS = range(20_000, 32_000)
_TRIES = 100
_RANDOM = random.SystemRandom()


@dataclass(slots=True)
class Ports:
    """Chosen ports stay bound until the part that gets them starts, so that nobody takes them meanwhile."""

    moved: dict[str, tuple[int, int]] = field(default_factory=dict)
    _held: dict[int, list[socket.socket]] = field(default_factory=dict)

    def choose(self, name: str, wanted: int, transport: Transport = "tcp", host: str = "127.0.0.1") -> int:
        """`wanted`, or another port when it is 0 or taken; a taken one is noted in `moved` as (wanted, chosen)."""
        if not wanted:
            return self._hold_any(transport, host)
        try:
            return self._hold(wanted, transport, host)
        except OSError:
            port = self._hold_any(transport, host)
            self.moved[name] = (wanted, port)
            return port

    def release(self, port: int | None) -> None:
        """Lets go of a port, right before the part that listens on it starts."""
        for held in self._held.pop(port or 0, []):
            held.close()

    def close(self) -> None:
        for port in list(self._held):
            self.release(port)

    def _hold_any(self, transport: Transport, host: str) -> int:
        for port in _RANDOM.sample(_OURS, _TRIES):
            with contextlib.suppress(OSError):
                return self._hold(port, transport, host)
        return self._hold(0, transport, host)

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


def free_port(transport: Transport = "tcp") -> int:
    """A port of the loopback interface that was free a moment ago."""
    ports = Ports()
    try:
        return ports.choose("", 0, transport)
    finally:
        ports.close()
