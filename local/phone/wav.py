"""WAV files: read as 8 kHz mono for the phone, written as 16-bit PCM."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 8_000
MAX_BYTES = 200_000_000

Samples = NDArray[np.int16]


class NotAWav(Exception):
    """The file is no PCM WAV; the text names it and says what to do."""


def read_wav(path: Path) -> Samples:
    """The file as int16 mono at 8 kHz, whatever its rate, width (8, 16, 24, 32 bit) or channels. Raises NotAWav."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise NotAWav(f"{path} is larger than {MAX_BYTES // 1_000_000} MB: cut it.")
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise NotAWav(f"{path} does not exist: name a WAV file.") from None
    except OSError as error:
        raise NotAWav(f"{path} cannot be read ({error.strerror}).") from None
    except (wave.Error, EOFError):
        raise NotAWav(f"{path} is no PCM WAV file: convert it, for example `ffmpeg -i FILE out.wav`.") from None
    if not data or rate <= 0:
        raise NotAWav(f"{path} has no audio in it.")
    return resample(_mono(_widen(data, width), channels), rate)


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = RATE) -> None:
    """Writes int16 samples, shape (n,) or (n, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(samples, dtype="<i2").tobytes())


def resample(samples: NDArray[np.float64], rate: int, to: int = RATE) -> Samples:
    """Float samples in ±32768 at `rate` as int16 at `to` Hz; what the lower rate cannot carry is filtered out."""
    if rate != to:
        wanted = max(1, round(len(samples) * to / rate))
        if rate > to:
            samples = np.convolve(samples, _low_pass(0.45 * to / rate), mode="same")
        samples = np.interp(np.arange(wanted) * (rate / to), np.arange(len(samples)), samples)
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def _low_pass(cutoff: float, taps: int = 63) -> NDArray[np.float64]:
    n = np.arange(taps) - (taps - 1) / 2
    kernel = np.sinc(2 * cutoff * n) * np.hamming(taps)
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def _widen(data: bytes, width: int) -> NDArray[np.float64]:
    data = data[: len(data) // width * width]
    if width == 1:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float64) - 128) * 256
    if width == 3:
        octets = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        padded = np.zeros((len(octets), 4), dtype=np.uint8)
        padded[:, 1:] = octets
        return padded.view("<i4").reshape(-1).astype(np.float64) / 65536
    scale = 1 if width == 2 else 65536
    return np.frombuffer(data, dtype=f"<i{width}").astype(np.float64) / scale


def _mono(samples: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    whole = samples[: len(samples) // channels * channels]
    return np.asarray(whole.reshape(-1, channels).mean(axis=1), dtype=np.float64)
