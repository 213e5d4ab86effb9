"""One call that the bundled caller placed: what it says, what it hears, and how it ends."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import numpy as np
from aiortp.codecs import Codec
from aiortp.dtmf import DTMF_EVENTS, DtmfEvent
from aiosipua.dialog import Dialog
from aiosipua.headers import CSeq, stringify_cseq, stringify_uri
from aiosipua.message import SipRequest, SipResponse
from numpy.typing import NDArray

from local.phone.offer import Audio, make_offer, read_answer, read_offer
from local.phone.recording import Recorder
from local.phone.rtp import CODECS, RtpPort
from local.phone.transaction import ClientTransactions
from local.phone.wire import Address, Wire
from switchboard.call import CALL_ID_HEADER

RATE = 8_000
PACKET = RATE // 50
PACKET_S = PACKET / RATE
# A quarter of an hour of speech waiting to be said.
MAX_WAITING = 45_000
# A frame that peaks above this is sound; line noise and comfort noise stay below.
SOUND = 600
# The other side is gone when it sends nothing this long.
MEDIA_TIMEOUT_S = 20.0
HANG_UP_TIMEOUT_S = 4.0

Ended = Literal["caller", "agent", "timeout"]
Samples = NDArray[np.int16]


def _peaks(codec: Codec) -> bytes:
    """How loud each G.711 byte is, in steps of 128."""
    samples = np.frombuffer(codec.decode(bytes(range(256))), dtype="<i2").astype(np.int32)
    return bytes(int(level) for level in np.minimum(255, np.abs(samples) >> 7))


_PEAKS = {kind: _peaks(codec) for kind, codec in CODECS.items()}


class OutgoingCall:
    """A call in progress. Times are `time.monotonic()`; audio is int16 at 8 kHz."""

    port: RtpPort

    def __init__(
        self, dialog: Dialog, local: Address, target: Address, clients: ClientTransactions, wire: Wire
    ) -> None:
        self.dialog, self.local, self.target = dialog, local, target
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.call_id: str | None = None
        """The call's id in Switchboard; None when another kind of line answered."""
        self.answered_s = 0.0
        """Seconds from INVITE to 200 OK."""
        self.ringing_s: float | None = None
        self.digits: list[str] = []
        """Keys that the other side pressed."""
        self.sending = True
        """False: sends no packets at all, as a phone that lost its network."""
        self.last_sound = self.first_sound = 0.0
        self._clients, self._wire = clients, wire
        self._dialed_at = 0.0
        self._audio: Audio | None = None
        self._recorder: Recorder | None = None
        self._waiting: deque[bytes | DtmfEvent] = deque()
        self._spoken = asyncio.Event()
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._timestamp = 0

    @property
    def recording(self) -> Recorder:
        """Both sides from the answer on."""
        if self._recorder is None:
            raise RuntimeError("the call is not answered yet")
        return self._recorder

    @property
    def remote(self) -> Address:
        """Where the other side takes audio."""
        return self._audio.remote if self._audio else ("", 0)

    @property
    def is_speaking(self) -> bool:
        """Whether something the caller says is still being sent."""
        return bool(self._waiting)

    def encode(self, samples: Samples | bytes) -> list[bytes]:
        """Samples as G.711 packets of this call; done beforehand it costs nothing during the call."""
        pcm = samples if isinstance(samples, bytes) else np.ascontiguousarray(samples, dtype="<i2").tobytes()
        pcm += bytes(-len(pcm) % (PACKET * 2))
        encoded = CODECS[self._kind].encode(pcm)
        return [encoded[at : at + PACKET] for at in range(0, len(encoded), PACKET)]

    async def speak(self, speech: Samples | bytes | list[bytes]) -> float:
        """Says `speech` (samples, 16-bit PCM bytes, or packets from `encode`) after what is still waiting.

        Returns when its last packet was sent, with that time.
        """
        await self._say(speech if isinstance(speech, list) else self.encode(speech))
        return time.monotonic()

    def stop_speaking(self) -> None:
        """Forgets what was not said yet."""
        self._waiting.clear()
        self._spoken.set()

    async def dtmf(self, keys: str, *, duration_ms: int = 160, pause_ms: int = 80) -> None:
        """Presses keys (0-9, *, #, A-D) by telephone events. Raises ValueError for any other key."""
        wrong = next((key for key in keys.upper() if key not in DTMF_EVENTS), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no key: use 0-9, *, #, A-D.")
        items: list[bytes | DtmfEvent] = []
        for key in keys.upper():
            steps = range(PACKET, duration_ms * 8 + 1, PACKET)
            items.extend(DtmfEvent(DTMF_EVENTS[key], at == steps[-1], 10, at) for at in steps)
            items.extend([self._silence] * (pause_ms // 20))
        await self._say(items)

    async def _say(self, items: Sequence[bytes | DtmfEvent]) -> None:
        if len(self._waiting) + len(items) > MAX_WAITING:
            raise ValueError(f"more than {MAX_WAITING * PACKET_S / 60:.0f} minutes of speech wait to be said.")
        self._waiting.extend(items)
        if self._waiting:
            self._spoken.clear()
            await self._or_end(self._spoken.wait())

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Waits until `condition` holds, asked every 20 ms; False after `timeout` seconds or at the call's end."""
        if condition():
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, waiter))
        try:
            async with asyncio.timeout(timeout):
                await self._or_end(waiter)
        except TimeoutError:
            return False
        finally:
            self._waiters.remove((condition, waiter))
        return waiter.done() and not waiter.cancelled()

    async def wait_speech(self, timeout: float, *, after: float = 0.0) -> bool:
        """Waits for sound from the other side, later than `after`."""
        return await self.until(lambda: self.last_sound > after, timeout)

    async def wait_silence(self, timeout: float, *, lasting: float = 0.8) -> bool:
        """Waits until the other side has been silent for `lasting` seconds."""
        return await self.until(lambda: time.monotonic() - self.last_sound > lasting, timeout)

    async def hold(self, direction: str = "sendonly") -> int:
        """Holds the call by a re-INVITE and returns the answer's status; `resume` takes it up again."""
        return await self._reinvite(direction)

    async def resume(self) -> int:
        return await self._reinvite("sendrecv")

    async def hang_up(self) -> None:
        """Ends the call with BYE and waits (at most 4 s) for its answer."""
        if self.ended.done():
            return
        bye = self._clients.send(self.request("BYE"), self.target)
        self.end("caller")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANG_UP_TIMEOUT_S):
                await asyncio.shield(bye.final)

    def end(self, reason: Ended) -> None:
        """Marks the call as over; only the first reason counts."""
        if self.ended.done():
            return
        self.ended.set_result(reason)
        self.port.close()

    # What follows is for the Caller that owns the call.

    def dialing(self) -> None:
        self._dialed_at = time.monotonic()

    def note_ringing(self, answer: SipResponse) -> None:
        if self.ringing_s is None and answer.status_code >= 180:
            self.ringing_s = time.monotonic() - self._dialed_at

    def confirm(self, answer: SipResponse) -> None:
        self.answered_s = time.monotonic() - self._dialed_at
        self.call_id = answer.get_header(CALL_ID_HEADER)
        to = answer.to_addr
        self.dialog.remote_tag = (to.tag if to else None) or ""
        if answer.contact:
            self.dialog.remote_target = stringify_uri(answer.contact[0].uri)
        self.dialog.route_set = list(reversed(answer.headers.get("record-route")))
        self.dialog.confirm()

    def start(self, audio: Audio, signalling_host: str) -> None:
        self._audio = audio
        self._recorder = Recorder(CODECS[audio.payload_type])
        self.port.connect(audio, signalling_host)

    def request(self, method: str, sdp: str = "") -> SipRequest:
        host, port = self.local
        request = self.dialog.create_request(method, via_host=host, via_port=port)
        request.headers.set_single("Contact", f"<sip:{host}:{port}>")
        request.headers.set_single("User-Agent", "Switchboard caller")
        if sdp:
            request.text = sdp
            request.headers.set_single("Content-Type", "application/sdp")
        return request

    def acknowledgement(self, invite: SipRequest) -> SipRequest:
        ack = self.request("ACK")
        self.dialog.local_cseq -= 1  # an ACK takes its INVITE's number, not one of its own
        cseq = invite.cseq
        ack.headers.set_single("CSeq", stringify_cseq(CSeq(seq=cseq.seq if cseq else 1, method="ACK")))
        return ack

    def receive(self, payload: bytes, timestamp: int) -> None:
        if self._recorder is None:
            return
        self._recorder.received(payload, timestamp)
        if max(payload.translate(_PEAKS[self._kind])) << 7 > SOUND:
            self.last_sound = time.monotonic()
            self.first_sound = self.first_sound or self.last_sound

    def receive_digit(self, digit: str) -> None:
        if len(self.digits) < 1_000:
            self.digits.append(digit)

    def tick(self) -> None:
        """Sends the next 20 ms: speech, a key, or silence, as a real phone does."""
        if self._audio is None or self.ended.done():
            return
        item = self._waiting.popleft() if self._waiting else self._silence
        if isinstance(item, DtmfEvent):
            self._send_event(item)
        elif self.sending:
            self._send(item)
        if not self._waiting:
            self._spoken.set()
        if time.monotonic() - self.port.last_arrival > MEDIA_TIMEOUT_S and not self._audio.held:
            self._clients.send(self.request("BYE"), self.target)
            self.end("timeout")
        for condition, waiter in self._waiters:
            if not waiter.done() and condition():
                waiter.set_result(None)

    @property
    def _kind(self) -> int:
        return self._audio.payload_type if self._audio else 0

    @property
    def _silence(self) -> bytes:
        return (b"\xff" if self._kind == 0 else b"\xd5") * PACKET

    def _send(self, payload: bytes) -> None:
        self.recording.sent(payload, self._timestamp)
        self.port.send(payload, PACKET)
        self._timestamp += PACKET

    def _send_event(self, event: DtmfEvent) -> None:
        self.port.send_event(event, first=event.duration == PACKET)
        if event.end:
            # The end is told three times, so that it gets through (RFC 4733, 2.5.1.4).
            self.port.send_event(event, first=False)
            self.port.send_event(event, first=False)
            self.port.skip(event.duration)
        self._timestamp += PACKET

    async def _reinvite(self, direction: str) -> int:
        invite = self.request("INVITE", make_offer(self.local[0], self.port.port, (self._kind,), direction))
        transaction = self._clients.send(invite, self.target)
        async with asyncio.timeout(10):
            answer = await asyncio.shield(transaction.final)
        if answer.status_code < 300:
            transaction.acknowledgement = bytes(self.acknowledgement(invite))
            self._wire.send(transaction.acknowledgement, self.target)
            sdp = read_offer(answer)
            if sdp is not None:
                self._audio = read_answer(sdp)
                self.port.connect(self._audio, self.target[0])
        return answer.status_code

    async def _or_end(self, waiting: Awaitable[object]) -> None:
        task = asyncio.ensure_future(waiting)
        either: list[asyncio.Future[Any]] = [task, self.ended]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
