"""Audio into and out of LiveKit's native part, so that each call is woken for itself alone, and for what it hears.

The library hands every audio event of the process to every stream and every capture that waits, which sort out
their own: what many calls in one process cost grows with the square of their number. Here they are sorted first, and
nobody waits for a capture.
"""

import numpy as np
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest
from numpy.typing import NDArray


def open_stream(track: rtc.Track, *, rate: int, frame_ms: int, capacity: int) -> rtc.AudioStream:
    """The audio of a track, mono, in frames of `frame_ms`; beyond `capacity` the oldest that wait are dropped."""
    stream = rtc.AudioStream(track, sample_rate=rate, num_channels=1, frame_size_ms=frame_ms, capacity=capacity)
    handle, queue = stream._ffi_handle.handle, FfiClient.instance.queue

    def mine(event: FfiEvent) -> bool:
        return (
            event.WhichOneof("message") == "audio_stream_event" and event.audio_stream_event.stream_handle == handle
        )

    # Nothing of it was read yet: the stream's own task runs only after this step of the loop.
    queue.unsubscribe(stream._ffi_queue)
    stream._ffi_queue = queue.subscribe(stream._loop, filter_fn=mine)
    return stream


class Capture:
    """Takes what a phone says to the native part: mono, in frames of `samples`, for a source that queues none."""

    def __init__(self, source: rtc.AudioSource, samples: int) -> None:
        # The native part copies it before it answers, so that one is enough.
        self._frame = np.zeros(samples, dtype=np.int16)
        self._request = FfiRequest()
        capture = self._request.capture_audio_frame
        capture.source_handle = source._ffi_handle.handle
        capture.buffer.data_ptr = self._frame.ctypes.data
        capture.buffer.num_channels = 1
        capture.buffer.sample_rate = source.sample_rate
        capture.buffer.samples_per_channel = samples

    def take(self, frame: NDArray[np.int16]) -> None:
        """Hands over one frame. Nobody waits until it was taken: one thread takes all, in their order."""
        self._frame[:] = frame
        FfiClient.instance.request(self._request)
