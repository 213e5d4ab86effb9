"""LiveKit's media stack, as everybody of ours who is in a room wants it."""

import os

from livekit import rtc
from livekit.rtc import __version__, _ffi_client

# From some 76 kbit/s on Opus codes speech as it codes music, which takes a processor half the time, and a fifth of it
# while nobody speaks, when it sends next to nothing either way.
VOICE_BITS_A_SECOND = 80_000
# On one connection for both directions, which the library takes by itself, 9 of 800 joins at 16 at once never came to
# an agreement with the server about any sound, and joins took longer the more had been before; on two none did.
SINGLE_PEER_CONNECTION = False


def mute_log(level: str) -> None:
    """Keeps the native part's log from Python unless `level` is "debug"; to be called before the first room.

    It passes on each line of every level, WebRTC's own among them, one by one, and Python throws away nearly all:
    that was half of what a call takes of a processor. Nobody can tell it what is wanted, but that it shall write its
    lines itself. Which ones `RUST_LOG` says; by default none, as `logs.redact` does not see them.
    """
    if level == "debug":
        return
    os.environ.setdefault("RUST_LOG", "off")
    client = _ffi_client.FfiClient.instance
    # The same again that the client has said, with another answer to whether it takes log lines.
    client._ffi_lib.livekit_ffi_initialize(
        _ffi_client.ffi_event_callback, False, b"python", __version__.encode("ascii")
    )


def voice_options() -> rtc.TrackPublishOptions:
    """How a voice is published: all of the time, each packet once."""
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False)
    options.audio_encoding.max_bitrate = VOICE_BITS_A_SECOND
    return options
