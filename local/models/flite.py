"""flite's voices: a small program, where it is installed. A sentence takes it some 70 ms."""

import asyncio
import shutil
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from local.models import sound
from local.models.speech import SpeechFailed

VOICES = ("slt", "rms", "awb", "kal16")
TIMEOUT_S = 10.0
RATE = 16_000
EMPTY_WAV = 44
# It reads ASCII alone, and silently drops the rest.
SPOKEN = str.maketrans(
    {
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{EN DASH}": ", ",
        "\N{EM DASH}": ", ",
        "\N{HORIZONTAL ELLIPSIS}": ". ",
        "€": " euros ",
        "£": " pounds ",
        "°": " degrees ",
        "ß": "ss",
        "æ": "ae",
        "ø": "o",
        "œ": "oe",
    }
)


def binary() -> str | None:
    """Where flite is, or None."""
    return shutil.which("flite")


async def speak(text: str, voice: str, *, pitch: int = 100, speed: float = 1.0) -> tuple[sound.Signal, int]:
    """The text as sound and its rate; `pitch` is per cent of the voice's own. Raises SpeechFailed."""
    # Not every voice heeds flite's own setting of pitch: it speaks slower or faster, and is played the other way.
    options = ["-voice", voice, "--setf", f"duration_stretch={pitch / 100 / speed:.3f}"]
    with tempfile.TemporaryDirectory(prefix="flite-") as folder:
        # To a pipe it writes the head alone: it opens its output again for each sentence.
        wav = Path(folder) / "spoken.wav"
        await _run(text, Path(folder), *options, "-o", str(wav))
        if not wav.exists() or wav.stat().st_size <= EMPTY_WAV:
            return np.zeros(0, np.float32), RATE
        try:
            signal, rate = sound.read_wav(wav.read_bytes())
        except sound.NotWav as wrong:
            raise SpeechFailed(f"flite's answer could not be read: {wrong}") from wrong
    return signal, rate * pitch // 100


async def phones(text: str, voice: str) -> Sequence[tuple[str, float]]:
    """The sounds of the text, each with the second it ends at within its sentence, as `speak` would say them."""
    with tempfile.TemporaryDirectory(prefix="flite-") as folder:
        out = await _run(text, Path(folder), "-voice", voice, "-psdur", "-o", "none")
    pairs = (item.rpartition(":") for item in out.decode("ascii", "replace").split())
    return [(name, float(end)) for name, _, end in pairs]


async def _run(text: str, folder: Path, *options: str) -> bytes:
    """flite's standard output for the text, which it reads from a file. Raises SpeechFailed."""
    program = binary()
    if not program:
        raise SpeechFailed("flite is not installed: install it, or choose a voice that starts with 'espeak:'")
    words = folder / "text"
    words.write_text(plain(text) + "\n", "ascii")
    process = await asyncio.create_subprocess_exec(
        program,
        *("-f", str(words), *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        raise SpeechFailed(f"flite took more than {TIMEOUT_S:.0f} s for {len(text)} characters") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SpeechFailed(f"flite ended with status {process.returncode}")
    return out


def plain(text: str) -> str:
    """The text in ASCII, accents taken off, without control characters."""
    folded = unicodedata.normalize("NFKD", text.translate(SPOKEN)).encode("ascii", "ignore").decode()
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in folded)
