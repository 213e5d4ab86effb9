"""The ledger: each promise of the specs, and the mark that says which test holds it.

A promise without a test, or a contract or e2e test without a promise, fails (tests/unit/test_promises.py).
"""

from collections.abc import Callable
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])

PROMISES: dict[str, str] = {
    # local/phone
    "phone.answer": "200 OK only when someone in the room can be heard; the caller's attributes as livekit-sip's",
    "phone.audio": "audio both ways, in µ-law and A-law",
    "phone.transport": "an echo in the room is back at the caller within 0.16 s",
    "phone.keys": "pressed keys (RFC 4733) reach the room",
    "phone.bye": "a deleted room hangs up; an agent that leaves does not",
    "phone.hold": "a held call is silent both ways, shows in the room, and resumes",
    "phone.busy": "nobody in the room: rings, then 486",
    "phone.unavailable": "LiveKit unreachable: 503, not silence",
    "phone.many": "eight calls at once from one caller keep their echo",
    "phone.sip.retransmitted_invite": "the same INVITE several times is one call with one To tag",
    "phone.sip.lost_answers": "answers are sent again until acknowledged",
    "phone.sip.cancel": "CANCEL while ringing: 487, and the room is left",
    "phone.sip.reinvite": "every re-INVITE is answered; hold in its direction",
    "phone.sip.refusals": "404 for no number, 486 when full and after the ringing limit, 200 for OPTIONS",
    "phone.sip.hostile": "hostile packets are dropped and counted; calls go on",
    "phone.sip.baresip": "a softphone that is not ours hears and is heard",
}


def promise(name: str) -> Callable[[Test], Test]:
    """Marks the test that holds the promise `name`."""
    if name not in PROMISES:
        raise KeyError(f"{name} is not in tests/promises.py")
    return pytest.mark.promise(name)
