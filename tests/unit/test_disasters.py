"""What the bench of disasters makes of a recording and of a call's record."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.disasters import ear, ledger
from bench.disasters.overload import Case
from bench.disasters.scene import all_of, none_of, within
from bench.disasters.soak import Look, Part, _rows
from local.models import tones
from local.phone.listen import RATE


def agent(*parts: tuple[float, float, int], seconds: float = 10.0) -> NDArray[np.int16]:
    """Tones, each from a second to a second, over silence."""
    made = np.zeros(round(seconds * RATE))
    at = np.arange(len(made)) / RATE
    for start, end, hertz in parts:
        span = slice(round(start * RATE), round(end * RATE))
        made[span] += 8_000 * np.sin(2 * np.pi * hertz * at[span])
    return made.astype(np.int16)


def test_the_tail_of_a_dead_agent_is_not_the_next_one() -> None:
    heard = agent((1.0, 3.2, 430), (5.0, 6.0, 570))
    assert ear.heard_again(heard, 3.0) == pytest.approx(2.0, abs=0.02)


def test_after_a_kill_while_it_rang_the_first_sound_counts_from_the_kill() -> None:
    assert ear.heard_again(agent((0.4, 2.0, 430)), -1.5) == pytest.approx(1.9, abs=0.02)


def test_who_is_never_heard_again_has_no_figure() -> None:
    assert ear.heard_again(agent((1.0, 3.2, 430)), 3.0) is None


def test_two_agents_at_once_are_noticed_and_so_is_one_that_comes_back() -> None:
    hertz = tones.FREQUENCIES
    apart = ear.tones(agent((1.0, 2.0, hertz[0]), (3.0, 4.0, hertz[1])), hertz)
    assert ear.together(apart) == 0
    assert ear.order(apart) == [hertz[0], hertz[1]]
    over = ear.tones(agent((1.0, 4.0, hertz[1]), (2.0, 2.3, hertz[0]), (5.0, 6.0, hertz[0])), hertz)
    assert ear.together(over) >= 2
    back = ear.tones(agent((1.0, 2.0, hertz[2]), (3.0, 4.0, hertz[3]), (5.0, 6.0, hertz[2])), hertz)
    assert ear.order(back) == [hertz[2], hertz[3], hertz[2]]


def test_a_tone_that_is_cut_off_is_not_taken_for_another() -> None:
    for one in tones.FREQUENCIES:
        heard = ear.tones(agent((1.003, 2.0371, one)), tones.FREQUENCIES)
        assert {found for window in heard for found in window} == {one}


def entry(*lines: tuple[str, str]) -> ledger.Entry:
    return ledger.Entry("1", "ended", None, [], [{"role": role, "text": text} for role, text in lines])


def test_the_answer_is_what_was_said_after_the_last_time_it_was_asked() -> None:
    found = entry(
        ("user", "Which code did I give you before?"),
        ("assistant", "One moment."),
        ("user", "which code did I give you, before"),
        ("assistant", "The code is 4, 7,"),
        ("assistant", "1, 1."),
    )
    assert ledger.digits(found.answer_to("Which code did I give you before?")) == "4711"
    assert entry(("assistant", "Hello.")).answer_to("Which code?") == ""


def test_rows_without_a_case_are_missed() -> None:
    assert not all_of("resumed", []).met
    assert not within("again", [None], 3.0).met
    assert all_of("resumed", [True, True]).figure == "2 of 2"
    assert within("again", [1.0, None, 2.0], 3.0).met
    assert not none_of("cut", 1).met


def test_a_call_without_its_reply_or_its_end_is_not_served() -> None:
    assert Case(200, 0.5, True, (0.9,), "1", "caller_hung_up").served
    assert not Case(200, 0.5, True, (None, None), "1", "caller_hung_up").served
    assert not Case(200, 0.5, True, (0.9,), "1", "model_failed").served
    assert not Case(486, 0.1).served


def test_what_grows_in_a_soak_is_missed() -> None:
    before = Look({"agent": Part(300.0, 6, 100, 20)}, 0, {"facts": 1}, 0, {"logs": 9})
    same = Look({"agent": Part(310.0, 6, 103, 20)}, 0, {"facts": 1}, 40, {"logs": 9})
    more = Look({"agent": Part(300.0, 6, 160, 20)}, 1, {"facts": 1, "call:*:items": 4}, 0, {"outbox": 3})
    assert all(row.met for row in _rows(before, same))
    assert [row.met for row in _rows(before, more) if row.wanted] == [False, False, False, False]
