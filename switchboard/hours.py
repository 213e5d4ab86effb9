"""A persona's opening hours, in its own time zone."""

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta

from switchboard.persona import Persona

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"^\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*$")


def spans(persona: Persona, now: datetime) -> list[tuple[time, time]]:
    """The open spans of the day of `now`; none on holidays (`2026-12-25` or `12-25`) and closed days."""
    if now.date().isoformat() in persona.holidays or now.strftime("%m-%d") in persona.holidays:
        return []
    found = [_span(text) for text in _texts(persona, now)]
    return [span for span in found if span is not None]


def is_open(persona: Persona, now: datetime) -> bool:
    """Whether it is open at `now`, given in the persona's time zone. A persona without hours always is."""
    if not persona.hours:
        return True
    clock, yesterday = now.time(), now - timedelta(days=1)
    return any(_within(clock, start, end) for start, end in spans(persona, now)) or any(
        end <= start and clock < end for start, end in spans(persona, yesterday)
    )


def _within(clock: time, start: time, end: time) -> bool:
    """Whether a span holds `clock`; one that ends before it starts goes on past midnight."""
    return clock >= start and (clock < end or end <= start or end == time.max)


def described(persona: Persona, now: datetime) -> str:
    """One line for the prompt, such as `open today 08:00-17:00, open now`; empty without hours."""
    if not persona.hours:
        return ""
    today = ", ".join(_texts(persona, now)) if spans(persona, now) else "closed"
    return f"Opening hours today: {today}. It is {'open' if is_open(persona, now) else 'closed'} now."


def _texts(persona: Persona, now: datetime) -> Sequence[str]:
    day = DAYS[now.weekday()]
    value = next((hours for name, hours in persona.hours.items() if name.lower()[:3] == day), [])
    return value.split(",") if isinstance(value, str) else value


def _span(text: str) -> tuple[time, time] | None:
    found = _SPAN.match(text)
    if not found:
        return None
    from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
    try:
        end = time.max if (to_hour, to_minute) == (24, 0) else time(to_hour, to_minute)
        return time(from_hour, from_minute), end
    except ValueError:
        return None
