"""A caller's side of a conversation: waits for its turn, speaks, and measures what came back."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from local import measure
from local.phone.outgoing import OutgoingCall

RATE = 8_000
# The agent has finished when it has been silent this long: longer than the pause between two sentences.
FINISHED_S = 1.2
GREETING_LIMIT_S = 10.0
# Sooner than an agent asks whether anybody is there, which is no reply.
REPLY_LIMIT_S = 8.0
LONGEST_REPLY_S = 60.0
# A sound this short may be a filler word, and is listened to before it counts as a reply.
_SHORT_S = 1.2
_FILLERS = re.compile(
    r"(?:(?:u+h+|u+m+|e+r+m?|h+m+|m+h+m+|mm+|ah+|oh|well|so|okay|ok|right|sure|yes|yeah|one moment|just a moment|"
    r"one second|let me see|let me check|let me think|please|a moment)[\s.,!…-]*)+",
    re.IGNORECASE,
)

Samples = NDArray[np.int16]
Transcribe = Callable[[Samples], Awaitable[str]]
"""The words in 8 kHz samples."""


@dataclass(frozen=True, slots=True)
class Speech:
    """What the caller says: its words (or what it is), and its sound at 8 kHz."""

    text: str
    samples: Samples


@dataclass(frozen=True, slots=True)
class Greeting:
    """Seconds from the answer to the first sound, None when nobody spoke; and the words."""

    after_s: float | None
    heard: str


@dataclass(frozen=True, slots=True)
class Turn:
    """`voice_to_voice_s` is None when no reply came, a filler word being none."""

    said: str
    heard: str
    voice_to_voice_s: float | None
    interrupted: bool


def is_filler(text: str) -> bool:
    """Whether these words only fill the time until an answer."""
    return _FILLERS.fullmatch(text.strip()) is not None


async def hear_greeting(call: OutgoingCall, transcribe: Transcribe) -> Greeting:
    """Waits for the agent's first words and their end."""
    if not await call.wait_speech(GREETING_LIMIT_S):
        return Greeting(None, "")
    await call.wait_silence(LONGEST_REPLY_S, lasting=FINISHED_S)
    agent = call.recording.stereo()[:, 1]
    found = measure.stretches(agent)
    return Greeting(round(found[0].start, 3) if found else None, await transcribe(agent))


async def take_turn(call: OutgoingCall, speech: Speech, transcribe: Transcribe) -> Turn:
    """Says `speech` and listens to the reply to its end."""
    since = time.monotonic() - call.recording.started
    spoken = await call.speak(speech.samples)
    limit = spoken + REPLY_LIMIT_S
    reply: float | None = None
    while reply is None and time.monotonic() < limit and not call.ended.done():
        after = max(spoken, call.last_sound)
        if not await call.wait_speech(limit - time.monotonic(), after=after):
            break
        await call.wait_silence(LONGEST_REPLY_S, lasting=FINISHED_S)
        reply = await _reply(call, since, transcribe)
    stereo = call.recording.stereo()
    heard = await transcribe(stereo[round(since * RATE) :, 1])
    return Turn(speech.text, heard, reply, measure.exchange(stereo, since).interrupted)


async def _reply(call: OutgoingCall, since: float, transcribe: Transcribe) -> float | None:
    """Voice to voice of the first thing said that is more than a filler word."""
    stereo = call.recording.stereo()
    found = measure.exchange(stereo, since)
    for one in found.replies:
        if one.length < _SHORT_S and is_filler(await transcribe(_cut(stereo[:, 1], one))):
            continue
        return round(found.delay(one), 3)
    return None


def _cut(channel: Samples, part: measure.Stretch, margin_s: float = 0.1) -> Samples:
    return channel[max(0, round((part.start - margin_s) * RATE)) : round((part.end + margin_s) * RATE)]
