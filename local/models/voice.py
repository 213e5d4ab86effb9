"""Text to speech: which voice a name means, and the last sentences spoken, since welcomes repeat."""

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog

from local.models import espeak, flite, sound
from local.models.speech import SpeechFailed

RATE = 24_000
MAX_TEXT = 4_096
SPEEDS = (0.25, 4.0)
FLITE_AT_ONCE = 4
CACHE_ENTRIES, CACHE_BYTES = 256, 64 * 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of ours. `name` is the engine's; `pitch` (flite) is per cent of its own."""

    engine: Literal["flite", "espeak"]
    name: str
    pitch: int = 100


Key = tuple[str, Voice, float]
DEFAULT = Voice("flite", "slt")
DEFAULT_ESPEAK = Voice("espeak", "en-us")
# OpenAI's names: the two columns are with and without flite.
NAMED = {
    "alloy": (Voice("flite", "slt", 95), Voice("espeak", "en-us+f2")),
    "ash": (Voice("flite", "rms"), Voice("espeak", "en-us+m3")),
    "ballad": (Voice("flite", "awb"), Voice("espeak", "en-gb+m1")),
    "cedar": (Voice("flite", "rms", 90), Voice("espeak", "en-us+m5")),
    "coral": (Voice("flite", "slt", 108), Voice("espeak", "en-us+f3")),
    "echo": (Voice("flite", "rms", 108), Voice("espeak", "en-us+m1")),
    "fable": (Voice("flite", "awb", 112), Voice("espeak", "en-gb")),
    "marin": (Voice("flite", "slt", 90), Voice("espeak", "en-us+f4")),
    "nova": (Voice("flite", "slt"), Voice("espeak", "en-us+f1")),
    "onyx": (Voice("flite", "rms", 83), Voice("espeak", "en-us+m7")),
    "sage": (Voice("flite", "slt", 104), Voice("espeak", "en-gb+f2")),
    "shimmer": (Voice("flite", "slt", 115), Voice("espeak", "en-gb+f4")),
    "verse": (Voice("flite", "awb", 92), Voice("espeak", "en-gb+m4")),
}


def resolve(name: str) -> Voice:
    """The voice that a name means here; an unknown name gets the default of the language it names, or English."""
    name = name.strip().lower()
    if name in NAMED:
        return NAMED[name][0 if flite.binary() else 1]
    engine, _, rest = name.rpartition(":")
    if engine == "flite" or rest in flite.VOICES:
        return _flite(rest)
    return _espeak(rest) or _default()


def names() -> list[str]:
    """The names of the voices here, the default first; espeak's are one a language."""
    ours = [f"flite:{voice}" for voice in flite.VOICES] if flite.binary() else []
    return [*ours, *(f"espeak:{code}" for code in ("en-us", "en-gb")), *NAMED]


async def synthesise(text: str, voice: str = "", *, speed: float = 1.0) -> sound.Samples:
    """The text spoken, 24 kHz mono, with the silence the voice puts around it. Raises SpeechFailed, ValueError."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text has {len(text)} characters: send at most {MAX_TEXT}")
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ValueError(f"the speed is {speed}: send {SPEEDS[0]} to {SPEEDS[1]}")
    chosen = resolve(voice)
    key = (text, chosen, round(speed, 3))
    spoken = _cache.get(key)
    if spoken is None:
        # Calls that say the same at once wait for one synthesis.
        async with _alone(key):
            spoken = _cache.get(key)
            if spoken is None:
                spoken = await _speak(text, chosen, speed)
                _cache.put(key, spoken)
    return spoken


async def _speak(text: str, voice: Voice, speed: float) -> sound.Samples:
    if voice.engine == "flite":
        try:
            async with _slot():
                signal, rate = await flite.speak(text, voice.name, pitch=voice.pitch, speed=speed)
            return sound.to_samples(sound.resample(signal, rate, RATE))
        except SpeechFailed as failed:
            log.warning("voice_replaced", voice=f"flite:{voice.name}", by=DEFAULT_ESPEAK.name, reason=str(failed))
            voice = DEFAULT_ESPEAK
    signal, rate = await espeak.speak(text, voice.name, speed=speed)
    return sound.to_samples(sound.resample(signal, rate, RATE))


def _alone(key: Key) -> asyncio.Lock:
    """A lock for each thing to say, as long as somebody holds it or waits; it belongs to one loop."""
    return _locks.setdefault(asyncio.get_running_loop(), WeakValueDictionary()).setdefault(key, asyncio.Lock())


def _slot() -> asyncio.Semaphore:
    """So many flites at once; a semaphore belongs to one loop."""
    return _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(FLITE_AT_ONCE))


def _default() -> Voice:
    return DEFAULT if flite.binary() else DEFAULT_ESPEAK


def _flite(rest: str) -> Voice:
    """`slt`, or `slt@90` for another pitch, 70 to 140 per cent of its own."""
    found = re.fullmatch(r"(\w+)(?:@(\d{2,3}))?", rest)
    if not flite.binary() or not found or found[1] not in flite.VOICES:
        return _default()
    return Voice("flite", found[1], min(140, max(70, int(found[2] or 100))))


def _espeak(rest: str) -> Voice | None:
    """`en-gb`, `en-gb+f3`, or another maker's name that begins with a language, such as de-DE-KatjaNeural."""
    code, _, variant = rest.partition("+")
    kind = f"+{variant}" if re.fullmatch(r"[fm][1-8]", variant) else ""
    if code in espeak.languages():
        return Voice("espeak", code + kind)
    parts = code.split("-")
    for known in ("-".join(parts[:2]), parts[0]):
        if known in espeak.languages():
            return None if parts[0] == "en" else Voice("espeak", known)
    return None


class _Cache:
    """The newest sentences; the least used goes when entries or bytes are over their cap."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, sound.Samples] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key) -> sound.Samples | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Key, spoken: sound.Samples) -> None:
        old = self._entries.pop(key, None)
        self._bytes += spoken.nbytes - (old.nbytes if old is not None else 0)
        self._entries[key] = spoken
        spoken.flags.writeable = False
        while len(self._entries) > CACHE_ENTRIES or self._bytes > CACHE_BYTES:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes


_cache = _Cache()
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[Key, asyncio.Lock]] = WeakKeyDictionary()
_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
