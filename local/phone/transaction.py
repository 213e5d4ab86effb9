"""SIP transactions over UDP (RFC 3261, 17): what is lost is sent again, what comes twice counts once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aiosipua.headers import CSeq, stringify_cseq
from aiosipua.message import SipRequest, SipResponse

from local.phone.wire import Address, Wire, reply_address

T1 = 0.5
T2 = 4.0
LIFETIME = 64 * T1

# Transactions remembered at once; beyond it new requests are dropped, and their senders try again.
MAX_TRANSACTIONS = 4_096

Key = tuple[str, str, int, str]


def key_of(request: SipRequest, method: str | None = None) -> Key:
    """Call-ID, From tag, CSeq number and method: equal for a request and its retransmissions."""
    sender, cseq = request.from_addr, request.cseq
    tag = (sender.tag if sender else None) or ""
    return request.call_id or "", tag, cseq.seq if cseq else 0, method or request.method


class Resend:
    """Sends a message again after T1, 2 T1, … (at most every T2) until stopped or 64 T1 have passed."""

    def __init__(self, send: Callable[[], None], expire: Callable[[], None], *, longest: float = T2) -> None:
        self._send, self._expire, self._longest = send, expire, longest
        self._interval, self._elapsed = T1, 0.0
        self._timer: asyncio.TimerHandle | None = self._later()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._interval, self._again)

    def _again(self) -> None:
        self._elapsed += self._interval
        if self._elapsed >= LIFETIME:
            self._timer = None
            self._expire()
            return
        self._send()
        self._interval = min(self._interval * 2, self._longest)
        self._timer = self._later()


@dataclass(eq=False)
class ServerTransaction:
    """One request that came in, and the last answer given to it."""

    wire: Wire
    request: SipRequest
    address: Address
    on_unacknowledged: Callable[[], None] = lambda: None
    is_final: bool = field(default=False, init=False)
    _last: bytes | None = field(default=None, init=False)
    _resend: Resend | None = field(default=None, init=False)

    def respond(self, answer: SipResponse) -> None:
        """Sends `answer`; a final answer to an INVITE is sent again until it is acknowledged."""
        self.stop()
        self._last = bytes(answer)
        self.is_final = answer.status_code >= 200
        self.replay()
        if self.is_final and self.request.method == "INVITE":
            self._resend = Resend(self.replay, self._expired)

    def replay(self) -> None:
        if self._last is not None:
            self.wire.send(self._last, self.address)

    def stop(self) -> None:
        if self._resend is not None:
            self._resend.stop()
            self._resend = None

    def _expired(self) -> None:
        self._resend = None
        self.on_unacknowledged()


class ServerTransactions:
    """The requests of the last half minute, so that a retransmission is answered and not acted on."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._known: dict[Key, ServerTransaction] = {}

    def begin(self, request: SipRequest, source: Address) -> ServerTransaction | None:
        """The transaction of a new request; None when it is a retransmission (its answer is sent again)."""
        key = key_of(request)
        known = self._known.get(key)
        if known is not None:
            known.replay()
            return None
        if len(self._known) >= MAX_TRANSACTIONS:
            self._wire.dropped["too many"] += 1
            return None
        transaction = self.stateless(request, source)
        self._known[key] = transaction
        if request.method != "INVITE":
            self._forget_later(key)
        return transaction

    def stateless(self, request: SipRequest, source: Address) -> ServerTransaction:
        """For a request that may as well be answered anew each time; nothing of it is remembered."""
        return ServerTransaction(self._wire, request, reply_address(request, source))

    def find_invite(self, request: SipRequest) -> ServerTransaction | None:
        """The INVITE that an ACK or CANCEL belongs to."""
        return self._known.get(key_of(request, "INVITE"))

    def finish(self, transaction: ServerTransaction) -> None:
        """Forgets an INVITE once its retransmissions can no longer arrive."""
        self._forget_later(key_of(transaction.request))

    def close(self) -> None:
        for transaction in self._known.values():
            transaction.stop()
        self._known.clear()

    def _forget_later(self, key: Key) -> None:
        asyncio.get_running_loop().call_later(LIFETIME, self._known.pop, key, None)


