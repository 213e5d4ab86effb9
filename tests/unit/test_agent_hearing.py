"""Hearing is stepped through windows of 32 ms; the speech model is a function that the test answers."""

import asyncio
import time

import pytest
from livekit import rtc
from livekit.agents import stt

from agent.endpoint import COMPLETE_S, UNFINISHED_S
from agent.hearing import EARLY_WINDOWS, LAG_S, ONSET_WINDOWS, WINDOW_BYTES, WINDOW_S, Hearing
from agent.mouth import Hold
from switchboard.fact import Body

WINDOW = b"\1\0" * (WINDOW_BYTES // 2)
Kind = stt.SpeechEventType


class Mouth:
    """What hearing needs of the real one: what is left to say, and its holds."""

    def __init__(self) -> None:
        self.left_s = 0.0
        self.insisting = False
        self.holds: set[Hold] = set()

    def hold(self, why: Hold) -> None:
        self.holds.add(why)

    def release(self, why: Hold) -> None:
        self.holds.discard(why)


class Ear:
    """A hearing whose model answers with `words`, and the audio it was asked about."""

    def __init__(self) -> None:
        self.words: str | Exception = ""
        self.asked: list[float] = []
        self.told: list[Body] = []
        self.mouth = Mouth()
        self.hearing = Hearing(self.recognise, self.mouth, self.told.append)  # type: ignore[arg-type]

    async def recognise(self, audio: rtc.AudioFrame) -> str:
        self.asked.append(audio.duration)
        if isinstance(self.words, Exception):
            raise self.words
        return self.words

    def voice(self, windows: int) -> None:
        for _ in range(windows):
            self.hearing.window(0.9, WINDOW)

    async def silence(self, seconds: float) -> None:
        for _ in range(round(seconds / WINDOW_S)):
            self.hearing.window(0.05, WINDOW)
            for _ in range(3):
                await asyncio.sleep(0)

    def events(self) -> list[tuple[Kind, str]]:
        queue = self.hearing._events
        found = [queue.get_nowait() for _ in range(queue.qsize())]
        return [(one.type, one.alternatives[0].text if one.alternatives else "") for one in found]


@pytest.fixture
async def ear() -> Ear:
    return Ear()


async def test_a_question_is_asked_for_early_and_over_after_the_pause(ear: Ear) -> None:
    ear.words = "What time is breakfast?"
    ear.voice(40)
    await ear.silence(EARLY_WINDOWS * WINDOW_S)
    assert ear.events() == [(Kind.START_OF_SPEECH, ""), (Kind.PREFLIGHT_TRANSCRIPT, "What time is breakfast?")]
    await ear.silence(COMPLETE_S)
    assert ear.events() == [(Kind.FINAL_TRANSCRIPT, "What time is breakfast?"), (Kind.END_OF_SPEECH, "")]


async def test_a_pause_of_700_ms_inside_an_unfinished_sentence_is_not_its_end(ear: Ear) -> None:
    ear.words = "I would like to"
    ear.voice(30)
    await ear.silence(0.7)
    ear.words = "I would like to book a room"
    ear.voice(30)
    await ear.silence(COMPLETE_S + 0.1)
    finals = [text for kind, text in ear.events() if kind is Kind.FINAL_TRANSCRIPT]
    assert finals == ["I would like to book a room"]


async def test_an_unfinished_sentence_is_over_in_the_end(ear: Ear) -> None:
    ear.words = "I would like to"
    ear.voice(30)
    await ear.silence(UNFINISHED_S - LAG_S + WINDOW_S)
    assert (Kind.FINAL_TRANSCRIPT, "I would like to") in ear.events()


async def test_the_words_after_a_pause_are_asked_for_with_all_that_came_before(ear: Ear) -> None:
    ear.words = "I need"
    ear.voice(30)
    await ear.silence(0.3)
    ear.voice(30)
    await ear.silence(0.3)
    assert len(ear.asked) == 2
    assert ear.asked[1] > ear.asked[0] + 30 * WINDOW_S


async def test_a_click_is_no_speech(ear: Ear) -> None:
    ear.voice(ONSET_WINDOWS - 1)
    await ear.silence(1.0)
    assert ear.events() == []
    assert ear.asked == []


async def test_a_voice_while_the_agent_speaks_holds_it_at_once(ear: Ear) -> None:
    ear.mouth.left_s = 9.0
    ear.voice(ONSET_WINDOWS)
    assert ear.mouth.holds == {Hold.CALLER_SPEAKS}


@pytest.mark.parametrize("noise", ["mhm", "", "Uh-huh."])
async def test_a_backchannel_lets_the_agent_go_on_and_is_no_turn(ear: Ear, noise: str) -> None:
    ear.mouth.left_s = 9.0
    ear.words = noise
    ear.voice(10)
    await ear.silence(EARLY_WINDOWS * WINDOW_S)
    assert ear.mouth.holds == set()
    await ear.silence(2.0)
    assert [kind for kind, _text in ear.events()] == [Kind.START_OF_SPEECH, Kind.END_OF_SPEECH]


async def test_words_while_the_agent_speaks_interrupt_it(ear: Ear) -> None:
    ear.mouth.left_s = 9.0
    ear.words = "Wait, how much is it?"
    ear.voice(30)
    await ear.silence(EARLY_WINDOWS * WINDOW_S)
    assert (Kind.PREFLIGHT_TRANSCRIPT, "Wait, how much is it?") in ear.events()
    assert ear.mouth.holds == {Hold.CALLER_SPEAKS}


async def test_a_mhm_that_goes_on_to_be_a_question_interrupts(ear: Ear) -> None:
    ear.mouth.left_s = 9.0
    ear.words = "mhm"
    ear.voice(10)
    await ear.silence(0.3)
    ear.words = "mhm and the pool?"
    ear.voice(20)
    assert ear.mouth.holds == {Hold.CALLER_SPEAKS}
    await ear.silence(COMPLETE_S + 0.1)
    assert (Kind.FINAL_TRANSCRIPT, "mhm and the pool?") in ear.events()


async def test_a_yes_to_a_question_is_an_answer(ear: Ear) -> None:
    ear.words = "Yes"
    ear.voice(10)
    await ear.silence(COMPLETE_S + 0.1)
    assert (Kind.FINAL_TRANSCRIPT, "Yes") in ear.events()


async def test_a_speech_model_that_fails_is_reported_and_the_agent_goes_on(ear: Ear) -> None:
    ear.mouth.left_s = 9.0
    ear.words = ConnectionError("gone")
    ear.voice(20)
    await ear.silence(1.0)
    assert [getattr(body, "part", None) for body in ear.told if getattr(body, "kind", "") == "model_failed"] == [
        "stt"
    ]
    assert ear.mouth.holds == set()


async def test_a_line_that_is_never_silent_is_answered_after_a_minute(ear: Ear) -> None:
    ear.words = "blah"
    ear.voice(60 * 32)
    await ear.silence(0.1)
    assert (Kind.FINAL_TRANSCRIPT, "blah") in ear.events()
    assert ear.mouth.holds == set()


@pytest.mark.parametrize("answer", ["Yes.", "Okay", "Sure"])
async def test_a_short_answer_at_the_end_of_a_question_is_an_answer(ear: Ear, answer: str) -> None:
    ear.mouth.left_s = 0.4
    ear.words = answer
    ear.voice(10)
    await ear.silence(COMPLETE_S + 0.1)
    assert (Kind.FINAL_TRANSCRIPT, answer) in ear.events()


async def test_words_said_while_the_agent_may_not_be_interrupted_are_answered_afterwards(ear: Ear) -> None:
    ear.mouth.left_s, ear.mouth.insisting = 9.0, True
    ear.words = "How much is a room?"
    ear.voice(30)
    await ear.silence(COMPLETE_S + 0.1)
    assert Kind.FINAL_TRANSCRIPT not in [kind for kind, _text in ear.events()]
    assert ear.mouth.holds == set()
    ear.mouth.insisting = False
    ear.hearing.release_kept()
    assert (Kind.FINAL_TRANSCRIPT, "How much is a room?") in ear.events()


async def test_a_caller_who_cannot_be_understood_is_counted(ear: Ear) -> None:
    counts: list[int] = []
    ear.hearing.on_deaf = counts.append
    ear.words = ConnectionError("gone")
    for _ in range(2):
        ear.voice(20)
        await ear.silence(1.0)
    assert counts == [1, 2]
    ear.words = "Hello again"
    ear.voice(20)
    await ear.silence(1.0)
    ear.words = ConnectionError("gone")
    ear.voice(20)
    await ear.silence(1.0)
    assert counts == [1, 2, 1]


async def test_words_that_were_understood_are_not_lost_when_a_later_look_finds_none(ear: Ear) -> None:
    ear.words = "I want to cancel the second room"
    ear.voice(30)
    await ear.silence(0.3)
    ear.voice(ONSET_WINDOWS)
    ear.words = ""
    await ear.silence(COMPLETE_S + 0.1)
    assert (Kind.FINAL_TRANSCRIPT, "I want to cancel the second room") in ear.events()


async def test_a_card_number_is_hidden_where_words_come_in() -> None:
    ear = Ear()
    since: list[float] = []
    ear.hearing.cards.on_card = since.append
    ear.words = "My card is 4111 1111 1111 1111."
    ear.voice(40)
    await ear.silence(COMPLETE_S + 0.1)
    assert {text for _kind, text in ear.events() if text} == {"My card is [card number]."}
    assert since
    assert "1111" not in repr(ear.told)


async def test_what_was_said_since_the_last_words_is_unread() -> None:
    ear = Ear()
    assert ear.hearing.unread_since is None
    ear.words = "My number is"
    ear.voice(20)
    began = ear.hearing.unread_since
    assert began is not None
    await ear.silence(EARLY_WINDOWS * WINDOW_S + 2 * WINDOW_S)
    assert ear.hearing.unread_since is None
    ear.voice(10)
    again = ear.hearing.unread_since
    assert again is not None and again > began


async def test_what_could_not_be_read_is_told_with_its_time(ear: Ear) -> None:
    told: list[tuple[float, float]] = []
    ear.hearing.on_unread = lambda since, until: told.append((since, until))
    ear.words = RuntimeError("away")
    began = time.monotonic()
    ear.voice(40)
    await ear.silence(COMPLETE_S + 0.1)
    [(since, until)] = told
    assert since == pytest.approx(began - ONSET_WINDOWS * WINDOW_S, abs=0.05)
    assert until == pytest.approx(time.monotonic(), abs=0.5)


async def test_words_that_stand_in_for_ones_that_could_not_be_read_leave_those_unread(ear: Ear) -> None:
    told: list[float] = []
    ear.hearing.on_unread = lambda since, _until: told.append(since)
    ear.words = "My number is"
    ear.voice(20)
    await ear.silence(0.2)
    read = time.monotonic()
    ear.words = RuntimeError("away")
    ear.voice(20)
    await ear.silence(UNFINISHED_S + 0.1)
    assert (Kind.FINAL_TRANSCRIPT, "My number is") in ear.events()
    assert told == [pytest.approx(read, abs=0.2)] and told[0] <= read


async def test_words_that_take_too_long_are_unread() -> None:
    ear = Ear()
    told: list[float] = []
    ear.hearing.on_unread = lambda since, _until: told.append(since)
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def recognise(_audio: rtc.AudioFrame) -> str:
        return await never

    ear.hearing = Hearing(recognise, ear.mouth, ear.told.append, patience_s=0.0)  # type: ignore[arg-type]
    ear.hearing.on_unread = lambda since, _until: told.append(since)
    ear.voice(20)
    await ear.silence(0.2)
    assert len(told) == 1


async def test_digits_wait_for_the_words_that_follow_them_however_long_those_take(
    ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear.words = "4111 1111"
    ear.voice(20)
    began = ear.hearing.undecided_since
    await ear.silence(UNFINISHED_S + 0.1)
    assert began is not None and ear.hearing.undecided_since == began
    ear.voice(20)
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 30.0)
    assert ear.hearing.undecided_since == began


async def test_who_hangs_up_in_the_middle_of_a_sentence_has_said_what_there_is_of_it(ear: Ear) -> None:
    ear.words = "Tell him that I"
    ear.voice(30)
    await ear.hearing.finish(1.0)
    assert ear.events()[-2:] == [(Kind.FINAL_TRANSCRIPT, "Tell him that I"), (Kind.END_OF_SPEECH, "")]
    await ear.hearing.finish(1.0)
    assert ear.events() == []


async def test_words_that_are_on_their_way_when_the_caller_hangs_up_are_asked_for_once(ear: Ear) -> None:
    ear.words = "Thank you."
    ear.voice(30)
    for _ in range(EARLY_WINDOWS):
        ear.hearing.window(0.05, WINDOW)
    await ear.hearing.finish(1.0)
    assert len(ear.asked) == 1
    assert (Kind.FINAL_TRANSCRIPT, "Thank you.") in ear.events()


async def test_a_recogniser_that_fails_when_the_caller_is_gone_asks_nobody_to_say_it_again(ear: Ear) -> None:
    deaf: list[int] = []
    ear.hearing.on_deaf = deaf.append
    ear.words = ConnectionError("gone")
    ear.voice(30)
    await ear.hearing.finish(1.0)
    assert deaf == []
    assert ear.events()[-1] == (Kind.END_OF_SPEECH, "")
