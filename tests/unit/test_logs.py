"""What log lines say of phone numbers, and which lines of LiveKit's client are none."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from switchboard.logs import configure, redact


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, and structlog, as they were afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    structlog.reset_defaults()


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


def test_what_livekits_client_says_of_every_call_is_no_line(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("agent")
    root.info("ignoring text stream with topic '%s', no callback attached", "lk.transcription")
    logging.getLogger("livekit").info("connected")
    logging.getLogger("livekit").warning("lost")
    logging.getLogger("livekit.agents").info("registered")
    structlog.stdlib.get_logger("switchboard").info("ignoring text stream with topic")
    events = [line.split('"event": "')[1].split('"')[0] for line in capsys.readouterr().err.splitlines()]
    assert events == ["lost", "registered", "ignoring text stream with topic"]
