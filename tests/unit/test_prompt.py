import re
from datetime import UTC, datetime

import pytest

from switchboard.hours import is_open
from switchboard.persona import Persona
from switchboard.prompt import filled, instructions

FRIDAY_0930 = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
PERSONA, _ = Persona.read(
    {
        "persona_name": "Maple Dental",
        "personality": "You are calm, and your doctor is {{doctor}}.",
        "timezone": "America/New_York",
        "hours": {"mon": "08:00-17:00", "friday": ["04:00-05:00", "08:00-13:00"]},
        "holidays": ["12-25", "2026-11-26"],
        "variables": {"doctor": "the one on call"},
    }
)


def test_the_model_knows_who_it_is_and_the_time_where_the_persona_is() -> None:
    prompt = instructions(PERSONA, FRIDAY_0930)
    assert prompt.startswith("You are Maple Dental.")
    assert "Friday, 20 November 2026, 04:30 (America/New_York)" in prompt
    assert "Opening hours today: 04:00-05:00, 08:00-13:00. It is open now." in prompt
    assert "your doctor is the one on call." in prompt


def test_the_installations_emergency_sentence_is_in_the_prompt_only_when_it_is_set() -> None:
    assert "emergency" not in instructions(PERSONA, FRIDAY_0930)
    assert "say exactly this: Hang up and dial 112." in instructions(PERSONA, FRIDAY_0930, "Hang up and dial 112.")


def test_in_writing_it_is_told_the_same_but_for_what_is_said_of_speaking() -> None:
    spoken, written = (set(instructions(PERSONA, FRIDAY_0930, spoken=one).splitlines()) for one in (True, False))
    assert [line for line in spoken - written if not re.search("phone|Say numbers|call end_call", line)] == []
    assert [line for line in written - spoken if not line.startswith("You write with the caller")] == []


def test_an_unknown_variable_becomes_empty_and_nothing_is_evaluated() -> None:
    assert filled("a {{ nobody }} b {{doctor}} {{doctor.__class__}}", PERSONA) == "a  b the one on call "


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        (datetime(2026, 11, 20, 4, 30, tzinfo=UTC), True),
        (datetime(2026, 11, 20, 6, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 20, 13, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 21, 9, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 8, 0, tzinfo=UTC), True),
        (datetime(2026, 12, 25, 9, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 26, 9, 0, tzinfo=UTC), False),
    ],
)
def test_it_is_open_in_its_hours_and_not_on_holidays(moment: datetime, open_: bool) -> None:
    assert is_open(PERSONA, moment) is open_


def test_hours_that_cannot_be_read_are_rejected_and_close_nothing() -> None:
    persona, rejected = Persona.read({"hours": {"fri": "9am-5pm"}})
    assert set(rejected) == {"hours"}
    assert is_open(persona, datetime(2026, 11, 20, 9, 0, tzinfo=UTC))


@pytest.mark.parametrize(("day", "hour", "open_"), [(20, 23, True), (21, 1, True), (21, 3, False), (20, 1, False)])
def test_hours_go_on_past_midnight(day: int, hour: int, open_: bool) -> None:
    persona, _rejected = Persona.read({"hours": {"fri": "18:00-02:00"}})
    assert is_open(persona, datetime(2026, 11, day, hour, 0, tzinfo=UTC)) is open_


def test_a_persona_without_hours_is_always_open() -> None:
    assert is_open(Persona(), datetime(2026, 11, 21, 3, 0, tzinfo=UTC))
