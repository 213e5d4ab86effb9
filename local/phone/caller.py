"""The bundled caller: rings a SIP address, speaks, listens, and keeps both sides on one clock.

async with Caller() as caller:
    call = await caller.dial("sip:+15550100001@127.0.0.1:5060")
    await call.speak(samples)
    await call.wait_speech(timeout=10)
    await call.hang_up()
    call.recording.stereo()
"""

import asyncio
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from aiosipua.dialog import Dialog
from aiosipua.headers import parse_uri
from aiosipua.message import SipRequest, SipResponse
from aiosipua.utils import generate_call_id, generate_tag

from local.phone.offer import NotAcceptable, make_offer, read_answer, read_offer
from local.phone.outgoing import PACKET_S, OutgoingCall
from local.phone.rtp import RtpPort
from local.phone.transaction import ClientTransaction, ClientTransactions, ServerTransactions, in_transaction
from local.phone.wire import Address, Wire, host_towards, response

SDP = "application/sdp"
RING_TIMEOUT_S = 35.0
RESOLVE_TIMEOUT_S = 5.0
CANCEL_TIMEOUT_S = 2.0


class CallFailed(Exception):
    """The call was not answered. `status` is SIP's code, 408 when nobody answered at all."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the call was not answered: {status} {reason}")
        self.status, self.reason = status, reason


class Caller:
    """Places any number of calls from one SIP socket, with one clock for all their audio.

    `host` is where it listens; 0.0.0.0 to reach lines on other machines.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._wire = Wire(self._on_request, lambda answer: self._clients.receive(answer))
        self._clients = ClientTransactions(self._wire)
        self._servers = ServerTransactions(self._wire)
        self._calls: dict[str, OutgoingCall] = {}
        self._pacing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._wire.open(self._host, self._port)
        self._pacing = asyncio.create_task(self._pace(), name="caller's clock")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(call.hang_up() for call in self._calls.values()))
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.wait([self._pacing])
        self._clients.close()
        self._servers.close()
        self._wire.close()

    async def dial(
        self,
        address: str,
        *,
        from_number: str = "+15550109999",
        headers: Mapping[str, str] | None = None,
        timeout: float = RING_TIMEOUT_S,
        codec: int = 0,
    ) -> OutgoingCall:
        """Rings `sip:NUMBER@HOST[:PORT]` until it is answered. `codec` is 0 (µ-law) or 8 (A-law).

        Raises CallFailed when it is refused or not answered within `timeout` seconds, ValueError when
        the address is none.
        """
        target = await _resolve(address)
        local = host_towards(self._host, target), self._wire.address[1]
        call = OutgoingCall(_dialog(address, from_number, local), local, target, self._clients, self._wire)
        port = RtpPort(call.receive, call.receive_digit)
        call.port = port
        await port.open(self._host)
        try:
            await self._invite(call, headers or {}, timeout, codec)
        except BaseException:
            port.close()
            raise
        self._calls[call.dialog.call_id] = call
        call.ended.add_done_callback(lambda _: self._calls.pop(call.dialog.call_id, None))
        return call

    async def _invite(self, call: OutgoingCall, headers: Mapping[str, str], timeout: float, codec: int) -> None:
        offer = make_offer(call.local[0], call.port.port, (codec, 8 - codec))
        invite = call.request("INVITE", offer)
        for name, value in headers.items():
            invite.headers.set_single(name, value)
        call.dialing()
        transaction = self._clients.send(invite, call.target, call.note_ringing)
        try:
            async with asyncio.timeout(timeout):
                answer = await asyncio.shield(transaction.final)
        except TimeoutError:
            await self._give_up(call, transaction)
            raise CallFailed(408, f"no answer within {timeout:g} s") from None
        except asyncio.CancelledError:
            self._clients.send(in_transaction(invite, "CANCEL"), call.target)
            raise
        if answer.status_code >= 300:
            raise CallFailed(answer.status_code, answer.reason_phrase)
        self._connect(call, transaction, answer)

    def _connect(self, call: OutgoingCall, transaction: ClientTransaction, answer: SipResponse) -> None:
        self._confirm(call, transaction, answer)
        try:
            call.start(read_answer(read_offer(answer)), call.target[0])
        except NotAcceptable as error:
            self._clients.send(call.request("BYE"), call.target)
            raise CallFailed(488, str(error)) from None

    def _confirm(self, call: OutgoingCall, transaction: ClientTransaction, answer: SipResponse) -> None:
        call.confirm(answer)
        transaction.acknowledgement = bytes(call.acknowledgement(transaction.request))
        self._wire.send(transaction.acknowledgement, call.target)

    async def _give_up(self, call: OutgoingCall, transaction: ClientTransaction) -> None:
        if transaction.final.done():
            return  # nobody there at all
        self._clients.send(in_transaction(transaction.request, "CANCEL"), transaction.address)
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                answer = await transaction.final
        except TimeoutError:
            return
        if answer.status_code < 300:
            # Answered while the CANCEL was on its way: taken, and hung up.
            self._confirm(call, transaction, answer)
            self._clients.send(call.request("BYE"), call.target)

    def _on_request(self, request: SipRequest, source: Address) -> None:
        if request.method == "ACK":
            return
        transaction = self._servers.begin(request, source)
        if transaction is None:
            return
        call = self._calls.get(request.call_id or "")
        if request.method == "OPTIONS" or (call and request.method in ("BYE", "INFO", "NOTIFY")):
            transaction.respond(response(request, 200, "OK", dialog=call.dialog if call else None))
        elif call:
            transaction.respond(response(request, 488, "Not Acceptable Here", dialog=call.dialog))
        else:
            transaction.respond(response(request, 481, "Call/Transaction Does Not Exist"))
        if call and request.method == "BYE":
            call.end("agent")

    async def _pace(self) -> None:
        """Sends one packet per call every 20 ms, by an absolute clock: lateness does not add up."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for call in list(self._calls.values()):
                call.tick()
            due += PACKET_S
            # After a stall of the process the clock starts anew instead of sending a burst.
            if loop.time() - due > 0.2:
                due = loop.time()
            await asyncio.sleep(max(0.0, due - loop.time()))


def _dialog(address: str, from_number: str, local: Address) -> Dialog:
    return Dialog(
        call_id=generate_call_id(local[0]),
        local_tag=generate_tag(),
        local_uri=f"sip:{from_number}@{local[0]}:{local[1]}",
        remote_uri=address,
        remote_target=address,
    )


async def _resolve(address: str) -> Address:
    uri = parse_uri(address)
    if not address.startswith("sip:") or not uri.user or not uri.host or any(c in address for c in "\r\n <>"):
        raise ValueError(f"{address!r} is no SIP address: write sip:NUMBER@HOST:PORT.")
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                uri.host, uri.port or 5060, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
    except (OSError, TimeoutError, UnicodeError):
        raise ValueError(f"the host of {address!r} cannot be found: check its name.") from None
    return str(found[0][4][0]), int(found[0][4][1])
