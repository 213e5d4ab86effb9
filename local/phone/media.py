"""Audio between one phone and one room, each frame handed on as it arrives."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from local.phone import native
from local.phone.offer import Audio
from local.phone.rtp import CODECS, RtpPort

RATE = 8_000
# livekit takes whole 10 ms frames when it shall not queue them.
ROOM_FRAME = RATE // 100
TICK_S = 0.02
TICK = int(RATE * TICK_S)
# Who sends nothing this long gets silence filled in, so that the other side's clock goes on.
GAP_S = 0.1
# Packets that wait on their way to the phone; after a stall the oldest go, so that no delay stays.
MAX_WAITING = 8
# A phone that sends faster than anybody speaks, by more than what a network holds back and lets go at once, is cut.
MAX_AHEAD_S = 1.0
# Frames of a second speaker that wait for the first one's clock.
MAX_BEHIND = 3
STREAM_TIMEOUT_S = 1.0

Samples = NDArray[np.int16]


class Mixer:
    """Adds up who speaks in the room. The first track gives the beat; the others' frames join its own."""

    def __init__(self) -> None:
        self._behind: dict[str, deque[Samples]] = {}

    def add(self, sid: str, samples: Samples) -> Samples | None:
        """One frame of one track; returns a mixed frame when that track gives the beat."""
        own = self._behind.setdefault(sid, deque(maxlen=MAX_BEHIND))
        leader = next(iter(self._behind))
        if sid != leader and len(own) == MAX_BEHIND:
            # The leader is silent on the wire; whoever does send takes over.
            self._behind[leader] = self._behind.pop(leader)
            leader = next(iter(self._behind))
        if sid != leader:
            own.append(samples)
            return None
        own.clear()
        others = [frames.popleft() for frames in self._behind.values() if frames]
        return add_up([samples, *others]) if others else samples

    def remove(self, sid: str) -> None:
        self._behind.pop(sid, None)


def add_up(frames: list[Samples]) -> Samples:
    """The sum of frames, clipped, as long as the first."""
    total = frames[0].astype(np.int32)
    for frame in frames[1:]:
        length = min(len(total), len(frame))
        total[:length] += frame[:length]
    return np.clip(total, -32768, 32767).astype(np.int16)


async def close_stream(stream: rtc.AudioStream) -> None:
    """Closes a stream even when the library's own end-of-stream event never comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STREAM_TIMEOUT_S):
            await stream.aclose()


class Filler:
    """Makes up for audio that does not come: after a gap, one `emit` for each 20 ms that went by."""

    def __init__(self, emit: Callable[[], None]) -> None:
        self._emit = emit
        self._until = time.monotonic()
        self._filling = False

    def heard(self) -> None:
        self._until, self._filling = time.monotonic(), False

    def tick(self) -> None:
        now = time.monotonic()
        if not self._filling and now - self._until < GAP_S:
            return
        self._filling = True
        self._until = max(self._until, now - GAP_S)
        while self._until + TICK_S <= now:
            self._emit()
            self._until += TICK_S


class Pace:
    """Lets sound through that was spoken in the time that went by, and a second more."""

    def __init__(self) -> None:
        self._until = time.monotonic()

    def admits(self, seconds: float) -> bool:
        now = time.monotonic()
        if self._until - now > MAX_AHEAD_S:
            return False
        self._until = max(self._until, now) + seconds
        return True


class Bridge:
    """Carries a call's audio both ways while `run` runs, from the moment that it is `started`.

    `source` is what the phone says, to be published in a room.
    """

    def __init__(self, port: RtpPort) -> None:
        self.ptime = 20
        """Milliseconds of audio in each packet to the phone; set before the first track comes."""
        self.source = rtc.AudioSource(RATE, 1, queue_size_ms=0)
        self._port = port
        self._capture = native.Capture(self.source, ROOM_FRAME)
        self._pace = Pace()
        self._mixer = Mixer()
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._audio: Audio | None = None
        self._room_silence = Filler(lambda: self._to_room(np.zeros(TICK, dtype=np.int16)))
        self._phone_silence = Filler(lambda: self._send(np.zeros(TICK, dtype=np.int16)))

    def start(self, audio: Audio) -> None:
        """Lets audio through, as agreed; while the call is held, neither side hears the other."""
        self._audio = audio

    def take(self, payload: bytes) -> None:
        """One frame from the phone."""
        if self._audio is not None and not self._audio.held:
            self._room_silence.heard()
            self._to_room(np.frombuffer(CODECS[self._audio.payload_type].decode(payload), dtype=np.int16))

    def listen(self, sid: str, track: rtc.Track) -> None:
        """Begins to play a track of the room to the phone."""
        if sid not in self._streams:
            self._streams[sid] = asyncio.create_task(self._play(sid, track), name=f"play {sid}")

    def forget(self, sid: str) -> None:
        """Ends playing a track."""
        task = self._streams.get(sid)
        if task is not None:
            task.cancel()

    async def run(self) -> None:
        """Fills gaps in both directions until cancelled."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                self._room_silence.tick()
                self._phone_silence.tick()
        finally:
            await self._end_streams()

    async def aclose(self) -> None:
        """To be called behind `run`, when no room has the phone's sound any more."""
        await self.source.aclose()

    async def _end_streams(self) -> None:
        streams = list(self._streams.values())
        for task in streams:
            task.cancel()
        if streams:
            await asyncio.wait(streams, timeout=2)

    async def _play(self, sid: str, track: rtc.Track) -> None:
        stream = native.open_stream(track, rate=RATE, frame_ms=self.ptime, capacity=MAX_WAITING)
        try:
            async for event in stream:
                mixed = self._mixer.add(sid, np.frombuffer(event.frame.data, dtype=np.int16))
                if mixed is not None:
                    self._phone_silence.heard()
                    self._send(mixed)
        finally:
            self._mixer.remove(sid)
            self._streams.pop(sid, None)
            await close_stream(stream)

    def _send(self, samples: Samples) -> None:
        if self._audio is not None and not self._audio.held:
            self._port.send(CODECS[self._audio.payload_type].encode(samples.tobytes()), len(samples))

    def _to_room(self, samples: Samples) -> None:
        for start in range(0, len(samples) - ROOM_FRAME + 1, ROOM_FRAME):
            if self._pace.admits(ROOM_FRAME / RATE):
                self._capture.take(samples[start : start + ROOM_FRAME])
