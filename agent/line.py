"""The caller's line as the agent sees it: ringing or active, on hold, keys pressed, gone and back."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from livekit import rtc

from agent.ending import Ending, Reason
from agent.keys import Keys
from agent.mouth import Hold, Mouth
from switchboard.call import REJOIN_S, Caller
from switchboard.fact import Body, HoldChanged

log = structlog.get_logger(__name__)

STATUS = "sip.callStatus"
ACTIVE, HANGUP = "active", "hangup"
# No packet from the caller for this long is a line on hold: phones send sound, or comfort noise, all the time.
HOLD_AFTER_S = 2.0
POLL_S = 0.5
# A caller who vanishes as our own connection breaks has not hung up: the server went, and comes back for both.
# Which of the two is told first is not settled.
CUT_TELLS_S = 0.3
CUT_LASTS_S = 15.0


class Line:
    """Watches one caller in a room."""

    def __init__(
        self,
        room: rtc.Room,
        caller: Caller,
        mouth: Mouth,
        *,
        tell: Callable[[Body], None],
        on_keys: Callable[[str], None],
        ending: Ending,
    ) -> None:
        self._room = room
        self._caller = caller
        self._mouth = mouth
        self._tell = tell
        self._keys = Keys(tell, on_keys)
        self._ending = ending
        self.on_key: Callable[[], None] = lambda: None
        """Told of each key at once."""
        self._active = asyncio.Event()
        self._back = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None
        self._cut_at = float("-inf")
        self.on_hold = False
        self.touched_at = time.monotonic()
        """When the caller last pressed a key or typed."""

    def attach(self) -> None:
        """Begins to watch; what happened before is read from the participant."""
        self._room.on("participant_attributes_changed", self._attributes_changed)
        self._room.on("participant_disconnected", self._disconnected)
        self._room.on("participant_connected", self._connected)
        self._room.on("sip_dtmf_received", self._key)
        self._room.on("reconnecting", self._cut)
        self._room.on("reconnected", self._cut)
        participant = self.participant
        if participant is not None:
            self._attributes_changed({}, participant)
        elif self._caller.kind == "sip":
            self._ending.because(Reason.CALLER_HUNG_UP)
        else:
            self._gone(self._wait_for_return(REJOIN_S))

    def detach(self) -> None:
        self._keys.close()
        self._room.off("participant_attributes_changed", self._attributes_changed)
        self._room.off("participant_disconnected", self._disconnected)
        self._room.off("participant_connected", self._connected)
        self._room.off("sip_dtmf_received", self._key)
        self._room.off("reconnecting", self._cut)
        self._room.off("reconnected", self._cut)
        if self._leaving is not None:
            self._leaving.cancel()

    @property
    def participant(self) -> rtc.RemoteParticipant | None:
        return self._room.remote_participants.get(self._caller.identity)

    @property
    def picked_up(self) -> bool:
        """The phone was answered before; a browser cannot tell."""
        return self._active.is_set()

    async def active(self) -> None:
        """Returns when the caller can hear: the phone was answered, or the browser listens to the track."""
        if self._caller.kind == "browser" and self._mouth.publication is not None:
            await self._mouth.publication.wait_for_subscription()
        else:
            await self._active.wait()

    def _attributes_changed(self, _changed: dict[str, str], participant: rtc.Participant) -> None:
        if participant.identity != self._caller.identity:
            return
        status = participant.attributes.get(STATUS)
        if status == ACTIVE:
            self._active.set()
        elif status == HANGUP:
            self._ending.because(Reason.CALLER_HUNG_UP)

    def _disconnected(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._caller.identity:
            return
        self._gone(self._hung_up_or_cut() if self._caller.kind == "sip" else self._wait_for_return(REJOIN_S))

    def _gone(self, waiting: Coroutine[Any, Any, None]) -> None:
        self._back.clear()
        self._away(True)
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = asyncio.create_task(waiting, name="line.return")

    async def _hung_up_or_cut(self) -> None:
        await asyncio.sleep(CUT_TELLS_S)
        cut = time.monotonic() - self._cut_at < CUT_LASTS_S
        await self._wait_for_return(CUT_LASTS_S if cut else 0.0)

    def _cut(self) -> None:
        """Our own connection breaks, or is there again: the caller's comes back in its own time."""
        self._cut_at = time.monotonic()

    def _connected(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._caller.identity:
            self._back.set()
            self._away(False)

    def _away(self, away: bool) -> None:
        """Nobody is there to hear, or is again: what is being said waits, and nobody is asked anything."""
        self.on_hold = away
        if away:
            self._mouth.hold(Hold.AWAY)
        else:
            self._mouth.release(Hold.AWAY)

    async def _wait_for_return(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._back.wait()
        except TimeoutError:
            self._ending.because(Reason.CALLER_HUNG_UP)

    def _key(self, event: rtc.SipDTMF) -> None:
        if event.participant is None or event.participant.identity != self._caller.identity:
            return
        self.on_key()
        self.touched_at = time.monotonic()
        self._keys.press(event.digit[:1])

    async def watch_hold(self) -> None:
        """Notices a line on hold by packets that stop, and its return; runs as long as the call."""
        last, still = -1, 0.0
        while True:
            await asyncio.sleep(POLL_S)
            received = await self._packets()
            if received is None:
                continue
            still = still + POLL_S if received == last else 0.0
            last = received
            self._set_hold(self._muted or still >= HOLD_AFTER_S)

    @property
    def _track(self) -> rtc.RemoteTrackPublication | None:
        """The caller's sound."""
        participant = self.participant
        found = participant.track_publications.values() if participant else ()
        return next((one for one in found if one.kind == rtc.TrackKind.KIND_AUDIO), None)

    @property
    def _muted(self) -> bool:
        """A line that can tell says so at once that it is on hold."""
        return self._track is not None and self._track.muted

    def _set_hold(self, on_hold: bool) -> None:
        if on_hold == self.on_hold:
            return
        self.on_hold = on_hold
        self._tell(HoldChanged(on_hold=on_hold))

    async def _packets(self) -> int | None:
        """Packets received from the caller so far; None when there is no track to ask."""
        track = self._track.track if self._track is not None else None
        if track is None:
            return None
        # The library raises plain exceptions, as when the track goes in that moment.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(POLL_S):
                for stats in await track.get_stats():
                    if stats.HasField("inbound_rtp"):
                        return int(stats.inbound_rtp.received.packets_received)
        return None
