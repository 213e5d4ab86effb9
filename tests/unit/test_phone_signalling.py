"""SIP on our side: numbers, attributes, offers, and what is sent twice."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from aiosipua.message import SipMessage, SipRequest
from aiosipua.sdp import parse_sdp
from hypothesis import given
from hypothesis import strategies as st

from local.phone import transaction
from local.phone.attributes import MAX_TOTAL, attributes_of, clean, parties_of
from local.phone.offer import G711, NotAcceptable, answer_offer, make_offer, read_answer, read_offer
from local.phone.transaction import ClientTransactions, ServerTransactions
from local.phone.wire import Address, Wire, fault_of, host_towards, reply_address, response, stamp_source
from tests.room_guest import eventually

RECORDED = Path(__file__).parent.parent / "data"


def invite(
    to: str = "+15550100001", sender: str = "<sip:+15550109999@10.0.0.9>;tag=abc", headers: str = "", body: str = ""
) -> SipRequest:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    text = (
        f"INVITE sip:{to}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5070;branch=z9hG4bK1;rport\r\n"
        f"From: {sender}\r\nTo: <sip:{to}@127.0.0.1>\r\nCall-ID: one@host\r\nCSeq: 1 INVITE\r\n"
        f"{headers}{kind}\r\n{body}"
    )
    message = SipMessage.parse(text)
    assert isinstance(message, SipRequest)
    return message


@pytest.mark.parametrize(
    "dialed", ["+15550100001", "0015550100001", "1-555-010", "%2B15550100001", "4711;phone-context=x"]
)
def test_a_number_is_dialed(dialed: str) -> None:
    assert parties_of(invite(dialed)) is not None


@pytest.mark.parametrize("dialed", ["front-desk", "", "1" * 33, "+1555<script>", "1'; DROP", "%00%0a123"])
def test_what_is_no_number_is_not_dialed(dialed: str) -> None:
    assert parties_of(invite(dialed)) is None


def test_attributes_are_those_of_livekit_sip() -> None:
    request = invite(headers="X-Ticket: 42\r\nX-CRM-Id: a\x00b\r\nSubject: no\r\n")
    parties = parties_of(request)
    assert parties is not None
    attributes = attributes_of(request, parties, "SCL_123456789012")
    assert attributes == {
        "sip.callID": "SCL_123456789012",
        "sip.callIDFull": "one@host",
        "sip.callStatus": "ringing",
        "sip.callTag": "abc",
        "sip.hostname": "10.0.0.9",
        "sip.phoneNumber": "+15550109999",
        "sip.ruleID": "SDR_LocalPhoneLine",
        "sip.trunkID": "ST_LocalPhoneLine",
        "sip.trunkPhoneNumber": "+15550100001",
        "sip.h.x-ticket": "42",
        "sip.h.x-crm-id": "ab",
    }


def test_attributes_have_the_names_that_livekit_sip_was_recorded_with() -> None:
    recording = next(RECORDED.rglob("answered-call.jsonl"), None)
    if recording is None:
        pytest.skip("the recorded webhooks are not here")
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    joined = next(line["participant"] for line in lines if line.get("participant", {}).get("kind") == "SIP")
    request = invite()
    parties = parties_of(request)
    assert parties is not None
    assert set(attributes_of(request, parties, "SCL_x")) == set(joined["attributes"])


def test_many_long_headers_stay_below_livekits_limit() -> None:
    request = invite(headers="".join(f"X-H{n}: {'ü' * 2_000}\r\n" for n in range(200)))
    parties = parties_of(request)
    assert parties is not None
    attributes = attributes_of(request, parties, "SCL_x")
    assert sum(len(name.encode()) + len(value.encode()) for name, value in attributes.items()) <= MAX_TOTAL
    assert sum(name.startswith("sip.h.") for name in attributes) <= 32


@given(st.text(max_size=2_000))
def test_cleaned_text_is_short_and_printable(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) <= 512
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in cleaned)
    cleaned.encode()


def test_an_anonymous_caller_has_a_name() -> None:
    parties = parties_of(invite(sender="<sip:anonymous.invalid>;tag=x"))
    assert parties is not None
    assert parties.caller == "anonymous"


OFFER = (
    "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP {formats}\r\na=rtpmap:96 telephone-event/8000\r\na=ptime:{ptime}\r\na={direction}\r\n"
)


def offered(formats: str = "8 0 96", ptime: str = "20", direction: str = "sendrecv") -> str:
    return OFFER.format(formats=formats, ptime=ptime, direction=direction)


def test_the_callers_first_codec_and_its_own_key_events_are_taken() -> None:
    text, audio = answer_offer(parse_sdp(offered()), "127.0.0.1", 5000, 1)
    assert (audio.payload_type, audio.dtmf, audio.ptime, audio.held) == (8, 96, 20, False)
    assert audio.remote == ("10.0.0.9", 4000)
    assert "m=audio 5000 RTP/AVP 8 96" in text


@pytest.mark.parametrize(("direction", "answer"), [("sendonly", "recvonly"), ("inactive", "inactive")])
def test_a_hold_is_answered_in_its_direction(direction: str, answer: str) -> None:
    text, audio = answer_offer(parse_sdp(offered(direction=direction)), "127.0.0.1", 5000, 1)
    assert audio.held
    assert f"a={answer}" in text


@pytest.mark.parametrize(
    ("ptime", "taken"), [("10", 10), ("30", 30), ("0", 20), ("-5", 20), ("9999", 20), ("²", 20), ("", 20)]
)
def test_only_sensible_packet_times_are_taken(ptime: str, taken: int) -> None:
    text, audio = answer_offer(parse_sdp(offered(ptime=ptime)), "127.0.0.1", 5000, 1)
    assert audio.ptime == taken
    assert f"a=ptime:{taken}\r\n" in text


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        offered(formats="9 18"),
        offered().replace("10.0.0.9", "phone.example.com"),
        offered().replace("m=audio 4000", "m=audio 0"),
        offered().replace("m=audio", "m=video"),
        offered().replace("c=IN IP4 10.0.0.9\r\n", ""),
    ],
)
def test_an_offer_that_cannot_be_spoken_over_is_refused(sdp: str) -> None:
    with pytest.raises(NotAcceptable):
        answer_offer(parse_sdp(sdp), "127.0.0.1", 5000, 1)


def test_a_body_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        read_offer(invite(body="v=0\r\nm=audio x RTP/AVP 0\r\n"))


def test_our_own_offer_and_answer_fit() -> None:
    offer = parse_sdp(make_offer("127.0.0.1", 4000, (8, 0)))
    text, theirs = answer_offer(offer, "127.0.0.1", 5000, 1)
    ours = read_answer(parse_sdp(text))
    assert theirs.payload_type == ours.payload_type == 8
    assert ours.dtmf == theirs.dtmf == 101
    assert G711 == (0, 8)


def test_mutated_messages_raise_nothing_beyond_the_wire() -> None:
    rng = random.Random(3)
    whole = bytes(invite(body=offered(), headers="X-A: b\r\n"))
    wire = Wire(lambda request, _source: use(request), lambda _answer: None)
    for _ in range(5_000):
        at = rng.randrange(len(whole))
        junk = rng.choice([b"", b"\x00", b";", b"<", b"\r\n", b"9" * 40, bytes(rng.randbytes(8)), b"=", b"@:", b"%"])
        wire.datagram_received(whole[:at] + junk + whole[at + rng.randrange(20) :], ("127.0.0.1", 5060))
    assert wire.dropped["unhandled"] == 0
    assert wire.dropped["malformed"] + wire.dropped["incomplete"] > 0


def use(request: SipRequest) -> None:
    """What the line does with an INVITE before it rings."""
    reply_address(request, ("127.0.0.1", 5060))
    bytes(response(request, 404, "Not Found"))
    parties = parties_of(request)
    if parties is not None:
        attributes_of(request, parties, "SCL_x")
    try:
        offer = read_offer(request)
        if offer is not None:
            answer_offer(offer, "127.0.0.1", 5000, 1)
    except NotAcceptable:
        return


def test_answers_go_where_the_phone_listens() -> None:
    request = invite()
    assert reply_address(request, ("10.0.0.9", 60_000)) == ("10.0.0.9", 60_000)
    stamp_source(request, ("10.0.0.9", 60_000))
    assert "rport=60000;received=10.0.0.9" in request.headers.get("via")[0]
    fixed = SipMessage.parse(bytes(request).replace(b";rport=60000;received=10.0.0.9", b""))
    assert isinstance(fixed, SipRequest)
    assert reply_address(fixed, ("10.0.0.9", 60_000)) == ("10.0.0.9", 5_070)
    assert fault_of(fixed) is None
    assert host_towards("127.0.0.1", ("10.0.0.9", 1)) == "127.0.0.1"


class Line(Wire):
    """A wire that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(lambda _request, _source: None, lambda _answer: None)
        self.out: list[tuple[bytes, Address]] = []

    def send(self, data: bytes, address: Address) -> None:
        self.out.append((data, address))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("T1", 0.01), ("T2", 0.04), ("LIFETIME", 0.2)):
        monkeypatch.setattr(transaction, name, value)