@dataclass(eq=False)
class ClientTransaction:
    """One request of ours. `final` is its answer, or a TimeoutError after 32 s without one."""

    wire: Wire
    request: SipRequest
    address: Address
    on_provisional: Callable[[SipResponse], None] = lambda _answer: None
    acknowledgement: bytes | None = None
    """What each 2xx to an INVITE is answered with, the first one and its repetitions."""
    final: "asyncio.Future[SipResponse]" = field(init=False)
    _resend: Resend | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.final = asyncio.get_running_loop().create_future()
        # An INVITE keeps doubling; anything else settles at T2.
        longest = LIFETIME if self.request.method == "INVITE" else T2
        self._send()
        self._resend = Resend(self._send, self._expired, longest=longest)

    def receive(self, answer: SipResponse) -> None:
        invite = self.request.method == "INVITE"
        if answer.status_code < 200:
            if invite:
                self.stop()
            self.on_provisional(answer)
            return
        self.stop()
        if invite and answer.status_code >= 300:
            self.wire.send(bytes(_acknowledge_failure(self.request, answer)), self.address)
        if self.acknowledgement is not None:
            self.wire.send(self.acknowledgement, self.address)
        if not self.final.done():
            self.final.set_result(answer)

    def stop(self) -> None:
        if self._resend is not None:
            self._resend.stop()
            self._resend = None

    def _send(self) -> None:
        self.wire.send(bytes(self.request), self.address)

    def _expired(self) -> None:
        self._resend = None
        if not self.final.done():
            self.final.set_exception(TimeoutError(f"no answer to {self.request.method} in {LIFETIME:.0f} s"))
            self.final.exception()  # nobody may be waiting for it


class ClientTransactions:
    """Our own requests, found again by branch and method when an answer comes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._open: dict[tuple[str, str], ClientTransaction] = {}

    def send(
        self,
        request: SipRequest,
        address: Address,
        on_provisional: Callable[[SipResponse], None] = lambda _answer: None,
    ) -> ClientTransaction:
        """Sends `request`, again on T1 until something answers."""
        transaction = ClientTransaction(self._wire, request, address, on_provisional)
        key = request.via[0].branch or "", request.method
        self._open[key] = transaction
        # Late repetitions of a final answer must still be acknowledged.
        transaction.final.add_done_callback(lambda _: self._forget_later(key))
        return transaction

    def receive(self, answer: SipResponse) -> None:
        cseq = answer.cseq
        transaction = self._open.get((answer.via[0].branch or "", cseq.method)) if cseq and answer.via else None
        if transaction is None:
            self._wire.dropped["stray answer"] += 1
            return
        transaction.receive(answer)

    def close(self) -> None:
        for transaction in self._open.values():
            transaction.stop()
            transaction.final.cancel()
        self._open.clear()

    def _forget_later(self, key: tuple[str, str]) -> None:
        asyncio.get_running_loop().call_later(LIFETIME, self._open.pop, key, None)


def _acknowledge_failure(invite: SipRequest, answer: SipResponse) -> SipRequest:
    """The ACK to a final answer that is no 2xx: same branch, the answer's To (RFC 3261, 17.1.1.3)."""
    return in_transaction(invite, "ACK", to=answer.headers.get_first("to"))


def in_transaction(invite: SipRequest, method: str, *, to: str | None = None) -> SipRequest:
    """An ACK or CANCEL in the transaction of `invite`: its URI, top Via, CSeq number and dialog headers."""
    request = SipRequest(method=method, uri=invite.uri)
    request.headers.append("Via", invite.headers.get("via")[0])
    for name in ("From", "To", "Call-ID"):
        request.headers.set_single(name, invite.headers.get_first(name) or "")
    if to:
        request.headers.set_single("To", to)
    cseq = invite.cseq
    request.headers.set_single("CSeq", stringify_cseq(CSeq(seq=cseq.seq if cseq else 1, method=method)))
    request.headers.set_single("Max-Forwards", "70")
    for route in invite.headers.get("route"):
        request.headers.append("Route", route)
    return request
