"""Speech to text: moonshine's small English model, which its package carries.

The transcriber is not safe for two threads (it answers with the other's memory), and two of them
on two cores are no faster than one, so there is one, on one thread. Its own voice detection keeps
state from one call to the next and invents words at the start of the second; it is switched off,
and speech is found here.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import numpy as np
from livekit.local_inference import VAD, VAD_WINDOW_SAMPLES
from moonshine_voice import ModelArch, Transcriber, get_assets_path

from local.models import sound

RATE = 16_000
WAITING = 32
TIMEOUT_S = 30.0
FRAME_S = VAD_WINDOW_SAMPLES / RATE
SPEECH, LEAST_SPEECH_S = 0.5, 0.1
# Measured on 8 kHz telephone sound: a short lead and a long quiet end are heard best.
LEAD_S, TAIL_S = 0.1, 0.6
# The model was made for short pieces; long sound is cut at its longest pauses.
PIECE_S, LEAST_PIECE_S = 18.0, 6.0

T = TypeVar("T")


class Busy(Exception):
    """Too many transcriptions wait already."""


class Ear:
    """The model, loaded on first use of the context; 200 MB."""

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hearing")
        self._waiting = 0
        self._model: Transcriber = await self._run(_load)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._model.close)
        self._thread.shutdown()

    async def transcribe(self, signal: sound.Signal, rate: int) -> str:
        """The words in the sound, "" when nobody speaks. Raises Busy, TimeoutError."""
        if self._waiting >= WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT_S + len(signal) / rate):
                # Piece by piece, so that a long recording does not keep a caller waiting.
                pieces = await self._run(_pieces, signal, rate)
                return " ".join(filter(None, [await self._run(self._words, piece) for piece in pieces]))
        finally:
            self._waiting -= 1

    def _words(self, piece: sound.Signal) -> str:
        lines = self._model.transcribe_without_streaming(piece.tolist(), RATE).lines
        return " ".join(line.text.strip() for line in lines).strip()

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _load() -> Transcriber:
    model = Transcriber(get_assets_path() / "tiny-en", ModelArch.TINY, options={"vad_threshold": "0"})
    model.transcribe_without_streaming([0.0] * RATE, RATE)
    return model


def _pieces(signal: sound.Signal, rate: int) -> list[sound.Signal]:
    signal = sound.resample(signal, rate, RATE)
    cuts = list(spans(_speech(signal)))
    # Where the recording ends with the words, quiet is added.
    signal = np.pad(signal, (0, max([0, *(end - len(signal) for _, end in cuts)])))
    return [signal[start:end] for start, end in cuts]


def _speech(signal: sound.Signal) -> list[bool]:
    """For each 32 ms, whether somebody speaks."""
    detector, samples = VAD(), sound.to_samples(signal)
    samples = np.pad(samples, (0, -len(samples) % VAD_WINDOW_SAMPLES))
    frames = samples.reshape(-1, VAD_WINDOW_SAMPLES)
    return [detector.predict(frame) >= SPEECH for frame in frames]


def spans(speech: list[bool]) -> Iterator[tuple[int, int]]:
    """Where to cut, in samples at 16 kHz: nothing without speech, no piece over 18 s."""
    spoken = [at for at, voiced in enumerate(speech) if voiced]
    if len(spoken) * FRAME_S < LEAST_SPEECH_S:
        return
    start, end = max(0, spoken[0] - round(LEAD_S / FRAME_S)), spoken[-1] + 1 + round(TAIL_S / FRAME_S)
    while (end - start) * FRAME_S > PIECE_S:
        cut = _longest_pause(speech, start)
        if any(speech[start:cut]):
            yield start * VAD_WINDOW_SAMPLES, cut * VAD_WINDOW_SAMPLES
        start = cut
    yield start * VAD_WINDOW_SAMPLES, end * VAD_WINDOW_SAMPLES


def _longest_pause(speech: list[bool], start: int) -> int:
    """The middle of the longest pause between 6 and 18 s after `start`, or 18 s after it."""
    best, quiet, latest = 0, 0, start + round(PIECE_S / FRAME_S)
    cut = latest
    for at in range(start + round(LEAST_PIECE_S / FRAME_S), latest):
        quiet = 0 if speech[at] else quiet + 1
        if quiet > best:
            best, cut = quiet, at - quiet // 2
    return cut