async def test_the_same_invite_is_one_transaction_and_gets_its_last_answer_again() -> None:
    wire = Line()
    known = ServerTransactions(wire)
    first = known.begin(invite(), ("10.0.0.9", 5070))
    assert first is not None
    first.respond(response(invite(), 180, "Ringing"))
    assert known.begin(invite(), ("10.0.0.66", 1)) is None
    assert len(wire.out) == 2
    assert wire.out[0] == wire.out[1]  # to where the first came from, whoever repeats it
    known.close()


async def test_a_final_answer_is_repeated_until_it_is_acknowledged(fast: None) -> None:
    wire = Line()
    known = ServerTransactions(wire)
    invited = known.begin(invite(), ("10.0.0.9", 5070))
    assert invited is not None
    invited.respond(response(invite(), 200, "OK"))
    await eventually(lambda: len(wire.out) >= 3)
    found = known.find_invite(invite())
    assert found is invited
    found.stop()
    sent = len(wire.out)
    await asyncio.sleep(0.05)
    assert len(wire.out) == sent


async def test_an_answer_that_nobody_acknowledges_ends(fast: None) -> None:
    wire = Line()
    invited = ServerTransactions(wire).begin(invite(), ("10.0.0.9", 5070))
    assert invited is not None
    ended = asyncio.Event()
    invited.on_unacknowledged = ended.set
    invited.respond(response(invite(), 200, "OK"))
    async with asyncio.timeout(5):
        await ended.wait()


async def test_our_invite_is_repeated_until_something_answers(fast: None) -> None:
    wire = Line()
    clients = ClientTransactions(wire)
    calling = clients.send(invite(), ("127.0.0.1", 5060))
    await eventually(lambda: len(wire.out) >= 3)
    clients.receive(response(invite(), 180, "Ringing"))
    sent = len(wire.out)
    await asyncio.sleep(0.05)
    assert len(wire.out) == sent
    clients.receive(response(invite(), 486, "Busy Here"))
    assert (await calling.final).status_code == 486
    assert wire.out[-1][0].startswith(b"ACK ")
    clients.receive(response(invite(), 486, "Busy Here"))
    assert len([data for data, _ in wire.out if data.startswith(b"ACK ")]) == 2
    clients.close()


async def test_no_answer_at_all_is_a_timeout(fast: None) -> None:
    calling = ClientTransactions(Line()).send(invite(), ("127.0.0.1", 5060))
    with pytest.raises(TimeoutError):
        await calling.final
