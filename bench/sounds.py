"""What callers of a bench say: sentences in flite's voice, and noises; as G.711 packets made beforehand."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from local.models import sound, timing, voice
from local.phone.listen import RATE
from local.phone.rtp import CODECS

VOICE = "flite:slt"
EDGE_S = 0.04
PACKET = RATE // 50
# About as loud as the voice.
NOISE_PEAK = 12_000.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something to say: its words, its sound at 24 kHz, and the same as packets of a call."""

    text: str
    spoken: timing.Spoken
    packets: list[bytes]

    @property
    def seconds(self) -> float:
        return len(self.packets) * PACKET / RATE


async def utterance(parts: str | Sequence[str | float], name: str = VOICE) -> Utterance:
    """Texts spoken one after another, without the voice's own silence around them; a number is a pause."""
    mixed = [parts] if isinstance(parts, str) else list(parts)
    spoken = await timing.speak([EDGE_S, *mixed, EDGE_S], name)
    return Utterance(spoken.text, spoken, _packets(spoken.samples))


async def utterances(texts: Sequence[str | Sequence[str | float]], name: str = VOICE) -> list[Utterance]:
    return list(await asyncio.gather(*(utterance(parts, name) for parts in texts)))


async def backchannel(text: str, seconds: float, name: str = VOICE) -> Utterance:
    """A short word said as listeners say it: the voice alone would draw a "mhm" out to over a second."""
    said = await voice.synthesise(text, name)
    speed = len(timing.active(said, voice.RATE)) * timing.FRAME_S / seconds
    if speed > 1:
        said = await voice.synthesise(text, name, speed=min(speed, voice.SPEEDS[1]))
    loud = timing.active(said, voice.RATE)
    size = round(timing.FRAME_S * voice.RATE)
    edge = np.zeros(round(EDGE_S * voice.RATE), np.int16)
    samples = np.concatenate([edge, said[loud[0] * size : (loud[-1] + 1) * size], edge])
    spoken = timing.Spoken(samples, timing.spread(text, samples, voice.RATE))
    return Utterance(text, spoken, _packets(samples))


def cough(seed: int) -> Utterance:
    """A cough: a burst and its rattling end, 150 to 400 ms."""
    random = np.random.default_rng(seed)
    length = random.uniform(0.15, 0.4)
    at = np.arange(round(length * voice.RATE)) / voice.RATE
    burst = np.exp(-at / 0.03) + 0.45 * np.exp(-at / 0.12) * (1 + 0.5 * np.sin(2 * np.pi * 32 * at))
    return _noise("cough", burst, at, low=400.0, high=3_200.0, random=random)


def throat(seed: int) -> Utterance:
    """A throat being cleared: low noise in two or three swells, 200 to 400 ms."""
    random = np.random.default_rng(seed)
    length = random.uniform(0.2, 0.4)
    at = np.arange(round(length * voice.RATE)) / voice.RATE
    swells = np.abs(np.sin(np.pi * at / length * random.integers(2, 4)))
    rattle = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * random.uniform(55, 80) * at))
    return _noise("throat", swells * rattle, at, low=150.0, high=1_400.0, random=random)


def _noise(
    name: str, course: Floats, at: Floats, *, low: float, high: float, random: np.random.Generator
) -> Utterance:
    spectrum = np.fft.rfft(random.standard_normal(len(at)))
    hertz = np.fft.rfftfreq(len(at), 1 / voice.RATE)
    spectrum *= np.exp(-((np.log(np.maximum(hertz, 1.0) / np.sqrt(low * high)) / np.log(high / low)) ** 2) * 4)
    shaped = np.fft.irfft(spectrum, len(at)) * course
    edge = np.zeros(round(EDGE_S * voice.RATE), np.int16)
    loud = (shaped / np.abs(shaped).max() * NOISE_PEAK).astype(np.int16)
    samples = np.concatenate([edge, loud, edge])
    return Utterance(name, timing.Spoken(samples, ()), _packets(samples))


def _packets(samples: sound.Samples) -> list[bytes]:
    narrow = sound.to_samples(sound.resample(sound.to_signal(samples), voice.RATE, RATE))
    pcm = np.ascontiguousarray(narrow, dtype="<i2").tobytes()
    encoded = CODECS[0].encode(pcm + bytes(-len(pcm) % (PACKET * 2)))
    return [encoded[at : at + PACKET] for at in range(0, len(encoded), PACKET)]


def plain(text: str) -> str:
    """Words alone, in lower case, for comparing what was heard with what was said."""
    return " ".join(re.findall(r"[a-z0-9]+", re.sub(r"['\u2019]", "", text.lower())))
