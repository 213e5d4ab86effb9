"""Keys that are pressed in groups: a card number among them is told nobody, whatever the pauses."""

import asyncio

import pytest

from agent import keys
from agent.cards import HIDDEN
from agent.keys import HIDDEN_KEY, Keys
from switchboard.fact import Body, Dtmf

CARD = "4111111111111111"


class Pad:
    """Keys whose waits are short; what is told of them."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.numbers: asyncio.Queue[str] = asyncio.Queue()
        self.keys = Keys(self._tell, self.numbers.put_nowait)

    def _tell(self, body: Body) -> None:
        assert isinstance(body, Dtmf)
        self.told.append(body.digit)

    def press(self, digits: str) -> None:
        for digit in digits:
            self.keys.press(digit)

    async def number(self) -> str:
        return await asyncio.wait_for(self.numbers.get(), 5.0)

    async def together(self) -> None:
        """Until those pressed so far are taken for one group."""
        taken = asyncio.Event()
        asyncio.get_running_loop().call_later(keys.TOGETHER_S, taken.set)
        await asyncio.wait_for(taken.wait(), 5.0)
        # The keypad's own timer was set before.
        await asyncio.sleep(0)


@pytest.fixture
async def pad(monkeypatch: pytest.MonkeyPatch) -> Pad:
    monkeypatch.setattr(keys, "TOGETHER_S", 0.05)
    monkeypatch.setattr(keys, "MORE_S", 0.4)
    return Pad()


async def test_a_card_number_in_groups_with_pauses_between_is_told_nobody(pad: Pad) -> None:
    for group in ("4111", "1111", "1111", "1111"):
        assert pad.told == []
        pad.press(group)
        await pad.together()
    assert await pad.number() == HIDDEN
    assert pad.told == [HIDDEN_KEY] * 16
    assert pad.numbers.empty()


async def test_of_a_card_number_key_by_key_three_are_told_at_most(pad: Pad) -> None:
    for digit in CARD:
        pad.press(digit)
        await pad.together()
    while await pad.number() != HIDDEN:
        pass
    assert pad.told == [*CARD[:3], *[HIDDEN_KEY] * 13]


@pytest.mark.parametrize("number", ["1", "12", "4711", "4711#", "49170123", "*3#"])
async def test_other_keys_are_told_as_they_are(pad: Pad, number: str) -> None:
    pad.press(number)
    assert await pad.number() == number
    assert pad.told == list(number)


async def test_the_key_that_ends_a_number_waits_for_nothing(pad: Pad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MORE_S", 3_600.0)
    pad.press("4711#")
    assert await pad.number() == "4711#"


async def test_groups_that_were_told_before_are_parts_of_a_card_number_too(pad: Pad) -> None:
    for group in ("2791198962#", "4111#", "1111#", "1111#"):
        pad.press(group)
        assert await pad.number() == group
    pad.press("1111#")
    assert await pad.number() == f"{HIDDEN}#"
    assert pad.told[-5:] == [HIDDEN_KEY] * 5


async def test_at_the_end_what_may_have_become_a_card_number_is_not_told(pad: Pad) -> None:
    pad.press("7")
    assert await pad.number() == "7"
    pad.press("411111111")
    pad.keys.close()
    assert pad.told == ["7", *[HIDDEN_KEY] * 9]
    assert pad.numbers.empty()
    other = Pad()
    other.press("12")
    other.keys.close()
    assert other.told == ["1", "2"]
