"""The mouth with a real audio source; what leaves it is read from what it hands over."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from livekit import rtc
from livekit.agents.voice.io import PlaybackFinishedEvent

from agent.mouth import CLAUSE, FRAME_BYTES, FRAME_S, SAMPLE_RATE, Hold, Mouth

DEADLINE_S = 5.0


class Source:
    """Stands for the media stack: keeps what it was given, and plays none of it until told."""

    def __init__(self) -> None:
        self.played: list[bytes] = []
        self.queued: list[bytes] = []

    @property
    def queued_duration(self) -> float:
        return sum(len(data) for data in self.queued) / (SAMPLE_RATE * 2)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.queued.append(bytes(frame.data))
        await asyncio.sleep(0)
        while len(self.queued) > 5:
            self.played.append(self.queued.pop(0))

    def clear_queue(self) -> None:
        self.queued.clear()

    async def aclose(self) -> None:
        self.queued.clear()


def _sound(frames: int, clause: str = "") -> rtc.AudioFrame:
    data = b"".join(bytes([n % 250 + 1, 0]) * (FRAME_BYTES // 2) for n in range(frames))
    return rtc.AudioFrame(data, SAMPLE_RATE, 1, len(data) // 2, userdata={CLAUSE: clause})


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
async def mouth(source: Source) -> AsyncIterator[Mouth]:
    made = Mouth()
    await made._source.aclose()
    made._source = source  # type: ignore[assignment]
    made._pump_task = asyncio.create_task(made._pump())
    yield made
    await made.aclose()


async def _settle() -> None:
    for _ in range(400):
        await asyncio.sleep(0)


def _finishes(mouth: Mouth) -> tuple[asyncio.Event, list[PlaybackFinishedEvent]]:
    finished = asyncio.Event()
    events: list[PlaybackFinishedEvent] = []

    def note(event: PlaybackFinishedEvent) -> None:
        events.append(event)
        finished.set()

    mouth.on("playback_finished", note)
    return finished, events


async def test_nothing_is_heard_while_the_line_rings(mouth: Mouth, source: Source) -> None:
    await mouth.capture_frame(_sound(10))
    await _settle()
    assert source.queued == []
    mouth.release(Hold.RINGING)
    await _settle()
    assert len(source.played) + len(source.queued) == 10


async def test_what_is_held_goes_on_at_the_same_sample(mouth: Mouth, source: Source) -> None:
    mouth.release(Hold.RINGING)
    sound = _sound(40)
    await mouth.capture_frame(sound)
    await _settle()
    mouth.hold(Hold.CALLER_SPEAKS)
    assert source.queued == []
    await _settle()
    assert source.queued == []
    mouth.release(Hold.CALLER_SPEAKS)
    await _settle()
    assert b"".join(source.played + source.queued) == bytes(sound.data)


async def test_two_reasons_hold_until_both_are_gone(mouth: Mouth, source: Source) -> None:
    mouth.hold(Hold.AWAY)
    mouth.release(Hold.RINGING)
    await mouth.capture_frame(_sound(3))
    await _settle()
    assert source.queued == []
    mouth.release(Hold.AWAY)
    await _settle()
    assert len(source.queued) == 3


async def test_an_interrupted_reply_is_over_and_says_what_was_heard(mouth: Mouth, source: Source) -> None:
    mouth.release(Hold.RINGING)
    finished, events = _finishes(mouth)
    await mouth.capture_frame(_sound(50, "one two three four five six seven eight nine ten"))
    mouth.hold(Hold.CALLER_SPEAKS)
    mouth.clear_buffer()
    async with asyncio.timeout(DEADLINE_S):
        await finished.wait()
    assert events[0].interrupted
    assert events[0].synchronized_transcript == ""
    assert not mouth.speaking


async def test_a_reply_heard_to_its_end_is_finished_once(mouth: Mouth, source: Source) -> None:
    mouth.release(Hold.RINGING)
    finished, events = _finishes(mouth)
    await mouth.capture_frame(_sound(4))
    mouth.flush()
    await _settle()
    source.queued.clear()
    async with asyncio.timeout(DEADLINE_S):
        await finished.wait()
    assert [event.interrupted for event in events] == [False]
    assert events[0].playback_position == pytest.approx(4 * FRAME_S)
