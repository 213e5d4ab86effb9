"""What log lines say of phone numbers."""

import pytest

from switchboard.logs import redact


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("call_+15559876543_KZGYcqAYTGF3", "call_***43_KZGYcqAYTGF3"),
        ("call-_15559876543_x", "call-_***43_x"),
        ("sip_+15559876543", "sip_***43"),
        ("from sip:15559876543@192.0.2.1:5060", "from sip:***43@192.0.2.1:5060"),
        ("+15559876543 is away", "***43 is away"),
        ("webhook-10242-18ebdf81dac623e6-0.jsonl", "webhook-10242-18ebdf81dac623e6-0.jsonl"),
        ("2026-11-27T10:17:39.461407+00:00", "2026-11-27T10:17:39.461407+00:00"),
        ("4a8f1f0e-6d0b-5c2e-9a35-123456789012", "4a8f1f0e-6d0b-5c2e-9a35-123456789012"),
        ("1795774657 of 200000 at +101", "1795774657 of 200000 at +101"),
    ],
)
def test_of_a_phone_number_the_last_two_digits_are_shown(said: str, shown: str) -> None:
    line = redact(None, "info", {"event": said, "room": said, "at": {"inner": [said]}})
    assert line == {"event": shown, "room": shown, "at": {"inner": [shown]}}
