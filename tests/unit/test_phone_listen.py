"""What is heard in a recording, and when."""

import numpy as np
import pytest
from numpy.typing import NDArray

from local.phone import listen
from local.phone.listen import first_sound, silent_after, speech, turns, voice_to_voice

RATE = 8_000
Samples = NDArray[np.int16]


def voiced(*spans: tuple[float, float], seconds: float = 10.0, noise: float = 0.0) -> Samples:
    """A channel with a buzz in each span (start, end), over white noise."""
    rng = np.random.default_rng(1)
    out = rng.normal(0, noise, int(seconds * RATE)) if noise else np.zeros(int(seconds * RATE))
    for start, end in spans:
        at = np.arange(round(start * RATE), round(end * RATE))
        out[at] += (
            6_000 * np.sign(np.sin(2 * np.pi * 180 * at / RATE)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * at / RATE))
        )
    return out.astype(np.int16)


def stereo(caller: Samples, agent: Samples) -> NDArray[np.int16]:
    return np.stack([caller, agent], axis=1)


@pytest.mark.parametrize("noise", [0.0, 20.0, 60.0, 200.0])
def test_speech_is_found_to_a_hundredth_of_a_second(noise: float) -> None:
    found = speech(voiced((1.0, 2.5), (4.0, 4.6), noise=noise))
    assert [pytest.approx(part.start, abs=0.011) for part in found] == [1.0, 4.0]
    assert [pytest.approx(part.end, abs=0.011) for part in found] == [2.5, 4.6]


def test_silence_and_noise_alone_are_no_speech() -> None:
    assert speech(voiced()) == []
    assert speech(voiced(noise=60)) == []
    assert speech(np.zeros(0, dtype=np.int16)) == []
    assert first_sound(voiced(noise=60)) is None


def test_a_constant_offset_is_no_speech() -> None:
    assert speech(np.full(RATE * 3, 900, dtype=np.int16)) == []


def test_short_pauses_belong_to_the_speech_and_clicks_do_not_count() -> None:
    found = speech(voiced((1.0, 1.5), (1.7, 2.2), (5.0, 5.02)))
    assert len(found) == 1
    assert found[0].end == pytest.approx(2.2, abs=0.011)


def test_speech_that_never_stops_is_found() -> None:
    (found,) = speech(voiced((0.0, 10.0)))
    assert found.start == 0.0
    assert found.end == pytest.approx(10.0, abs=0.011)


def test_voice_to_voice_runs_from_the_end_of_speech_to_the_first_sound_after_it() -> None:
    caller = voiced((2.0, 3.0), (6.0, 7.0))
    agent = voiced((0.3, 1.5), (3.9, 5.0), (8.2, 9.0))
    assert [round(found, 2) for found in voice_to_voice(stereo(caller, agent)) if found] == [0.9, 1.2]


def test_a_pause_inside_a_sentence_is_not_a_turn_unless_the_agent_spoke_in_it() -> None:
    caller = voiced((1.0, 2.0), (2.6, 3.4))
    waited = turns(stereo(caller, voiced((4.4, 5.0))))
    assert [round(turn.voice_to_voice or 0, 2) for turn in waited] == [1.0]
    cut = turns(stereo(caller, voiced((2.3, 2.5), (4.4, 5.0))))
    assert [round(turn.voice_to_voice or 0, 2) for turn in cut] == [0.3, 1.0]


def test_a_turn_without_a_reply_says_so() -> None:
    assert voice_to_voice(stereo(voiced((1.0, 2.0)), voiced())) == [None]


def test_how_long_the_agent_goes_on_after_an_interruption() -> None:
    agent = voiced((1.0, 4.0))
    assert silent_after(agent, 3.6) == pytest.approx(0.4, abs=0.02)
    assert silent_after(agent, 6.0) == 0.0
    assert silent_after(voiced((1.0, 10.0)), 3.0) is None
    assert listen.FRAME_S == 0.01
