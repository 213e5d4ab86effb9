"""A recorded call over SIP: what the phone kept itself says where every sound belongs."""

import asyncio
import io
import json
import time
import wave

import numpy as np
import pytest
from numpy.typing import NDArray

from local.phone.caller import Caller
from local.phone.recording import Stereo
from switchboard.recordings import RATE
from tests.e2e.control_client import Json, answered
from tests.e2e.stack import LocalStack
from tests.promises import promise
from tests.recorded_calls import spans

LINE = 8_000
NUMBER = "+15550100444"
DEADLINE_S = 40.0
# What a sound takes over the line: between the caller's mouth and ours it is late, and early on its way back.
WAY_S = 0.16
EXACT_S = 0.05


async def _recording(stack: LocalStack, call_id: str) -> Json:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        status, data = await answered(stack, "GET", f"/recordings?call_id={call_id}")
        assert status == 200
        found = json.loads(data)["recordings"] if b"complete" in data else []
        if found and found[0]["state"] == "complete":
            return dict(found[0])
        await asyncio.sleep(0.2)
    raise AssertionError(f"the recording of {call_id} was not complete\n{stack.logs()}")


def _tone(seconds: float) -> NDArray[np.int16]:
    return (9_000 * np.sin(2 * np.pi * 900 * np.arange(round(seconds * LINE)) / LINE)).astype(np.int16)


@pytest.mark.alone
@promise("recording.line")
async def test_a_call_over_the_line_is_recorded_as_the_phone_heard_it(stack: LocalStack) -> None:
    persona = {"slug": "kept", "persona_name": "Kept", "record": True, "numbers": [NUMBER]}
    status, data = await answered(stack, "POST", "/personas", persona)
    assert status in (201, 409), data
    async with Caller() as caller:
        call = await caller.dial(stack.sip(NUMBER), from_number="+15550109999")
        assert await call.wait_speech(DEADLINE_S) and await call.wait_silence(DEADLINE_S)
        for pause_s in (0.2, 0.9, 1.3):
            await asyncio.sleep(pause_s)
            await call.speak(_tone(0.3))
        # No packets for a while, as a phone on hold.
        await call.hold()
        await asyncio.sleep(2.5)
        await call.resume()
        await call.speak(_tone(0.3))
        await asyncio.sleep(0.5)
        phone = call.recording.stereo()
        await call.hang_up()
    shown = await _recording(stack, str(call.call_id))
    status, data = await answered(stack, "GET", f"/recordings/{shown['recording_id']}/audio")
    assert status == 200
    with wave.open(io.BytesIO(data)) as file:
        kept = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    late = _between(phone, kept, channel=0, hole_s=0.12)
    early = _between(phone, kept, channel=1, hole_s=0.6)
    assert len(late) == 4 and len(early) >= 1
    # The two clocks have different beginnings; what is between the channels is the way there and back.
    assert max(late) - min(late) < EXACT_S and max(early) - min(early) < EXACT_S
    assert -EXACT_S < np.mean(late) - np.mean(early) < 2 * WAY_S


def _between(phone: Stereo, kept: NDArray[np.int16], *, channel: int, hole_s: float) -> list[float]:
    """How much later each sound begins in the recording than in what the phone kept."""
    theirs = [start for start, _end in spans(phone[:, channel], LINE, hole_s)]
    ours = [start for start, _end in spans(kept[:, channel], RATE, hole_s)]
    assert len(ours) == len(theirs), (ours, theirs)
    return [mine - their for mine, their in zip(ours, theirs, strict=True)]
