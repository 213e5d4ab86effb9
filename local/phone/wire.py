"""SIP over UDP: datagrams in and out. What is no SIP message is counted and dropped."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import cast

from aiosipua.dialog import Dialog, create_dialog_from_request
from aiosipua.headers import parse_via
from aiosipua.message import SipMessage, SipRequest, SipResponse, missing_required_headers

Address = tuple[str, int]

logger = logging.getLogger(__name__)

# A message for a phone call has some 2 KB; the rest of what UDP can carry is noise.
MAX_MESSAGE = 16_384
# Faults logged in full; later ones are only counted.
MAX_LOGGED = 10


class Wire(asyncio.DatagramProtocol):
    """One UDP socket. `dropped` counts what was thrown away, by reason."""

    def __init__(
        self,
        on_request: Callable[[SipRequest, Address], None],
        on_response: Callable[[SipResponse], None],
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._on_request = on_request
        self._on_response = on_response
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, host: str, port: int) -> None:
        """Binds the socket; port 0 takes a free one. Raises OSError when the port is taken."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))

    def close(self) -> None:
        """Closes the socket; later sends do nothing."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    @property
    def address(self) -> Address:
        """Where the socket listens."""
        if self._transport is None:
            raise RuntimeError("the SIP socket is closed")
        name = self._transport.get_extra_info("sockname")
        return str(name[0]), int(name[1])

    def send(self, data: bytes, address: Address) -> None:
        """Sends one message; an address that the system refuses is counted."""
        if self._transport is None:
            return
        try:
            self._transport.sendto(data, address)
        except (OSError, OverflowError, ValueError):
            self.dropped["unsendable"] += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance check: on Python 3.11 the UDP transport is no DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not data.strip():
            return  # keep-alives of phones behind NAT
        if len(data) > MAX_MESSAGE:
            self.dropped["too long"] += 1
            return
        message = self._read(data)
        if message is None:
            return
        try:
            self._deliver(message, (addr[0], addr[1]))
        # The border to the network: a fault in handling one message must not end the line.
        except Exception:
            self.dropped["unhandled"] += 1
            if self.dropped["unhandled"] <= MAX_LOGGED:
                logger.exception("a SIP message could not be handled")

    def error_received(self, exc: Exception) -> None:
        self.dropped["unreachable"] += 1

    def _read(self, data: bytes) -> SipRequest | SipResponse | None:
        try:
            message = SipMessage.parse(data)
            fault = fault_of(message)
        # Whatever a stranger sends, the parser may trip over it in any way.
        except Exception as error:
            message, fault = None, "malformed"
            logger.debug("dropped a datagram: %s", type(error).__name__)
        if fault is not None:
            self.dropped[fault] += 1
            return None
        return message

    def _deliver(self, message: SipRequest | SipResponse, address: Address) -> None:
        if isinstance(message, SipResponse):
            self._on_response(message)
            return
        stamp_source(message, address)
        self._on_request(message, address)


def fault_of(message: SipRequest | SipResponse) -> str | None:
    """Why a message cannot be used, or None. Reads every header that is relied on later; raises as they parse."""
    cseq = message.cseq
    _ = message.via, message.from_addr, message.to_addr, message.contact
    if cseq is None or not message.headers.get("via"):
        return "incomplete"
    if not 0 <= cseq.seq < 2**31:
        return "bad CSeq"
    if isinstance(message, SipResponse):
        return None if 100 <= message.status_code < 700 else "malformed"
    if missing_required_headers(message):
        return "incomplete"
    return None if cseq.method == message.method else "bad CSeq"


def host_towards(host: str, peer: Address) -> str:
    """The address under which `peer` reaches a socket bound to `host`: itself, or for 0.0.0.0 the interface's."""
    if host != "0.0.0.0":
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)  # sends nothing; the system only picks the route
        return str(probe.getsockname()[0])


def stamp_source(request: SipRequest, address: Address) -> None:
    """Writes into the top Via where the request came from, for the phone's own use (RFC 3581)."""
    vias = request.headers.get("via")
    top = parse_via(vias[0])
    if "rport" not in top.params:
        return
    marked = f"{vias[0].split(';', 1)[0]};" + ";".join(
        part for part in vias[0].split(";")[1:] if part.strip().split("=")[0] not in ("rport", "received")
    )
    rest = vias[1:]
    request.headers.remove("Via")
    for value in (f"{marked};rport={address[1]};received={address[0]}", *rest):
        request.headers.append("Via", value)


def reply_address(request: SipRequest, source: Address) -> Address:
    """Where responses go: the source host, at its own port if it asked for that (rport), else at the Via's."""
    top = request.via[0]
    if "rport" in top.params:
        return source
    port = top.port or 5060
    return source[0], port if 1 <= port <= 65535 else source[1]


def response(
    request: SipRequest, status: int, reason: str = "", *, dialog: Dialog | None = None, contact: str | None = None
) -> SipResponse:
    """An answer to `request`, with the headers copied that every answer needs."""
    return (dialog or create_dialog_from_request(request)).create_response(request, status, reason, contact=contact)
