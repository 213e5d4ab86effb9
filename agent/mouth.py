"""The one output gate: everything the agent says passes here on its way to the caller.

Audio is held as long as there is a reason to hold it: the line is ringing, the caller speaks, or is away. What is
held is neither lost nor said twice: held in mid-word, it goes on at that very sample.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from livekit import rtc
from livekit.agents.voice import io

from switchboard import media_stack

log = structlog.get_logger(__name__)

SAMPLE_RATE = 24_000
# Sound is handed over in pieces of this length; each costs the same, however long.
FRAME_S = 0.04
FRAME_BYTES = int(SAMPLE_RATE * FRAME_S) * 2
BYTES_A_SECOND = SAMPLE_RATE * 2
# Audio handed to the media stack ahead of time: longer than a busy event loop's stalls. Holding takes it back.
QUEUE_MS = 240
# Synthesised speech waiting to be heard; a model that says more than this is made to wait.
MAX_WAITING_S = 120.0
UNPUBLISH_TIMEOUT_S = 1.0


# Where a frame carries the text that it speaks a part of.
CLAUSE = "clause"


@dataclass(slots=True)
class Spoken:
    """A piece of text and the seconds of sound that came for it."""

    text: str
    seconds: float = 0.0


class Hold(StrEnum):
    """Why nothing is heard now."""

    RINGING = "ringing"
    CALLER_SPEAKS = "caller_speaks"
    AWAY = "away"
    LEFT = "left"


class Mouth(io.AudioOutput):
    """LiveKit's audio output of a session, with the gate in it. One for a call."""

    def __init__(self, on_failure: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            label="mouth",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=SAMPLE_RATE,
        )
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=QUEUE_MS)
        self._track = rtc.LocalAudioTrack.create_audio_track("voice", self._source)
        self._on_failure = on_failure
        self.on_clause: Callable[[str], None] = lambda _text: None
        """Told each piece of text when its sound begins to wait for being heard."""
        self.on_sound: Callable[[bytes], None] = lambda _data: None
        """Told the sound (16 bits, 24 kHz) that is handed to the media stack, to be heard behind what is there."""
        self.on_taken_back: Callable[[], None] = lambda: None
        """Told when what was handed over and not yet heard is heard no more."""
        self.insisting = False
        """What is said now may not be interrupted."""
        self._holds: set[Hold] = {Hold.RINGING}
        self._waiting: deque[bytes] = deque()
        self._handed: deque[bytes] = deque(maxlen=QUEUE_MS // int(FRAME_S * 1000) + 2)
        self._rest = b""
        self._script: list[Spoken] = []
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._flushed = False
        self._cleared = False
        self._open_segment = False
        self._handed_bytes = 0
        self._pump_task: asyncio.Task[None] | None = None
        self.publication: rtc.LocalTrackPublication | None = None
        self._room: rtc.Room | None = None

    async def publish(self, room: rtc.Room) -> None:
        """Publishes the track; this is what answers the call. Raises rtc errors."""
        self._room = room
        self.publication = await room.local_participant.publish_track(self._track, media_stack.voice_options())
        self._pump_task = asyncio.create_task(self._pump(), name="mouth")
        self._pump_task.add_done_callback(self._pump_done)

    async def unpublish(self) -> None:
        """Takes the track back, once all is said: what others keep of it is freed before the room ends."""
        if self.publication is None or self._room is None or not self._room.isconnected():
            return
        with contextlib.suppress(TimeoutError, rtc.participant.UnpublishTrackError):
            async with asyncio.timeout(UNPUBLISH_TIMEOUT_S):
                await self._room.local_participant.unpublish_track(self.publication.sid)

    def _pump_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            log.error("mouth_failed", exc_info=task.exception())
            self._on_failure()

    async def aclose(self) -> None:
        if self._pump_task is not None:
            self._pump_task.cancel()
            await asyncio.wait([self._pump_task])
        await self._source.aclose()

    @property
    def speaking(self) -> bool:
        """Whether something is being said, or held in the middle of being said."""
        return self._open_segment

    @property
    def left_s(self) -> float:
        """Seconds still to be heard of what is being said; without end as long as more may come."""
        if not self._open_segment:
            return 0.0
        if not self._flushed:
            return float("inf")
        return sum(map(len, self._waiting)) / BYTES_A_SECOND + self._source.queued_duration

    def hold(self, why: Hold) -> None:
        """Nothing more is heard, at once; what was on its way comes back to be said later."""
        if why in self._holds:
            return
        self._holds.add(why)
        handed, queued = b"".join(self._handed), self._queued_bytes()
        unheard = handed[max(len(handed) - queued, 0) :]
        self._source.clear_queue()
        self.on_taken_back()
        self._handed.clear()
        if unheard:
            self._waiting.appendleft(unheard)
            self._handed_bytes -= len(unheard)

    def _queued_bytes(self) -> int:
        """What was handed over and not yet heard, in whole samples."""
        return int(self._source.queued_duration * SAMPLE_RATE) * 2

    def release(self, why: Hold) -> None:
        """Takes back the reason; when it was the last one, speech goes on where it was held."""
        self._holds.discard(why)
        self._changed.set()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._open_segment = True
        self._flushed = False
        self._note(frame)
        data = self._rest + bytes(frame.data)
        whole = len(data) - len(data) % FRAME_BYTES
        for at in range(0, whole, FRAME_BYTES):
            self._waiting.append(data[at : at + FRAME_BYTES])
        self._rest = data[whole:]
        self._changed.set()
        if len(self._waiting) * FRAME_S > MAX_WAITING_S:
            self._has_room.clear()
        await self._has_room.wait()

    def _note(self, frame: rtc.AudioFrame) -> None:
        text = frame.userdata.get(CLAUSE, "")
        if not self._script or self._script[-1].text != text:
            self._script.append(Spoken(text))
            self.on_clause(text)
        self._script[-1].seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._rest:
            self._waiting.append(self._rest.ljust(FRAME_BYTES, b"\0"))
            self._rest = b""
        self._flushed = True
        self._changed.set()

    def clear_buffer(self) -> None:
        """What was not yet heard never is."""
        if not self._open_segment:
            return
        self._handed_bytes -= self._queued_bytes()
        self._source.clear_queue()
        self.on_taken_back()
        self._waiting.clear()
        self._handed.clear()
        self._rest = b""
        self._cleared = True
        self._has_room.set()
        self._changed.set()

    async def _pump(self) -> None:
        while True:
            self._changed.clear()
            if self._cleared:
                self._finish(interrupted=True)
            elif self._holds or not self._open_segment:
                await self._changed.wait()
            elif self._waiting:
                await self._hand_over(self._waiting.popleft())
            elif self._flushed:
                await self._drain()
            else:
                await self._changed.wait()

    async def _hand_over(self, data: bytes) -> None:
        if self._handed_bytes == 0 and not self._handed:
            self.on_playback_started(created_at=time.time())
        self._handed.append(data)
        self._handed_bytes += len(data)
        self._has_room.set()
        self.on_sound(data)
        frame = rtc.AudioFrame(data, SAMPLE_RATE, 1, len(data) // 2)
        await self._source.capture_frame(frame)

    async def _drain(self) -> None:
        """Waits until the last of the segment was heard, unless it is held or cleared meanwhile."""
        left = self._source.queued_duration
        if left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
            return
        self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        position = max(self._handed_bytes, 0) / BYTES_A_SECOND
        text = heard(self._script, position) if interrupted else None
        self._open_segment = self._flushed = self._cleared = False
        self._handed_bytes = 0
        self._handed.clear()
        self._script.clear()
        self.on_playback_finished(playback_position=position, interrupted=interrupted, synchronized_transcript=text)


def heard(script: Sequence[Spoken], seconds: float) -> str:
    """The words that were spoken in the first `seconds` of a script; within a piece, in proportion."""
    words: list[str] = []
    for piece in script:
        if seconds <= 0:
            break
        pieces = piece.text.split()
        share = min(seconds / piece.seconds, 1.0) if piece.seconds else 1.0
        words += pieces[: round(len(pieces) * share)]
        seconds -= piece.seconds
    return " ".join(words)
