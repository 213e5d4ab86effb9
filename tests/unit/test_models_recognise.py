"""The scripted ear: which known utterance, or which part of one, a sound is."""

import asyncio

import numpy as np
import pytest

from local.models import flite, recognise, sound, timing, voice

pytestmark = pytest.mark.skipif(not flite.binary(), reason="flite is not installed")

SENTENCES = (
    "What time is breakfast served?",
    "What time do you close?",
    "I would like to book a table for two people tomorrow evening.",
    "How much is a cleaning?",
    "Dr. Brown told me to call at 10 o'clock.",
    "Yes.",
)
RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def spoken() -> list[timing.Spoken]:
    return [asyncio.run(timing.speak(sentence)) for sentence in SENTENCES]


def known(spoken: list[timing.Spoken]) -> list[recognise.Utterance]:
    return [recognise.Utterance.of(one.words, sound.to_signal(one.samples), voice.RATE) for one in spoken]


def telephone(samples: sound.Samples) -> sound.Signal:
    """Through the mu-law of G.711 at 8 kHz and up to 48 kHz, with a little noise."""
    narrow = sound.resample(sound.to_signal(samples), voice.RATE, 8_000)
    pressed = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    heard = (np.sign(pressed) * (256 ** np.abs(pressed) - 1) / 255).astype(np.float32)
    wide = sound.resample(heard, 8_000, 48_000)
    noise = RANDOM.standard_normal(len(wide)).astype(np.float32)
    return wide + noise * float(np.sqrt((wide**2).mean())) * np.float32(0.03)


def _pressed(heard: sound.Signal) -> sound.Signal:
    """As a jitter buffer catches up: each eighth 20 ms left out."""
    size = 48_000 // 50
    frames = heard[: len(heard) // size * size].reshape(-1, size)
    return np.delete(frames, np.s_[5::8], axis=0).ravel()


async def test_each_utterance_is_known_through_the_telephone_wherever_it_starts(spoken: list[timing.Spoken]) -> None:
    for one in spoken:
        lead = np.zeros(int(RANDOM.integers(0, 40_000)), np.float32)
        heard = recognise.find(np.concatenate([lead, telephone(one.samples), lead]), 48_000, known(spoken))
        assert heard.text == one.text


async def test_asked_early_it_answers_with_the_words_so_far(spoken: list[timing.Spoken]) -> None:
    for one in spoken:
        for count, word in enumerate(one.words, 1):
            part = telephone(one.samples)[: round(word.end_s * 48_000)]
            so_far = " ".join(word.text for word in one.words[:count])
            assert recognise.find(part, 48_000, known(spoken)).text == so_far


async def test_what_a_jitter_buffer_pressed_to_catch_up_is_still_known(spoken: list[timing.Spoken]) -> None:
    for one in spoken[:4]:
        assert recognise.find(_pressed(telephone(one.samples)), 48_000, known(spoken)).text == one.text


async def test_what_a_jitter_buffer_waited_for_or_lost_is_still_known(spoken: list[timing.Spoken]) -> None:
    for one in spoken[:4]:
        heard = telephone(one.samples)
        middle = len(heard) // 2
        waited = np.concatenate([heard[:middle], heard[middle - 4_800 : middle] * np.float32(0.5), heard[middle:]])
        assert recognise.find(waited, 48_000, known(spoken)).text == one.text
        lost = np.concatenate([heard[:middle], heard[middle + 4_800 :]])
        assert recognise.find(lost, 48_000, known(spoken)).text == one.text


async def test_of_a_sentence_that_a_jitter_buffer_cut_no_word_at_its_ends_is_missing() -> None:
    """A fifth of a second is lost in the middle: all the rest would fit with one end left out."""
    sentences = ("Stop, I have another question.", "No, I mean dinner.", "The code is 4, 7, 1, do not forget it.")
    ends = [await timing.speak(sentence) for sentence in sentences]
    for one in ends:
        heard = telephone(one.samples)
        for share in (0.3, 0.4, 0.5, 0.6):
            at = int(len(heard) * share)
            cut = np.concatenate([heard[:at], heard[at + 9_600 :]])
            words = recognise.find(cut, 48_000, known(ends)).text.split()
            assert (words[0], words[-1]) == (one.text.split()[0], one.text.split()[-1])


async def test_a_gap_in_a_short_sentence_says_nothing_and_what_is_around_it_is_known() -> None:
    """Where nothing came through, and the rest was pressed to catch up."""
    questions = ("Is there a gym in the building?", "Do you have rooms for families?", "Can I bring my dog with me?")
    short = [await timing.speak(question) for question in questions]
    gap = np.zeros(4_800, np.float32)
    for one in short:
        heard = telephone(one.samples)
        for share in (0.35, 0.5, 0.65):
            before, after = np.split(heard, [int(len(heard) * share)])
            with_gap = np.concatenate([before, gap, _pressed(after)])
            assert recognise.find(with_gap, 48_000, known(short)).text == one.text


async def test_a_second_half_gives_its_own_words() -> None:
    halves = await timing.speak(["I would like to book", 0.6, "a table for two people."])
    assert halves.text == "I would like to book a table for two people."
    cut = round((halves.words[4].end_s + 0.3) * 48_000)
    heard = telephone(halves.samples)
    ear = known([halves])
    assert recognise.find(heard[:cut], 48_000, ear).text == "I would like to book"
    assert recognise.find(heard[cut:], 48_000, ear).text.endswith("table for two people.")


async def test_coughs_and_noise_are_no_words(spoken: list[timing.Spoken]) -> None:
    ear = known(spoken)
    for _ in range(40):
        size = int(RANDOM.uniform(0.15, 0.7) * 16_000)
        burst = RANDOM.standard_normal(size) * np.exp(-np.arange(size) / (size * RANDOM.uniform(0.2, 1)))
        heard = np.pad(burst.astype(np.float32) * np.float32(0.2), 3_000)
        assert recognise.find(heard, 16_000, ear).text == ""
    assert recognise.find(np.zeros(16_000, np.float32), 16_000, ear).text == ""


async def test_an_utterance_it_was_not_told_of_is_no_words(spoken: list[timing.Spoken]) -> None:
    stranger = await timing.speak("Is there parking at the hotel?")
    assert recognise.find(telephone(stranger.samples), 48_000, known(spoken)).text == ""
