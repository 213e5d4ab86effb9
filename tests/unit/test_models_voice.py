"""Voices: what a name means, and how a sentence becomes sound."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from local.models import espeak, flite, sound, voice
from local.models.speech import SpeechFailed
from local.models.voice import DEFAULT, DEFAULT_ESPEAK, NAMED, Voice, resolve, synthesise

with_flite = pytest.mark.skipif(not flite.binary(), reason="flite is not installed")


@pytest.fixture
def no_flite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flite, "binary", lambda: None)


@with_flite
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("flite:rms", Voice("flite", "rms")),
        ("slt", DEFAULT),
        ("flite:slt@90", Voice("flite", "slt", 90)),
        ("flite:slt@999", Voice("flite", "slt", 140)),
        ("flite:nobody", DEFAULT),
        ("flite:../../etc/passwd", DEFAULT),
        ("espeak:en-gb", Voice("espeak", "en-gb")),
        ("espeak:en-us+f3", Voice("espeak", "en-us+f3")),
        ("espeak:xx", DEFAULT),
        ("de-DE-KatjaNeural", Voice("espeak", "de")),
        ("pt-BR", Voice("espeak", "pt-br")),
        ("en-US-JennyNeural", DEFAULT),
        ("", DEFAULT),
        ("\0;rm -rf", DEFAULT),
    ],
)
def test_every_name_means_a_voice(name: str, meant: Voice) -> None:
    assert resolve(name) == meant


@with_flite
async def test_openai_names_sound_different_and_take_about_as_long() -> None:
    spoken = [await synthesise("Good morning, how are you today?", name) for name in NAMED]
    assert len({one.tobytes() for one in spoken}) == len(NAMED)
    slt = [len(one) for one, name in zip(spoken, NAMED, strict=True) if resolve(name).name == "slt"]
    assert max(slt) < 1.02 * min(slt)


@pytest.mark.usefixtures("no_flite")
def test_without_flite_every_name_means_a_voice_of_espeak() -> None:
    assert resolve("flite:slt") == resolve("") == DEFAULT_ESPEAK
    assert {resolve(name).engine for name in NAMED} == {"espeak"}
    assert len({resolve(name) for name in NAMED}) == len(NAMED)


@pytest.mark.parametrize("name", ["flite:slt", "espeak:en-us", "espeak:de"])
async def test_a_sentence_is_spoken_at_24_khz_in_about_its_time(name: str) -> None:
    spoken = await synthesise("Good morning, how can I help you today?", name)
    assert spoken.dtype == np.int16
    assert 1.2 < len(spoken) / voice.RATE < 5
    assert int(np.abs(spoken).max()) > 3_000


@with_flite
async def test_speed_makes_a_sentence_shorter() -> None:
    slow, fast = [await synthesise("The pool is on the roof.", "flite:slt", speed=speed) for speed in (1.0, 1.5)]
    assert len(fast) < 0.75 * len(slow)


@pytest.mark.parametrize("text", ["", "...", "\0\x1b[31m", "-o /tmp/x", "日本語", "$(id) `id`; <speak>"])
@pytest.mark.parametrize("name", ["flite:slt", "espeak:en-us"])
async def test_odd_texts_do_no_harm(name: str, text: str) -> None:
    assert (await synthesise(text, name)).dtype == np.int16


async def test_a_text_beyond_the_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        await synthesise("a" * 4_097)


async def test_when_flite_fails_espeak_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise SpeechFailed("broken")

    monkeypatch.setattr(flite, "binary", lambda: "/bin/false")
    monkeypatch.setattr(flite, "speak", broken)
    assert len(await synthesise("The kitchen is closed now.", "flite:rms")) > voice.RATE


async def test_a_hanging_flite_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o700)
    monkeypatch.setattr(flite, "binary", lambda: str(slow))
    monkeypatch.setattr(flite, "TIMEOUT_S", 0.2)
    with pytest.raises(SpeechFailed, match="took more than"):
        await flite.speak("Hello.", "slt")


def test_the_cache_keeps_the_newest_within_its_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "CACHE_ENTRIES", 2)
    cache = voice._Cache()
    one, two, three = [(word, DEFAULT, 1.0) for word in ("one", "two", "three")]
    cache.put(one, np.zeros(10, np.int16))
    cache.put(two, np.zeros(10, np.int16))
    assert cache.get(one) is not None
    cache.put(three, np.zeros(10, np.int16))
    assert cache.get(two) is None
    assert cache.get(one) is not None
    monkeypatch.setattr(voice, "CACHE_BYTES", 30)
    cache.put(two, np.zeros(10, np.int16))
    assert cache.get(one) is None or cache.get(three) is None


@pytest.mark.usefixtures("no_flite")
async def test_every_named_voice_of_espeak_speaks_and_differs() -> None:
    spoken = [(await synthesise("Good morning.", name)).tobytes() for name in [*NAMED, "espeak:en-us"]]
    assert len(set(spoken)) == len(spoken)


async def test_british_english_is_not_american_english() -> None:
    british, american = [await espeak.speak("I can't dance.", name) for name in ("en-gb", "en-us")]
    assert british[0].tobytes() != american[0].tobytes()


async def test_calls_that_say_the_same_at_once_wait_for_one_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def speak(text: str, _name: str, **_how: object) -> tuple[sound.Signal, int]:
        asked.append(text)
        await asyncio.sleep(0)
        return np.zeros(800, np.float32), 8_000

    monkeypatch.setattr(flite, "speak", speak)
    monkeypatch.setattr(flite, "binary", lambda: Path("/bin/true"))
    spoken = await asyncio.gather(*(synthesise("Said by four at once.", "flite:slt") for _ in range(4)))
    assert asked == ["Said by four at once."]
    assert all(one is spoken[0] for one in spoken)
