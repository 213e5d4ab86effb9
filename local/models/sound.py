"""Sound as numpy: reading and writing WAV, changing the sample rate."""

import math
import struct
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Samples = NDArray[np.int16]
Signal = NDArray[np.float32]

RATES = range(4_000, 192_001)
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# Zero crossings of the sinc on each side, and the part of the band that is kept.
CROSSINGS, BAND = 12, 0.94


class NotWav(ValueError):
    """The bytes are no WAV that can be read; the text says why."""


def read_wav(data: bytes) -> tuple[Signal, int]:
    """The samples, mixed to mono in -1 to 1, and their rate. Raises NotWav."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise NotWav("the file is no WAV: send RIFF/WAVE with PCM samples")
    layout: tuple[int, int, int, int] | None = None
    for name, body in _chunks(data):
        if name == b"fmt ":
            layout = _layout(body)
        elif name == b"data" and layout:
            return _decode(body, *layout), layout[2]
    raise NotWav("the WAV has no samples: its 'fmt ' or 'data' part is missing")


def write_wav(samples: Samples, rate: int) -> bytes:
    """A mono WAV of 16-bit samples."""
    body = samples.astype("<i2").tobytes()
    head = struct.pack("<IHHIIHH", 16, PCM, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + head
        + b"data"
        + struct.pack("<I", len(body))
        + body
    )


def to_signal(samples: Samples) -> Signal:
    """16-bit samples as -1 to 1."""
    return samples.astype(np.float32) / np.float32(32_768)


def to_samples(signal: Signal) -> Samples:
    """-1 to 1 as 16-bit samples; what is louder is cut."""
    return np.clip(np.rint(signal * 32_768), -32_768, 32_767).astype(np.int16)


def resample(signal: Signal, source: int, target: int) -> Signal:
    """The signal at another rate, by a windowed sinc split into phases; the delay is taken out."""
    if source == target or not len(signal):
        return signal
    shared = math.gcd(source, target)
    up, down = target // shared, source // shared
    phases = _phases(up, down)
    taps = phases.shape[1]
    padded = np.pad(signal, (taps // 2 - 1, taps // 2 + down))
    windows = sliding_window_view(padded, taps)
    out = np.empty(-(-len(signal) * up // down), np.float32)
    for first in range(min(up, len(out))):
        start, phase = divmod(first * down, up)
        count = len(range(first, len(out), up))
        out[first::up] = windows[start::down][:count] @ phases[phase]
    return out


@lru_cache(maxsize=8)
def _phases(up: int, down: int) -> Signal:
    """For each of `up` places between two samples, the weights of the samples around it."""
    width = max(1.0, down / up)
    half = math.ceil(CROSSINGS * width)
    place = np.arange(-half + 1, half + 1)[None, :] - (np.arange(up) / up)[:, None]
    cut = BAND / width
    shape = np.i0(9.0 * np.sqrt(np.clip(1 - (place / half) ** 2, 0, None))) / np.i0(9.0)
    weights = cut * np.sinc(cut * place) * shape
    normal: Signal = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normal


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        # Written as a stream, a WAV does not know its length: then the rest is sound.
        if name == b"data" and size in (0, 0xFFFFFFFF):
            size = len(data)
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _layout(body: bytes) -> tuple[int, int, int, int]:
    """Coding, channels, rate, bits a sample."""
    if len(body) < 16:
        raise NotWav("the WAV's 'fmt ' part is too short")
    coding, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if coding == EXTENSIBLE and len(body) >= 26:
        coding = int.from_bytes(body[24:26], "little")
    if (coding, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32)}:
        raise NotWav(f"the WAV's coding {coding} with {bits} bits is not read here: send 16-bit PCM")
    if not 1 <= channels <= 8 or rate not in RATES:
        raise NotWav(f"the WAV has {channels} channels at {rate} Hz: send 1 to 8 channels at 4 to 192 kHz")
    return coding, channels, rate, bits


def _decode(body: bytes, coding: int, channels: int, _rate: int, bits: int) -> Signal:
    frame = channels * bits // 8
    body = body[: len(body) // frame * frame]
    if coding == FLOAT:
        flat = np.nan_to_num(np.frombuffer(body, "<f4"), posinf=0, neginf=0).clip(-1, 1)
    elif bits == 8:
        flat = np.frombuffer(body, np.uint8).astype(np.float32) / 128 - 1
    elif bits == 24:
        thirds = np.frombuffer(body, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(thirds), 4), np.uint8)
        wide[:, 1:] = thirds
        flat = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        flat = np.frombuffer(body, f"<i{bits // 8}").astype(np.float32) / np.float32(2 ** (bits - 1))
    mono: Signal = flat.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mono
