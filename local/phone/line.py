"""The line: takes SIP requests off the wire and hands each to its call."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from aiosipua.message import SipRequest

from local.phone.attributes import parties_of
from local.phone.call import ALLOW, IncomingCall
from local.phone.transaction import ClientTransactions, ServerTransaction, ServerTransactions
from local.phone.wire import Address, Wire, response
from switchboard.settings import Settings

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 8.0
STATEFUL = ("INVITE", "CANCEL", "BYE", "UPDATE", "INFO")

CallKey = tuple[str, str]


class Line:
    """`async with Line(settings) as line`: answers calls at `line.address` until it is left."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wire = Wire(self._on_request, lambda answer: self._clients.receive(answer))
        self._clients = ClientTransactions(self._wire)
        self._transactions = ServerTransactions(self._wire)
        self._calls: dict[CallKey, IncomingCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        """Host and UDP port of the line."""
        return self._wire.address

    @property
    def calls(self) -> int:
        """Calls that ring or talk now."""
        return len(self._calls)

    @property
    def dropped(self) -> dict[str, int]:
        """Packets thrown away so far, by reason."""
        return dict(self._wire.dropped)

    async def __aenter__(self) -> Self:
        await self._wire.open(self._settings.sip_host, self._settings.sip_port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call in self._calls.values():
            call.end("shutdown")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        self._transactions.close()
        self._clients.close()
        self._wire.close()

    def _on_request(self, request: SipRequest, source: Address) -> None:
        if request.method == "ACK":
            self._on_ack(request)
            return
        if request.method not in STATEFUL:
            self._answer_stateless(request, source)
            return
        transaction = self._transactions.begin(request, source)
        if transaction is None:
            return
        call = self._calls.get(_key(request))
        to = request.to_addr
        if request.method == "INVITE" and not (to and to.tag):
            self._on_invite(transaction, source, call)
        elif request.method == "CANCEL":
            self._on_cancel(transaction, call)
        else:
            self._in_dialog(transaction, call)

    def _answer_stateless(self, request: SipRequest, source: Address) -> None:
        transaction = self._transactions.stateless(request, source)
        if request.method == "OPTIONS":
            self._reply(transaction, 200, "OK")
        else:
            self._reply(transaction, 405, "Method Not Allowed")

    def _on_invite(self, transaction: ServerTransaction, source: Address, call: IncomingCall | None) -> None:
        parties = parties_of(transaction.request)
        if call is not None:
            self._reply(transaction, 482, "Loop Detected")
        elif parties is None:
            self._reply(transaction, 404, "Not Found")
        elif len(self._calls) >= self._settings.sip_max_calls:
            self._reply(transaction, 486, "Busy Here")
        else:
            self._start(IncomingCall(self._settings, transaction, source, parties, self._clients), transaction)

    def _start(self, call: IncomingCall, transaction: ServerTransaction) -> None:
        key = _key(transaction.request)
        self._calls[key] = call
        task = asyncio.create_task(call.run(), name=f"call {call.call_id}")
        self._tasks.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._calls.pop(key, None)
            self._transactions.finish(transaction)
            if not done.cancelled() and done.exception() is not None:
                logger.error("a call broke", exc_info=done.exception())

        task.add_done_callback(ended)

    def _on_ack(self, request: SipRequest) -> None:
        invite = self._transactions.find_invite(request)
        if invite is None:
            return
        invite.stop()
        call = self._calls.get(_key(request))
        if call is not None:
            call.acknowledge(request)

    def _on_cancel(self, transaction: ServerTransaction, call: IncomingCall | None) -> None:
        if call is not None and call.cancel(transaction.request):
            self._reply(transaction, 200, "OK")
        else:
            self._reply(transaction, 481, "Call/Transaction Does Not Exist")

    def _in_dialog(self, transaction: ServerTransaction, call: IncomingCall | None) -> None:
        if call is None or call.over:
            self._reply(transaction, 481, "Call/Transaction Does Not Exist")
        else:
            call.handle(transaction)
            if transaction.request.method == "INVITE":
                self._transactions.finish(transaction)

    def _reply(self, transaction: ServerTransaction, status: int, reason: str) -> None:
        answer = response(transaction.request, status, reason)
        answer.headers.set_single("Allow", ALLOW)
        transaction.respond(answer)
        if transaction.request.method == "INVITE":
            self._transactions.finish(transaction)


def _key(request: SipRequest) -> CallKey:
    sender = request.from_addr
    return request.call_id or "", (sender.tag if sender else None) or ""
