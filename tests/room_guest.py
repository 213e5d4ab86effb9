"""Someone else in the room: joins every new one, plays a tone or an echo, and keeps what it hears and sees."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
from livekit import api, rtc
from numpy.typing import NDArray

from local.phone.media import close_stream
from tests.livekit_server import LiveKitServer

RATE = 48_000
FRAME = RATE // 100
POLL_S = 0.02
MAX_FRAMES = 6_000
JOIN_TIMEOUT_S = LEAVE_TIMEOUT_S = 10.0


@dataclass(eq=False)
class Guest:
    """One participant that plays the agent. `heard` holds 10 ms frames of 48 kHz audio from the phone."""

    room: rtc.Room
    name: str
    tone: int | None
    heard: list[NDArray[np.int16]] = field(default_factory=list)
    digits: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    muted: list[bool] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    source: rtc.AudioSource = field(default_factory=lambda: rtc.AudioSource(RATE, 1, queue_size_ms=0))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def join(self, server: LiveKitServer) -> None:
        on = self.room.on
        on("track_subscribed", lambda track, _its, _who: self.start(self._listen(track)))
        on("sip_dtmf_received", lambda press: self.digits.append(press.digit))
        on("participant_attributes_changed", lambda _changed, who: self._note(who))
        on("participant_disconnected", lambda _who: self.left.set())
        on("track_muted", lambda _who, _its: self.muted.append(True))
        on("track_unmuted", lambda _who, _its: self.muted.append(False))
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            await self.room.connect(server.url, server.token(self.name, "agent-guest", kind="agent"))
        track = rtc.LocalAudioTrack.create_audio_track("voice", self.source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, red=False)
        await self.room.local_participant.publish_track(track, options)
        if self.tone is not None:
            self.start(self._sing(self.tone))

    async def leave(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=2)
        async with asyncio.timeout(LEAVE_TIMEOUT_S):
            await self.room.disconnect()
            await self.source.aclose()

    def start(self, work: "asyncio.coroutines.Coroutine[None, None, None]") -> None:  # type: ignore[name-defined]
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def audio(self) -> NDArray[np.int16]:
        """What was heard of the phone so far, at 48 kHz."""
        return np.concatenate(self.heard) if self.heard else np.zeros(0, dtype=np.int16)

    def _note(self, who: rtc.Participant) -> None:
        status = who.attributes.get("sip.callStatus", "")
        if not self.statuses or self.statuses[-1] != status:
            self.statuses.append(status)
            if status == "hangup":
                self.start(self._fall_silent())

    async def _fall_silent(self) -> None:
        for sid in list(self.room.local_participant.track_publications):
            await self.room.local_participant.unpublish_track(sid)

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=10)
        try:
            async for event in stream:
                if len(self.heard) < MAX_FRAMES:
                    self.heard.append(np.frombuffer(event.frame.data, dtype=np.int16).copy())
                if self.tone is None:
                    await self.source.capture_frame(event.frame)
        finally:
            await close_stream(stream)

    async def _sing(self, hertz: int) -> None:
        loop = asyncio.get_running_loop()
        due, at = loop.time(), 0
        while True:
            samples = 8_000 * np.sin(2 * np.pi * hertz * (np.arange(FRAME) + at) / RATE)
            await self.source.capture_frame(rtc.AudioFrame(samples.astype(np.int16).tobytes(), RATE, 1, FRAME))
            at, due = at + FRAME, due + 0.01
            await asyncio.sleep(max(0.0, due - loop.time()))


@dataclass(eq=False)
class Guests:
    """The guests so far, one per room in the order of the rooms."""

    server: LiveKitServer
    client: api.LiveKitAPI
    all: list[Guest] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Rooms with a caller in them that no guest has joined yet."""

    async def rooms(self) -> list[str]:
        answer = await self.client.room.list_rooms(api.ListRoomsRequest())
        return [room.name for room in answer.rooms]

    async def callers(self, room: str) -> list[api.ParticipantInfo]:
        answer = await self.client.room.list_participants(api.ListParticipantsRequest(room=room))
        return [who for who in answer.participants if who.identity.startswith("sip_")]

    async def delete(self, room: str) -> None:
        await self.client.room.delete_room(api.DeleteRoomRequest(room=room))

    async def first(self, timeout: float = 10.0) -> Guest:
        await eventually(lambda: bool(self.all), timeout)
        return self.all[0]


async def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Returns once `condition` holds; TimeoutError when it does not within `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def guests(
    server: LiveKitServer, *, tone: int | None = 440, when: Callable[[], bool] = lambda: True
) -> AsyncIterator[Guests]:
    """Joins every room once there is a caller in it and `when` holds; `tone` None echoes what it hears."""
    async with server.client() as client:
        party = Guests(server, client)
        watching = asyncio.create_task(_watch(party, tone, when))
        try:
            yield party
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            for guest in party.all:
                await guest.leave()
    if not watching.cancelled():
        watching.result()


async def _watch(party: Guests, tone: int | None, when: Callable[[], bool]) -> None:
    known: set[str] = set()
    while True:
        await asyncio.sleep(POLL_S)
        party.waiting = [name for name in await party.rooms() if name not in known and await party.callers(name)]
        for name in party.waiting:
            if when():
                known.add(name)
                guest = Guest(rtc.Room(), name, tone)
                await guest.join(party.server)
                party.all.append(guest)


def loudness(samples: NDArray[np.int16], hertz: int, rate: int) -> float:
    """The share (0 to 1) of the sound's energy that lies within 20 Hz of a tone."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    near = np.abs(np.fft.rfftfreq(len(samples), 1 / rate) - hertz) < 20
    total = float(spectrum[1:].sum())
    return float(spectrum[near].sum()) / total if total else 0.0
