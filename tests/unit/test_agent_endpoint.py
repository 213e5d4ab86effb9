import pytest

from agent.endpoint import Clause, clause_of, is_backchannel


@pytest.mark.parametrize(
    "text",
    [
        "What time is breakfast served?",
        "I need a room for two nights",
        "Where are you from",
        "Can you tell me what time you close",
        "No thank you",
        "Yes",
        "",
    ],
)
def test_a_finished_clause_is_answered_soon(text: str) -> None:
    assert clause_of(text) is Clause.COMPLETE


@pytest.mark.parametrize(
    "text", ["I would like to", "Do you have a room with", "My name is", "Hello, um", "I was wondering,", "So I"]
)
def test_an_unfinished_clause_is_given_time(text: str) -> None:
    assert clause_of(text) is Clause.UNFINISHED


@pytest.mark.parametrize("text", ["My number is five five five", "It is 555 01"])
def test_digits_being_dictated_are_given_a_little_time(text: str) -> None:
    assert clause_of(text) is Clause.DICTATION


@pytest.mark.parametrize("text", ["mhm", "Uh-huh.", "Yeah, right.", "Okay", "I see", "", "..."])
def test_a_backchannel_says_go_on(text: str) -> None:
    assert is_backchannel(text)


@pytest.mark.parametrize("text", ["No", "Stop", "Wait a moment", "Yes but how much is it", "And the pool?"])
def test_other_words_interrupt(text: str) -> None:
    assert not is_backchannel(text)
