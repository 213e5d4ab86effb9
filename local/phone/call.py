"""One call on the line, from INVITE to BYE."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Coroutine
from typing import Any, Literal

from aiosipua.dialog import Dialog, create_dialog_from_request, dialog_matches, remote_cseq_valid
from aiosipua.message import SipRequest, SipResponse
from aiosipua.sdp import SdpMessage

from local.phone.attributes import Parties, attributes_of, new_sip_call_id
from local.phone.leg import Leg, RoomUnavailable
from local.phone.media import Bridge
from local.phone.offer import Audio, NotAcceptable, answer_offer, make_offer, read_answer, read_offer
from local.phone.rtp import RtpPort
from local.phone.transaction import ClientTransaction, ClientTransactions, ServerTransaction
from local.phone.wire import Address, host_towards, reply_address, response
from switchboard.call import CALL_ID_HEADER, call_id_of_sip
from switchboard.settings import Settings

logger = logging.getLogger(__name__)

Ending = Literal["caller", "room", "cancelled", "busy", "failed", "unacknowledged", "shutdown", "silent"]

SDP = "application/sdp"
# A phone that is gone without a BYE: as livekit-sip, but never while it holds the call.
MEDIA_TIMEOUT_S = 15.0
# A phone that stops sending (hold without a re-INVITE) counts as holding after this.
QUIET_S = 3.0
WATCH_S = 0.5
# Keys pressed faster than the room takes them.
MAX_KEYS = 64
BYE_TIMEOUT_S = 2.0
# For the room's library to let go of a join that is no longer wanted.
CANCEL_TIMEOUT_S = 3.0


class IncomingCall:
    """Rings until somebody in the room can be heard, then carries audio until one side ends it."""

    def __init__(
        self,
        settings: Settings,
        invite: ServerTransaction,
        source: Address,
        parties: Parties,
        clients: ClientTransactions,
    ) -> None:
        self._settings, self._invite, self._source, self._parties = settings, invite, source, parties
        self._clients = clients
        self._dialog: Dialog = create_dialog_from_request(invite.request)
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._keys: asyncio.Queue[str] = asyncio.Queue(MAX_KEYS)
        self._port = RtpPort(self._take, self._press)
        self._bridge = Bridge(self._port)
        self._sip_call_id = new_sip_call_id()
        attributes = attributes_of(invite.request, parties, self._sip_call_id)
        self._leg = Leg(settings, parties, attributes, self._bridge)
        self._audio: Audio | None = None
        self._answered = self._held = False
        self._version = int(time.time())
        self._host = host_towards(settings.sip_host, source)
        invite.on_unacknowledged = lambda: self.end("unacknowledged")

    @property
    def call_id(self) -> str:
        """The call's id in Switchboard."""
        return str(call_id_of_sip(self._sip_call_id))

    @property
    def over(self) -> bool:
        return self._ending.done()

    def end(self, ending: Ending) -> None:
        """Ends the call; only the first ending counts."""
        if not self._ending.done():
            self._ending.set_result(ending)

    async def run(self) -> None:
        """The call's whole life. Leaves the room and closes the socket whatever happens."""
        started = time.monotonic()
        self._respond(100, "Trying")
        try:
            await self._ring()
            if not self.over:
                await self._talk()
        except NotAcceptable as refusal:
            logger.info("call refused: %s", refusal)
            self.end("failed")
            self._respond(488, "Not Acceptable Here")
        except (RoomUnavailable, OSError) as error:
            logger.warning("call failed: %s", error)
            self.end("failed")
            self._respond(503, "Service Unavailable")
        finally:
            self.end("failed")
            await self._finish()
            took = time.monotonic() - started
            logger.info("call %s ended by %s after %.1f s", self.call_id, self._ending.result(), took)

    def cancel(self, request: SipRequest) -> bool:
        """A CANCEL for this call's INVITE; False when it belongs to another."""
        if request.via[0].branch != self._invite.request.via[0].branch:
            return False
        if not self._answered:
            self.end("cancelled")
        return True

    def acknowledge(self, request: SipRequest) -> None:
        """An ACK; the first one may carry the answer to an offer of ours."""
        if self._audio is None and self._answered:
            try:
                self._agree(read_answer(read_offer(request)))
            except NotAcceptable:
                self.end("failed")

    def handle(self, transaction: ServerTransaction) -> None:
        """A request inside the call's dialog."""
        request = transaction.request
        if not dialog_matches(self._dialog, request):
            self._reply(transaction, 481, "Call/Transaction Does Not Exist")
        elif not remote_cseq_valid(self._dialog, request):
            self._reply(transaction, 500, "Server Internal Error")
        elif request.method == "BYE":
            self._reply(transaction, 200, "OK")
            self.end("caller")
        elif request.method in ("INVITE", "UPDATE"):
            self._renegotiate(transaction)
        else:
            if request.method == "INFO":
                self._press_by_info(request)
            self._reply(transaction, 200, "OK")

    async def _ring(self) -> None:
        offer = read_offer(self._invite.request)
        if offer is not None:
            # Refuses what we cannot take before anything rings.
            self._bridge.ptime = answer_offer(offer, self._host, 2, self._version)[1].ptime
        self._respond(180, "Ringing")
        await self._port.open(self._settings.sip_host)
        try:
            async with asyncio.timeout(self._settings.sip_ringing_timeout_s):
                await self._unless_over(self._leg.join(lambda: self.end("room")))
                await self._unless_over(self._leg.heard.wait())
        except TimeoutError:
            self.end("busy")
        if self.over:
            self._refuse(self._ending.result())
            return
        self._answer(offer)

    def _refuse(self, ending: Ending) -> None:
        if ending == "cancelled":
            self._respond(487, "Request Terminated")
        elif ending == "shutdown":
            self._respond(503, "Service Unavailable")
        else:
            self._respond(486, "Busy Here")

    def _answer(self, offer: SdpMessage | None) -> None:
        if offer is None:
            body = make_offer(self._host, self._port.port)
        else:
            body, audio = answer_offer(offer, self._host, self._port.port, self._version)
            self._agree(audio)
        self._answered = True
        self._dialog.confirm()
        self._respond(200, "OK", body)

    def _agree(self, audio: Audio) -> None:
        self._audio = audio
        self._port.connect(audio, self._source[0])
        self._bridge.start(audio)
        self._show_hold(audio.held)

    async def _talk(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            workers = [
                tasks.create_task(self._bridge.run(), name="audio"),
                tasks.create_task(self._leg.tell_status("active"), name="status"),
                tasks.create_task(self._pass_keys(), name="keys"),
                tasks.create_task(self._watch_media(), name="media"),
            ]
            await asyncio.wait([self._ending])
            for worker in workers:
                worker.cancel()

    async def _finish(self) -> None:
        bye = None
        if not self._invite.is_final:
            self._respond(500, "Server Internal Error")
        elif self._answered:
            self._invite.stop()
            bye = self._send_bye() if self._ending.result() != "caller" else None
        self._port.close()
        if self._ending.result() != "shutdown":
            await self._leg.hang_up()
        await self._leg.leave()
        await self._bridge.aclose()
        if bye is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BYE_TIMEOUT_S):
                    await asyncio.shield(bye.final)

    def _send_bye(self) -> ClientTransaction:
        bye = self._dialog.create_request("BYE", via_host=self._host, via_port=self._invite.wire.address[1])
        return self._clients.send(bye, self._target())

    def _target(self) -> Address:
        return reply_address(self._invite.request, self._source)

    async def _unless_over(self, waiting: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(waiting)
        either: list[asyncio.Future[Any]] = [task, self._ending]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CANCEL_TIMEOUT_S)
        if task.done() and not task.cancelled():
            task.result()

    async def _watch_media(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if self._audio is None or self._audio.held:
                self._port.last_arrival = time.monotonic()
                continue
            quiet = time.monotonic() - self._port.last_arrival
            self._show_hold(quiet > QUIET_S)
            if quiet > MEDIA_TIMEOUT_S:
                self.end("silent")

    def _show_hold(self, held: bool) -> None:
        if held != self._held:
            self._held = held
            self._leg.hold(held)

    def _renegotiate(self, transaction: ServerTransaction) -> None:
        """Answers a re-INVITE or UPDATE: with our side of its offer, or with an offer when it has none."""
        if not self._answered:
            self._reply(transaction, 491, "Request Pending")
            return
        try:
            offer = read_offer(transaction.request)
            self._version += 1
            if offer is None:
                body = make_offer(self._host, self._port.port) if transaction.request.method == "INVITE" else ""
            else:
                body, audio = answer_offer(offer, self._host, self._port.port, self._version)
                self._agree(audio)
        except NotAcceptable:
            self._reply(transaction, 488, "Not Acceptable Here")
            return
        self._reply(transaction, 200, "OK", body)

    def _take(self, payload: bytes, _timestamp: int) -> None:
        if self._held and self._audio is not None and not self._audio.held:
            self._show_hold(False)
        self._bridge.take(payload)

    def _press(self, digit: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._keys.put_nowait(digit)

    def _press_by_info(self, request: SipRequest) -> None:
        found = re.search(r"(?im)^\s*signal\s*=\s*([0-9*#A-D])\s*$", request.text[:200])
        if found:
            self._press(found.group(1).upper())

    async def _pass_keys(self) -> None:
        while True:
            await self._leg.press(await self._keys.get())

    def _respond(self, status: int, reason: str, body: str = "") -> None:
        self._reply(self._invite, status, reason, body)

    def _reply(self, transaction: ServerTransaction, status: int, reason: str, body: str = "") -> None:
        contact = f"<sip:{self._host}:{transaction.wire.address[1]}>"
        answer = response(transaction.request, status, reason, dialog=self._dialog, contact=contact)
        if status == 100:
            answer.headers.set_single("To", transaction.request.headers.get_first("to") or "")
        _describe(answer, body, self.call_id if status == 200 else None)
        transaction.respond(answer)


def _describe(answer: SipResponse, body: str, call_id: str | None) -> None:
    answer.headers.set_single("User-Agent", "Switchboard")
    answer.headers.set_single("Allow", ALLOW)
    if call_id:
        answer.headers.set_single(CALL_ID_HEADER, call_id)
    if body:
        answer.text = body
        answer.headers.set_single("Content-Type", SDP)


ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"
