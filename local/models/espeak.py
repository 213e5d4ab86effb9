"""espeak-ng's voices, from the library inside a Python wheel: always there, many languages, less natural."""

import asyncio
import ctypes
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import espeakng_loader
import numpy as np

from local.models import sound
from local.models.speech import SpeechFailed

SYNCHRONOUS, RATE, UTF8, CHARACTERS = 2, 1, 1, 1
WORDS_A_MINUTE = 165
TIMEOUT_S = 10.0
MAX_SECONDS = 600
# Its voice of British English goes by "en" alone.
NAMES = {"en-gb": "en"}
ON_SOUND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

DATA = Path(espeakng_loader.get_data_path())  # type: ignore[no-untyped-call]
# The library keeps one voice and one callback for the whole process.
_thread = ThreadPoolExecutor(1, thread_name_prefix="espeak")
_loading = threading.Lock()


async def speak(text: str, voice: str, *, speed: float = 1.0) -> tuple[sound.Signal, int]:
    """The text as sound and its rate. `voice` is espeak's name, such as en-us or en-gb+f3. Raises SpeechFailed."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _speak, text, voice, speed)


@lru_cache(maxsize=1)
def languages() -> frozenset[str]:
    """The codes of the languages it speaks, lower case: en, en-us, de, …"""
    folder = DATA / "lang"
    return frozenset({*NAMES} | {file.name.lower() for file in folder.rglob("*") if file.is_file()})


@lru_cache(maxsize=1)
def _library() -> tuple[ctypes.CDLL, int]:
    with _loading:
        library = ctypes.CDLL(espeakng_loader.get_library_path())  # type: ignore[no-untyped-call]
        rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(DATA).encode(), 0)
    if rate <= 0:
        raise SpeechFailed("espeak-ng could not read its data: install the package espeakng-loader again")
    return library, rate


def _speak(text: str, voice: str, speed: float) -> tuple[sound.Signal, int]:
    library, rate = _library()
    code, plus, variant = voice.partition("+")
    if library.espeak_SetVoiceByName(f"{NAMES.get(code, code)}{plus}{variant}".encode()):
        raise SpeechFailed(f"espeak-ng has no voice {voice!r}")
    library.espeak_SetParameter(RATE, round(WORDS_A_MINUTE * speed), 0)
    parts: list[bytes] = []
    deadline, room = time.monotonic() + TIMEOUT_S, MAX_SECONDS * rate

    def on_sound(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        nonlocal room
        if count > 0 and samples:
            parts.append(ctypes.string_at(samples, count * 2))
            room -= count
        return int(room <= 0 or time.monotonic() > deadline)

    # The library calls it until the text is spoken, so it must live as long as this frame.
    callback = ON_SOUND(on_sound)
    library.espeak_SetSynthCallback(callback)
    said = text.replace("\0", " ").encode() + b"\0"
    if library.espeak_Synth(said, len(said), 0, CHARACTERS, 0, UTF8, None, None):
        raise SpeechFailed("espeak-ng could not speak the text")
    if time.monotonic() > deadline:
        raise SpeechFailed(f"espeak-ng took more than {TIMEOUT_S:.0f} s for {len(text)} characters")
    return sound.to_signal(np.frombuffer(b"".join(parts), np.int16)), rate
