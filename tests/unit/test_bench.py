"""What the benches make of recordings, records and replies."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import pauses, scoring, sounds, talk
from bench.facts import Line, Record
from bench.figures import Figures, Spread, Target, show
from bench.scoring import Question, Verdict
from bench.stack import BenchFailed, measured
from local.models.timing import Spoken
from local.phone.listen import RATE, Interval, Stereo
from switchboard.persona import Persona

PERSONA, _ = Persona.read({"facts": ["Dogs are welcome for twenty dollars a night.", "Parking is free for guests."]})
BLANK = sounds.Utterance("What is it?", Spoken(np.zeros(0, np.int16), ()), [])


def stereo(*, caller: list[tuple[float, float]], agent: list[tuple[float, float]], seconds: float = 10.0) -> Stereo:
    made = np.zeros((round(seconds * RATE), 2), np.int16)
    tone = (8_000 * np.sin(np.arange(len(made)) / 3)).astype(np.int16)
    for channel, parts in enumerate((caller, agent)):
        for start, end in parts:
            span = slice(round(start * RATE), round(end * RATE))
            made[span, channel] = tone[span]
    return made


def question(kind: str, *, right: str = "", must: tuple[str, ...] = ()) -> Question:
    return Question("1", "+1", kind, "Well?", (right,) if right else (), must)


def verdict(asked: Question, reply: str) -> Verdict:
    return scoring.judge(asked, PERSONA, reply).verdict


def test_a_reply_is_timed_from_the_end_of_the_callers_voice() -> None:
    said = [talk.Said(BLANK, 1.0, 2.5, 0.0), talk.Said(BLANK, 6.0, 7.0, 0.0)]
    found = talk.heard(stereo(caller=[(1.1, 2.4), (6.0, 7.0)], agent=[(0.0, 0.8), (3.4, 5.0)]), said)
    assert found[0].said.end == pytest.approx(2.4, abs=0.02)
    assert found[0].voice_to_voice == pytest.approx(1.0, abs=0.02)
    assert found[0].over is None
    assert found[1].reply is None


def test_an_agent_that_is_heard_before_the_end_has_cut_the_sentence() -> None:
    said = [talk.Said(BLANK, 1.0, 4.0, 0.0)]
    found = talk.heard(stereo(caller=[(1.0, 2.0), (2.6, 4.0)], agent=[(2.9, 3.4), (5.0, 6.0)]), said)
    assert found[0].over == pytest.approx(2.9, abs=0.02)
    assert found[0].reply == pytest.approx(5.0, abs=0.02)


def test_something_said_that_is_not_in_the_recording_fails_the_run() -> None:
    with pytest.raises(BenchFailed, match="not in the caller's channel"):
        talk.heard(stereo(caller=[], agent=[]), [talk.Said(BLANK, 1.0, 2.0, 0.0)])


def outcome(turns: list[str], over: float | None = None) -> pauses.Outcome:
    sentence = pauses.Sentence(("I need a room", "for two people."), 0.5, ends=True)
    return pauses.Outcome(sentence, talk.Heard("", Interval(0, 1), 2.0, over), turns)


@pytest.mark.parametrize(
    ("turns", "cut"),
    [
        (["I need a room for two people."], False),
        (["I need a room", "for two people."], True),
        (["two people."], True),
        (["I need room for two people."], False),
    ],
)
def test_a_sentence_that_became_more_or_less_than_one_turn_is_cut(turns: list[str], cut: bool) -> None:
    assert outcome(turns).cut is cut


def test_every_sentence_with_a_pause_has_one_of_04_to_07_seconds() -> None:
    found = pauses.read(pauses.FILE)
    assert len(found) == 20
    assert all(0.4 <= one.pause <= 0.7 for one in found)
    assert sum(one.ends for one in found) >= 10


def test_the_stages_of_a_turn_come_from_the_words_and_the_reply_to_them() -> None:
    lines = [
        Line("assistant", "Hello.", 0.0, False),
        Line("user", "what is it", 1.0, False, {"stt": 0.2}),
        Line("assistant", "This.", 2.0, False, {"llm": 0.3}),
        Line("user", "and how much", 3.0, False, {"stt": 0.4}),
    ]
    found = Record(lines, []).stages(["What is it?", "Was this heard?", "And how much?"])
    assert found == [{"stt": 0.2, "llm": 0.3}, {}, {"stt": 0.4}]


def test_p95_is_a_value_that_was_measured() -> None:
    assert Spread.of([0.1 * n for n in range(1, 21)]) == Spread(20, 1.05, 1.9, 2.0)
    assert Spread.of([None, 1.0]) == Spread(1, 1.0, 1.0, 1.0)
    assert Spread.of([None]) is None


def test_figures_are_written_beside_their_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures("voice", {"models": "scripted"}, spreads={"answer": Spread(1, 0.5, 0.5, 0.5)})
    figures.targets = [Target("answer p95", 0.5, 1.0), Target("right", None, 30, at_least=True)]
    show(figures, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert [one["met"] for one in written["targets"]] == [True, False]
    assert written["spreads"]["answer"]["p95"] == 0.5
    assert "missed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "reply", "expected"),
    [
        ("answerable", "Dogs are welcome, for twenty dollars a night!", Verdict.RIGHT),
        ("answerable", "Parking is free for guests.", Verdict.WRONG),
        ("answerable", "I'm sorry, I don't know that. Shall I take a message?", Verdict.UNKNOWN),
        ("answerable", "", Verdict.OTHER),
        ("unanswerable", "I'm afraid I don't know that.", Verdict.RIGHT),
        ("unanswerable", "Parking is free for guests.", Verdict.WRONG),
        ("false_premise", "Sorry, I don't know about that.", Verdict.RIGHT),
        ("false_premise", "Dogs are welcome for twenty dollars a night.", Verdict.RIGHT),
        ("false_premise", "Parking is free for guests.", Verdict.WRONG),
    ],
)
def test_replies_are_judged_by_what_they_state(kind: str, reply: str, expected: Verdict) -> None:
    answerable = kind != "unanswerable"
    asked = question(kind, right="Dogs are welcome" if answerable else "", must=("twenty",) if answerable else ())
    assert verdict(asked, reply) is expected


def test_half_an_answer_is_not_right() -> None:
    asked = question("answerable", right="Dogs are welcome", must=("twenty dollars", "cats"))
    assert verdict(asked, "Dogs are welcome for twenty dollars a night.") is Verdict.OTHER


def test_the_beginning_of_a_word_will_do_but_not_its_end() -> None:
    assert verdict(question("answerable", must=("refund",)), "It is refunded.") is Verdict.RIGHT
    assert verdict(question("answerable", must=("ten",)), "Quite often.") is Verdict.OTHER


def test_hyphens_case_and_punctuation_do_not_matter() -> None:
    asked = question("answerable", must=("twenty two", "Mrs. O'Hara"))
    assert verdict(asked, "It is TWENTY-TWO, says mrs ohara.") is Verdict.RIGHT


def test_questions_in_both_shapes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "questions.yaml"
    file.write_text(
        "- {persona: hotel, kind: answerable, ask: 'Dogs?', answers: [Dogs are]}\n"
        "- {id: b, number: '+2', kind: unanswerable, ask: 'Cats?', fact: null, must: []}\n"
    )
    first, second = scoring.read(file, {"hotel": "+1"})
    assert (first.number, first.right) == ("+1", ("Dogs are",))
    assert (second.id, second.number, second.right, second.must) == ("b", "+2", (), ())


def test_a_file_without_questions_is_named(tmp_path: Path) -> None:
    (tmp_path / "questions.yaml").write_text("nothing: here\n")
    with pytest.raises(BenchFailed, match=r"questions\.yaml holds no questions"):
        scoring.read(tmp_path / "questions.yaml", {})


def test_a_home_in_which_nothing_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="nothing runs in"), measured("local", home=tmp_path):
        pass


def test_coughs_are_short_and_loud() -> None:
    for noise in (*map(sounds.cough, range(5)), *map(sounds.throat, range(5))):
        assert 0.15 <= noise.seconds - 2 * sounds.EDGE_S <= 0.45
        assert np.abs(noise.spoken.samples).max() > 10_000
