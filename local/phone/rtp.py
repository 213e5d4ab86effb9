"""G.711 over RTP: one socket per call, frames in and out as they come. No jitter buffer stands in the way."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import cast

from aiortp.codecs import Codec, get_codec
from aiortp.dtmf import DTMF_EVENTS, DtmfEvent, DtmfReceiver
from aiortp.packet import RtpPacket, is_rtcp

from local.phone.offer import Audio
from local.phone.wire import Address

MAX_PACKET = 1_500
# Longest payload taken: 60 ms at 8 kHz is what any phone sends at once; twice that is let through.
MAX_PAYLOAD = 960
# A sequence that jumps further is a new stream, not loss.
MAX_JUMP = 100

CODECS: dict[int, Codec] = {0: get_codec(0), 8: get_codec(8)}

OnFrame = Callable[[bytes, int], None]
"""Called with the G.711 payload and its RTP timestamp, on arrival, in order."""
OnDigit = Callable[[str], None]


class RtpPort(asyncio.DatagramProtocol):
    """One call's RTP socket, on an even port. Packets from other hosts than the phone's are dropped."""

    def __init__(self, on_frame: OnFrame, on_digit: OnDigit) -> None:
        self.last_arrival = time.monotonic()
        self.dropped = 0
        self._on_frame = on_frame
        self._dtmf = DtmfReceiver(lambda digit, _duration: on_digit(digit) if digit in DTMF_EVENTS else None)
        self._transport: asyncio.DatagramTransport | None = None
        self._audio: Audio | None = None
        self._hosts: frozenset[str] = frozenset()
        self._remote: Address | None = None
        self._newest: int | None = None
        self._out = RtpPacket(
            ssrc=secrets.randbits(32), sequence_number=secrets.randbits(16), timestamp=secrets.randbits(31)
        )

    async def open(self, host: str) -> None:
        """Binds an even port of `host` (odd ones are RTCP's). Raises OSError."""
        loop = asyncio.get_running_loop()
        for _ in range(40):
            transport, _protocol = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
            if self.port % 2 == 0:
                return
            transport.close()
        raise OSError(f"no even UDP port is free on {host}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    @property
    def port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1]) if self._transport else 0

    def connect(self, audio: Audio, *also_from: str) -> None:
        """Sends to `audio.remote` from now on; takes packets from there and from the hosts `also_from`."""
        self._audio, self._remote = audio, audio.remote
        self.last_arrival = time.monotonic()
        self._hosts = frozenset((audio.remote[0], *also_from))

    def send(self, payload: bytes, samples: int) -> None:
        """Sends one frame of G.711; `samples` moves the clock on."""
        if self._audio is None:
            return
        self._emit(self._audio.payload_type, payload, marker=0)
        self.skip(samples)

    def send_event(self, event: DtmfEvent, *, first: bool) -> None:
        """Sends one telephone-event packet at the current clock, which stands still until `skip`."""
        if self._audio is not None and self._audio.dtmf is not None:
            self._emit(self._audio.dtmf, event.serialize(), marker=int(first))

    def skip(self, samples: int) -> None:
        """Moves the clock on without a packet."""
        self._out.timestamp = (self._out.timestamp + samples) & 0xFFFFFFFF

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        self.dropped += 1

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._audio is None or addr[0] not in self._hosts or len(data) > MAX_PACKET or is_rtcp(data):
            self.dropped += 1
            return
        try:
            taken = self._take(self._audio, RtpPacket.parse(data))
        # The parser may trip over what a stranger sends in any way.
        except Exception:
            taken = False
        if not taken:
            self.dropped += 1
            return
        self.last_arrival = time.monotonic()
        # A phone behind NAT sends from elsewhere than it says; it is answered where it sends from.
        self._remote = (addr[0], addr[1])

    def _take(self, audio: Audio, packet: RtpPacket) -> bool:
        if packet.payload_type == audio.dtmf:
            self._dtmf.handle_packet(packet)
            return True
        if packet.payload_type != audio.payload_type or not 0 < len(packet.payload) <= MAX_PAYLOAD:
            return False
        if not self._is_newer(packet):
            return False
        self._on_frame(packet.payload, packet.timestamp)
        return True

    def _is_newer(self, packet: RtpPacket) -> bool:
        number = packet.sequence_number
        if self._newest is not None:
            ahead = (number - self._newest) & 0xFFFF
            if ahead == 0 or 0x10000 - ahead < MAX_JUMP:
                return False
        self._newest = number
        return True

    def _emit(self, payload_type: int, payload: bytes, *, marker: int) -> None:
        if self._transport is None or self._remote is None:
            return
        out = self._out
        out.payload_type, out.payload, out.marker = payload_type, payload, marker
        try:
            self._transport.sendto(out.serialize(), self._remote)
        except (OSError, OverflowError, ValueError):
            self.dropped += 1
        out.sequence_number = (out.sequence_number + 1) & 0xFFFF
