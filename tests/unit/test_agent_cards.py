"""Card numbers in what callers say are hidden, however they are said; other numbers are not."""

import pytest

from agent.cards import HIDDEN, Cards, holds_card, luhn, redacted

CARD = "4111111111111111"


@pytest.mark.parametrize(
    "said",
    [
        CARD,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111, 1111, 1111, 1111.",
        "4111 1111 1111 1111, 12 27, 123",
        "four one one one, one one one one, one one one one, one one one one",
        "four triple one, one one one one, um, one one one one and then double one double one",
        "forty one eleven eleven eleven eleven eleven eleven eleven",
        "5500 0000 0000 0004",
        "fifty-five oh oh, oh oh oh oh, oh oh oh oh, oh oh oh four",
        "3714 496353 98431",
        "6011 0009 9013 9424",
        # RuPay, Troy and the airlines' UATP.
        "8171 9999 2766 0000",
        "9792 0303 9444 0796",
        "1354 1234 5678 911",
        "".join(chr(0x660 + int(digit)) for digit in CARD),
    ],
)
def test_a_card_number_is_hidden_with_what_is_said_in_one_breath(said: str) -> None:
    assert redacted(f"It is {said} thanks").replace(",", "").replace(".", "") == f"It is {HIDDEN} thanks"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Call me at +1 555 010 9999.",
        "0049 170 1234567",
        "I need 2 rooms for 3 nights on the 24th of May at 10:30",
        "My booking is 4111 1111 1111",
        "four one one one",
        "one moment, I have two questions and one wish",
        "4111 1111 1111 1112",
        "7992 7398 7130 0008",
        "1111 1111 1111 1117",
        "The first is 41111111 and the other one, which is new, is 11111111",
    ],
)
def test_other_numbers_stay(said: str) -> None:
    assert redacted(said) == said


def test_several_card_numbers_are_hidden_each() -> None:
    assert redacted(f"Not {CARD} but 5500000000000004!") == f"Not {HIDDEN} but {HIDDEN}!"


def test_the_check_sum_is_luhns() -> None:
    assert luhn(CARD) and not luhn("4111111111111112")
    assert holds_card(f"12{CARD}34") and not holds_card(CARD[:-1])


def heard(*utterances: tuple[str, float]) -> tuple[list[str], list[float]]:
    """What may be known of each, and since when card numbers were said."""
    cards = Cards()
    since: list[float] = []
    cards.on_card = since.append
    return [cards.words(text, began) for text, began in utterances], since


def test_a_number_said_in_several_turns_is_hidden_from_the_turn_that_makes_it_one() -> None:
    known, since = heard(("My card is 4111 1111", 10.0), ("1111", 15.0), ("1111. And my name is Ann.", 20.0))
    assert known == ["My card is 4111 1111", "1111", f"{HIDDEN}. And my name is Ann."]
    assert since == [10.0]


def test_the_words_of_one_utterance_come_again_and_again() -> None:
    known, since = heard(("4111 1111", 10.0), ("4111 1111 1111 1111", 10.0), (f"{CARD} please", 10.0))
    assert known[1:] == [HIDDEN, f"{HIDDEN} please"]
    assert since == [10.0, 10.0]


@pytest.mark.parametrize(
    "turns",
    [
        (("4111 1111", 10.0), ("yes", 15.0), ("1111 1111", 20.0)),
        (("4111 1111", 10.0), ("1111 1111", 100.0)),
        (("4111 1111 is my number", 10.0), ("1111 1111", 15.0)),
    ],
)
def test_numbers_that_do_not_follow_each_other_are_not_one(turns: tuple[tuple[str, float], ...]) -> None:
    known, since = heard(*turns)
    assert known == [text for text, _began in turns] and since == []


def test_digits_before_a_number_do_not_hide_that_it_is_one() -> None:
    turns = [("2791198962", 10.0), ("4111", 14.0), ("1111", 18.0), ("1111", 22.0), ("1111", 26.0)]
    known, since = heard(*turns)
    assert known[-1] == HIDDEN and since == [10.0]
    slowly = [(digits, 10.0 + 16.0 * at) for at, digits in enumerate(["8081", "4111", "1111", "1111", "1111"])]
    assert heard(*slowly)[0][-1] == HIDDEN


def test_digits_that_may_become_a_card_number_are_known_to_be_dictated() -> None:
    cards = Cards()
    assert cards.dictating() is None
    cards.words("My card is 4111", 10.0)
    assert cards.dictating() == 10.0
    cards.words("1111 1111", 14.0)
    assert cards.dictating() == 10.0
    cards.words("1111", 18.0)
    assert cards.dictating() is None
