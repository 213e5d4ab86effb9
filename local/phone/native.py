"""Audio into and out of LiveKit's native part, so that each call is woken for itself alone.

The library hands every audio event of the process to every stream and every capture that waits, which sort out
their own: what many calls in one process cost grows with the square of their number. Here they are sorted first.
"""

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest


class CaptureFailed(Exception):
    """The native part did not take a frame."""


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


async def capture(source: rtc.AudioSource, frame: rtc.AudioFrame) -> None:
    """Hands a frame to the native part and returns when it was taken, so that frames stay in order.

    Raises `CaptureFailed`.
    """
    client = FfiClient.instance
    request = FfiRequest()
    request.capture_audio_frame.source_handle = source._ffi_handle.handle
    request.capture_audio_frame.buffer.CopyFrom(frame._proto_info())
    # Before it is asked for: the answer may be there at once.
    events = client.queue.subscribe(filter_fn=_is_capture)
    try:
        asked = client.request(request).capture_audio_frame.async_id
        taken = await events.wait_for(lambda event: event.capture_audio_frame.async_id == asked)
    finally:
        client.queue.unsubscribe(events)
    if taken.capture_audio_frame.error:
        raise CaptureFailed(taken.capture_audio_frame.error)


def _is_capture(event: FfiEvent) -> bool:
    return event.WhichOneof("message") == "capture_audio_frame"
