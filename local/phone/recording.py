"""Both sides of a call on one clock: every packet is kept with the time at which it was sent or arrived.

The audio of a packet stands at its time, on both sides, as a tap on the phone's wire would show it.
What arrives is put in order by its RTP timestamps and never stands earlier than it arrived.
"""

import time
from dataclasses import dataclass

import numpy as np
from aiortp.codecs import Codec
from numpy.typing import NDArray

RATE = 8_000
# 30 minutes of 20 ms packets; what comes later is not recorded.
MAX_PACKETS = 90_000
# A jitter buffer's depth: what comes earlier than expected waits at most this long.
MAX_WAIT = RATE * 40 // 1000
# Below this mean level a packet is silence, in which a jitter buffer catches up.
SILENCE = 60.0

Stereo = NDArray[np.int16]
"""Shape (samples, 2): left the caller as sent, right the agent as received; int16, 8 kHz."""
Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Packet:
    at: float
    timestamp: int
    payload: bytes


class Recorder:
    """Collects packets; `stereo` lays them out. Times are `time.monotonic()`."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.started = time.monotonic()
        self._sent: list[Packet] = []
        self._received: list[Packet] = []

    def sent(self, payload: bytes, timestamp: int) -> None:
        self._keep(self._sent, payload, timestamp)

    def received(self, payload: bytes, timestamp: int) -> None:
        self._keep(self._received, payload, timestamp)

    def stereo(self) -> Stereo:
        """The call so far, from the answer on."""
        sides = [self._lay_out(self._sent), self._lay_out(self._received)]
        out = np.zeros((max(len(side) for side in sides), 2), dtype=np.int16)
        for channel, side in enumerate(sides):
            out[: len(side), channel] = side
        return out

    def _keep(self, packets: list[Packet], payload: bytes, timestamp: int) -> None:
        if len(packets) < MAX_PACKETS:
            packets.append(Packet(time.monotonic(), timestamp, payload))

    def _lay_out(self, packets: list[Packet]) -> Samples:
        frames = [np.frombuffer(self._codec.decode(packet.payload), dtype="<i2") for packet in packets]
        places = place(packets, [float(np.abs(frame.astype(np.int32)).mean()) for frame in frames], self.started)
        length = max((at + len(frame) for at, frame in zip(places, frames, strict=True)), default=0)
        out = np.zeros(length, dtype=np.int16)
        for at, frame in zip(places, frames, strict=True):
            out[at : at + len(frame)] = frame
        return out


def place(packets: list[Packet], levels: list[float], started: float) -> list[int]:
    """Where each packet's audio stands, in samples after `started`: never before it arrived.

    Speech keeps the spacing of its timestamps; in silence the place falls back to the arrival.
    """
    places: list[int] = []
    for index, packet in enumerate(packets):
        arrival = max(0, round((packet.at - started) * RATE))
        at = arrival
        if index and levels[index] >= SILENCE:
            step = (packet.timestamp - packets[index - 1].timestamp) & 0xFFFFFFFF
            expected = places[-1] + step
            if arrival <= expected <= arrival + MAX_WAIT:
                at = expected
        places.append(at)
    return places
