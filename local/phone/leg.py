"""A caller's place in a LiveKit room: joins as livekit-sip does, publishes the phone's track, hears the others."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

from aiortp.dtmf import DTMF_EVENTS
from livekit import api, rtc

from local.phone.attributes import Parties, random_name
from local.phone.media import Bridge
from switchboard import media_stack
from switchboard.settings import Settings

JOIN_TIMEOUT_S = 10.0
# What the library needs at most to join, or to give up.
JOIN_ENDS_S = 30.0
LEAVE_TIMEOUT_S = 5.0
SIGNAL_TIMEOUT_S = 5.0
# How long the others may take to notice that the caller hung up.
LINGER_S = 2.0


class RoomUnavailable(Exception):
    """LiveKit did not let the caller in."""


class Leg:
    """One caller in one room of their own. `heard` is set by the first track of someone else."""

    def __init__(self, settings: Settings, parties: Parties, attributes: dict[str, str], bridge: Bridge) -> None:
        # Without the caller's number, as servers log both names.
        self.room_name = f"call_{random_name(12)}"
        self.identity = f"sip_{random_name(12)}"
        self.heard = asyncio.Event()
        self._settings, self._parties, self._attributes = settings, parties, attributes
        self._bridge = bridge
        self._room = rtc.Room()
        self._connecting: asyncio.Task[None] | None = None
        self._status = "ringing"
        self._telling: set[asyncio.Task[None]] = set()
        self._track = rtc.LocalAudioTrack.create_audio_track(self.identity, bridge.source)

    async def join(self, on_gone: Callable[[], None]) -> None:
        """Joins and publishes what the phone says; `on_gone` is called once the room is. Raises RoomUnavailable."""
        self._room.on("track_subscribed", lambda track, publication, _who: self._subscribed(track, publication))
        self._room.on("track_unsubscribed", lambda _track, its, _who: self._bridge.forget(its.sid))
        self._room.on("disconnected", lambda _reason: on_gone())
        self._room.on("reconnected", self._tell_again)
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await asyncio.shield(self._connect())
                await self._room.local_participant.publish_track(self._track, media_stack.voice_options())
        except (TimeoutError, rtc.ConnectError, rtc.participant.PublishTrackError) as error:
            raise RoomUnavailable(f"LiveKit at {self._settings.livekit_url} let no caller in: {error}") from error

    def _connect(self) -> asyncio.Task[None]:
        # Never cancelled: 15 s after a join that nobody took up, the library ends the whole process.
        options = rtc.RoomOptions(single_peer_connection=media_stack.SINGLE_PEER_CONNECTION)
        joining = self._room.connect(self._settings.livekit_url, self._token(), options)
        connecting = asyncio.create_task(joining, name="join")
        connecting.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._connecting = connecting
        return connecting

    async def hang_up(self) -> None:
        """Takes the caller's sound back and tells the room that they are gone; returns when nobody else sends any, or
        2 s later.

        livekit's library keeps some 0.5 MiB for good of each room that is left while others' tracks are in it, and
        more of one that the server ends with own tracks in it (livekit/rust-sdks #1378, #1443).
        """
        # First, as whoever is told ends the room.
        with contextlib.suppress(TimeoutError, rtc.participant.UnpublishTrackError):
            async with asyncio.timeout(LINGER_S):
                await self._take_back()
        await self.tell_status("hangup")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._alone()

    async def _take_back(self) -> None:
        for sid in list(self._room.local_participant.track_publications if self._room.isconnected() else ()):
            await self._room.local_participant.unpublish_track(sid)

    async def _alone(self) -> None:
        changed = asyncio.Event()
        self._room.on("track_unpublished", lambda *_: changed.set())
        self._room.on("participant_disconnected", lambda *_: changed.set())
        self._room.on("disconnected", lambda *_: changed.set())
        others = self._room.remote_participants
        while self._room.isconnected() and any(one.track_publications for one in others.values()):
            await changed.wait()
            changed.clear()

    async def leave(self) -> None:
        """Leaves the room, within 5 s; before that, a join that still is under way comes to its end."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=JOIN_ENDS_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._room.disconnect()

    async def tell_status(self, status: str) -> None:
        """Sets `sip.callStatus`, if the room still is there."""
        self._status = status
        if not self._room.isconnected():
            return
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(SIGNAL_TIMEOUT_S):
                await self._room.local_participant.set_attributes({"sip.callStatus": status})

    def _tell_again(self) -> None:
        # A server that was restarted knows what the token says: that the phone rings.
        task = asyncio.create_task(self.tell_status(self._status), name="status again")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def press(self, digit: str) -> None:
        """Passes on a key that the caller pressed."""
        with contextlib.suppress(TimeoutError, rtc.participant.PublishDTMFError):
            async with asyncio.timeout(SIGNAL_TIMEOUT_S):
                await self._room.local_participant.publish_dtmf(code=DTMF_EVENTS[digit], digit=digit)

    def hold(self, held: bool) -> None:
        """Shows the room that the caller holds the call, by muting their track."""
        if held:
            self._track.mute()
        else:
            self._track.unmute()

    def _subscribed(self, track: rtc.Track, publication: rtc.RemoteTrackPublication) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._bridge.listen(publication.sid, track)
            self.heard.set()

    def _token(self) -> str:
        grants = api.VideoGrants(
            room_join=True,
            room=self.room_name,
            can_publish=True,
            can_subscribe=True,
            can_publish_data=True,
            can_update_own_metadata=True,
        )
        secret = self._settings.livekit_api_secret.get_secret_value()
        return (
            api.AccessToken(self._settings.livekit_api_key, secret)
            .with_identity(self.identity)
            .with_name(f"Phone {self._parties.caller}")
            .with_kind("sip")
            .with_grants(grants)
            .with_attributes(self._attributes)
            .with_ttl(timedelta(hours=6))
            .to_jwt()
        )
