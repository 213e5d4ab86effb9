"""What of LiveKit's native part comes to Python: each line of its log costs there, wanted or not."""

import asyncio
import sys

import pytest

from switchboard import media_stack

# Tries to join where nobody answers, and counts the lines of the log that come meanwhile.
JOIN = """
import asyncio, contextlib, logging, os, sys
from livekit import rtc
from switchboard import media_stack

class Count(logging.Handler):
    lines = 0
    def emit(self, record):
        # Said as the native part is loaded, which nobody can come before.
        Count.lines += "initializing ffi server" not in record.getMessage()

async def main():
    logging.getLogger("livekit").addHandler(Count())
    logging.getLogger("livekit").setLevel(logging.DEBUG)
    media_stack.mute_log(sys.argv[1])
    with contextlib.suppress(rtc.ConnectError):
        await rtc.Room().connect("ws://127.0.0.1:9", "token")
    print(Count.lines, flush=True)
    # The native part may still have lines to hand over, and aborts a Python that is being taken down.
    os._exit(0)

asyncio.run(main())
"""


@pytest.mark.parametrize(("level", "some"), [("info", False), ("debug", True)])
async def test_a_log_that_is_muted_hands_no_line_to_python(
    monkeypatch: pytest.MonkeyPatch, level: str, some: bool
) -> None:
    monkeypatch.setenv("LIVEKIT_RTC_DEBUG", "1")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", JOIN, level, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(60):
        lines, errors = await process.communicate()
    assert (int(lines) > 0) == some
    assert errors == b""


def test_a_voice_is_published_at_a_rate_at_which_it_is_cheap_to_code() -> None:
    options = media_stack.voice_options()
    assert options.audio_encoding.max_bitrate == media_stack.VOICE_BITS_A_SECOND
    assert (options.dtx, options.red) == (False, False)
