"""Ports for servers under test."""

import random
import socket

# Below those that the system gives to whoever connects: no other test's connection takes one in the meantime.
FIRST, LAST = 20_000, 32_000
_RANDOM = random.SystemRandom()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of the loopback interface that was free a moment ago."""
    while True:
        port = _RANDOM.randrange(FIRST, LAST)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
