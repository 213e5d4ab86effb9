"""When each word ends."""

import numpy as np
import pytest

from local.models import flite, timing


@pytest.mark.skipif(not flite.binary(), reason="flite is not installed")
async def test_words_are_those_of_the_text_in_order_within_the_sound() -> None:
    text = "Dr. Brown told me to call at 10 o'clock. Is that right?"
    spoken = await timing.speak(text)
    assert [word.text for word in spoken.words] == text.split()
    ends = [word.end_s for word in spoken.words]
    assert ends == sorted(ends)
    assert 0 < ends[0] < ends[-1] <= len(spoken.samples) / 24_000


@pytest.mark.skipif(not flite.binary(), reason="flite is not installed")
async def test_a_pause_between_parts_is_as_long_as_it_was_told() -> None:
    spoken = await timing.speak(["One moment", 0.5, "please."])
    loud = timing.active(spoken.samples, 24_000)
    assert int(np.diff(loud).max()) == pytest.approx(50, abs=4)


def test_a_word_that_sounds_different_alone_ends_where_the_next_begins() -> None:
    said = [("ax", 0.1), ("t", 0.2), ("ey", 0.3), ("b", 0.4)]
    assert timing.align(said, [["ey2"], ["t", "ey", "b"]], 2) == [0.1, 0.4]


def test_what_does_not_fit_is_left_to_the_guess() -> None:
    assert timing.align([("a", 0.1)], [["x"], ["y"]], 2) is None
    assert timing.align([("a", 0.1)], [["a"]], 2) is None


def test_the_guess_spreads_words_over_what_is_loud() -> None:
    samples = np.zeros(24_000, np.int16)
    samples[6_000:18_000] = 8_000
    first, second = timing.spread("four five", samples, 24_000)
    assert first.end_s == pytest.approx(0.5, abs=0.03)
    assert second.end_s == pytest.approx(0.75, abs=0.02)
