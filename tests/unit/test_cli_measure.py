"""What is measured on a recording, and which words count as a reply."""

import numpy as np
import pytest

from local.conversation import is_filler
from local.measure import RATE, exchange, stretches


def recording(seconds: float, *, caller: list[tuple[float, float]], agent: list[tuple[float, float]]) -> np.ndarray:
    """A stereo recording in which the two sides sound during these seconds."""
    out = np.zeros((round(seconds * RATE), 2), dtype=np.int16)
    for side, parts in enumerate((caller, agent)):
        for start, end in parts:
            time = np.arange(round((end - start) * RATE)) / RATE
            out[round(start * RATE) : round(end * RATE), side] = 8_000 * np.sin(2 * np.pi * 300 * time)
    return out


def test_the_delay_is_from_the_callers_last_sound_to_the_agents_first() -> None:
    found = exchange(recording(6, caller=[(1, 2.5)], agent=[(3.4, 5)]), since=0.5)
    assert found.delay(found.replies[0]) == pytest.approx(0.9, abs=0.02)
    assert not found.interrupted


def test_a_pause_inside_the_callers_words_is_not_their_end() -> None:
    found = exchange(recording(6, caller=[(1, 2), (2.7, 3.5)], agent=[(4.5, 5)]), since=0.5)
    assert found.said_until == pytest.approx(3.5, abs=0.02)


def test_an_agent_that_speaks_into_the_callers_pause_has_interrupted() -> None:
    found = exchange(recording(6, caller=[(1, 2), (2.7, 3.5)], agent=[(2.3, 2.6), (4.0, 5)]), since=0.5)
    assert found.interrupted
    assert found.delay(found.replies[0]) == pytest.approx(0.5, abs=0.02)


def test_what_was_said_before_the_turn_does_not_count() -> None:
    found = exchange(recording(6, caller=[(2, 3)], agent=[(0.2, 1.5), (3.6, 5)]), since=1.8)
    assert len(found.replies) == 1
    assert not found.interrupted


def test_no_reply_is_no_delay() -> None:
    assert exchange(recording(3, caller=[(1, 2)], agent=[]), since=0.5).replies == []


def test_a_click_is_no_sound_and_noise_is_silence() -> None:
    channel = recording(2, caller=[(0.5, 0.52), (1, 1.4)], agent=[])[:, 0]
    channel = channel + np.random.default_rng(1).integers(-200, 200, len(channel)).astype(np.int16)
    assert [round(one.start, 1) for one in stretches(channel)] == [1.0]


def test_stretches_are_in_the_recordings_own_time() -> None:
    channel = recording(5, caller=[(1, 2), (3, 4)], agent=[])[:, 0]
    assert [(round(one.start, 2), round(one.end, 2)) for one in stretches(channel, since=2.5)] == [(3.0, 4.0)]


@pytest.mark.parametrize("text", ["Hmm.", "Um, well...", "One moment, please.", "Okay, let me see.", "uh"])
def test_words_that_only_fill_time_are_no_reply(text: str) -> None:
    assert is_filler(text)


@pytest.mark.parametrize("text", ["", "Yes, until ten.", "At seven.", "Well, breakfast is at seven.", "No."])
def test_words_that_say_something_are_a_reply(text: str) -> None:
    assert not is_filler(text)
