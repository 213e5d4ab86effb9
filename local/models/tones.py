"""A voice by which processes can be told apart: each that asks for speech gets a tone of its own."""

import contextlib

import numpy as np
import psutil

from local.models import sound, voice

# Within what a telephone carries; none is another's overtone.
FREQUENCIES = (430, 570, 740, 950, 1_210, 1_530, 1_930, 2_430)
AMPLITUDE = 8_000
FADE_S = 0.01
# About as fast as a voice speaks.
LETTERS_A_SECOND = 14.0
# Connections whose owner is remembered; the oldest are looked up again.
MAX_KNOWN = 1_000


class Tones:
    """Gives each process that asks, known by the port of its connection, the next frequency."""

    def __init__(self) -> None:
        self.hertz: dict[int, int] = {}
        """The tone of each process, by pid, in the order in which they first spoke."""
        self._owners: dict[int, int] = {}

    def of(self, port: int) -> int:
        """The tone of the process on this machine that owns the TCP port. Blocks for some milliseconds."""
        pid = self._owners.get(port)
        # A port may have come to another process since.
        if pid is None or not psutil.pid_exists(pid):
            pid = owner(port) or 0
            if len(self._owners) >= MAX_KNOWN:
                self._owners.pop(next(iter(self._owners)))
            self._owners[port] = pid
        return self.hertz.setdefault(pid, FREQUENCIES[len(self.hertz) % len(FREQUENCIES)])


def owner(port: int) -> int | None:
    """The pid of the process on this machine that connects from the TCP port; None when there is none."""
    for one in psutil.net_connections("tcp"):
        if one.laddr and one.laddr.port == port and one.raddr and one.pid:
            return one.pid
    return None


def spoken(text: str, hertz: int) -> sound.Samples:
    """A tone as long as the text would take to say, at the rate of the voices."""
    at = np.arange(round(max(len(text), 1) / LETTERS_A_SECOND * voice.RATE)) / voice.RATE
    edge = np.minimum(np.minimum(at, at[-1] - at) / FADE_S, 1.0)
    return np.asarray(AMPLITUDE * edge * np.sin(2 * np.pi * hertz * at), dtype=np.int16)


def port_of(peer: object) -> int:
    """The port in what a transport says of its other side; 0 when it says none."""
    with contextlib.suppress(TypeError, IndexError, ValueError):
        return int(peer[1])  # type: ignore[index]
    return 0
