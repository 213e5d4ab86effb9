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
# Unevenness of our own clock that is smoothed away.
MAX_EARLY = RATE * 5 // 1000
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
        sent, received = self._decode(self._sent), self._decode(self._received)
        levels = [float(np.abs(frame.astype(np.int32)).mean()) for frame in received]
        sides = [
            _lay_out(sent, place_sent(self._sent, self.started)),
            _lay_out(received, place(self._received, levels, self.started)),
        ]
        out = np.zeros((max(len(side) for side in sides), 2), dtype=np.int16)
        for channel, side in enumerate(sides):
            out[: len(side), channel] = side
        return out

    def _keep(self, packets: list[Packet], payload: bytes, timestamp: int) -> None:
        if len(packets) < MAX_PACKETS:
            packets.append(Packet(time.monotonic(), timestamp, payload))

    def _decode(self, packets: list[Packet]) -> list[Samples]:
        return [np.frombuffer(self._codec.decode(packet.payload), dtype="<i2") for packet in packets]


def _lay_out(frames: list[Samples], places: list[int]) -> Samples:
    out = np.zeros(
        max((at + len(frame) for at, frame in zip(places, frames, strict=True)), default=0), dtype=np.int16
    )
    for at, frame in zip(places, frames, strict=True):
        out[at : at + len(frame)] = frame
    return out


def place(packets: list[Packet], levels: list[float], started: float) -> list[int]:
    """Where the audio of received packets stands, in samples after `started`: never before it arrived.

    Speech keeps the spacing of its timestamps; in silence the place falls back to the arrival.
    """
    places: list[int] = []
    for index, packet in enumerate(packets):
        at = _samples(packet.at - started)
        if index and levels[index] >= SILENCE:
            expected = places[-1] + _step(packets[index - 1], packet)
            at = expected if at <= expected <= at + MAX_WAIT else at
        places.append(at)
    return places


def place_sent(packets: list[Packet], started: float) -> list[int]:
    """Where the audio of sent packets stands: at its time of sending, evened out by at most 5 ms, to the early
    side, so that no delay that is measured from it comes out shorter than it was."""
    places: list[int] = []
    for index, packet in enumerate(packets):
        at = _samples(packet.at - started)
        if index:
            expected = places[-1] + _step(packets[index - 1], packet)
            at = expected if at - MAX_EARLY <= expected <= at else at
        places.append(at)
    return places


def _step(before: Packet, packet: Packet) -> int:
    return (packet.timestamp - before.timestamp) & 0xFFFFFFFF


def _samples(seconds: float) -> int:
    return max(0, round(seconds * RATE))
