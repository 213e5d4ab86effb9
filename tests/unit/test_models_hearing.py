"""Where long sound is cut."""

from local.models import hearing
from local.models.hearing import FRAME_S, RATE


def frames(*parts: tuple[bool, float]) -> list[bool]:
    return [voiced for voiced, seconds in parts for _ in range(round(seconds / FRAME_S))]


def seconds(speech: list[bool]) -> list[tuple[float, float]]:
    return [(start / RATE, end / RATE) for start, end in hearing.spans(speech)]


def test_nobody_speaks_so_there_is_nothing_to_hear() -> None:
    assert seconds(frames((False, 5))) == []
    assert seconds(frames((False, 1), (True, 0.06), (False, 1))) == []


def test_quiet_before_the_words_is_left_out() -> None:
    ((start, end),) = seconds(frames((False, 4), (True, 2), (False, 4)))
    assert 3.8 < start < 4
    assert 6.4 < end < 6.8


def test_long_sound_is_cut_at_its_longest_pause() -> None:
    first, second = seconds(frames((True, 8), (False, 0.3), (True, 4), (False, 1), (True, 10)))
    assert 12.3 < first[1] < 13.3
    assert first[1] == second[0]


def test_no_piece_is_over_the_cap_even_without_a_pause() -> None:
    pieces = seconds(frames((True, 60)))
    assert all(end - start <= hearing.PIECE_S + 0.1 for start, end in pieces)
    assert pieces[-1][1] >= 60
