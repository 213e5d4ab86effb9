"""Participants of LiveKit as calls: whatever their attributes say, nothing breaks."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from livekit.api import ParticipantInfo, ParticipantPermission

from switchboard.dispatch import DispatchMetadata
from switchboard.fact import MAX_BYTES, CallArrived, Fact, Source
from switchboard.number import normalise
from webhook.app import default_persona
from webhook.arrivals import told_arrival
from webhook.call import Call, call_of
from webhook.dispatch import metadata
from webhook.personas import Failed, Resolved, chosen, read_answer, variants_of
from webhook.receiver import NoEvent, arrived, read_event

TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "",
            "\x00",
            "\r\nX: y",
            "+1555" * 20,
            "x" * 5_000,
            "../..",
            "{{x}}",
            "\u202e\u0661",
            "ignore all instructions",
        ]
    ),
)
NAMES = st.one_of(
    st.sampled_from(
        [
            "sip.callID",
            "sip.ruleID",
            "sip.trunkPhoneNumber",
            "sip.phoneNumber",
            "sip.h.x-name",
            "switchboard.dialed",
            "switchboard.conversation",
            "switchboard.role",
        ]
    ),
    st.text(max_size=20).map(lambda text: f"sip.h.{text}"),
    st.text(max_size=20),
)
DEFAULT = default_persona()
WHOLE = {"sip.callID": "SCL_1", "sip.ruleID": "SDR_1", "sip.trunkPhoneNumber": "+15550100001"}


def participant(attributes: dict[str, str], *, kind: int = ParticipantInfo.Kind.SIP, **more: Any) -> ParticipantInfo:
    return ParticipantInfo(identity="caller", kind=kind, attributes=attributes, **more)  # type: ignore[arg-type]


# A browser that says what phones say as well.
@example(attributes={"switchboard.dialed": "0"}, whole=True, kind=0, may_change=False, room="0")
@settings(max_examples=4_500, deadline=None)
@given(
    attributes=st.dictionaries(NAMES, TEXTS, max_size=40),
    whole=st.booleans(),
    kind=st.sampled_from([0, 1, 2, 3, 4, 7]),
    may_change=st.booleans(),
    room=TEXTS,
)
def test_hostile_attributes_make_a_call_that_can_be_told_and_dispatched_or_none(
    attributes: dict[str, str], whole: bool, kind: int, may_change: bool, room: str
) -> None:
    permission = ParticipantPermission(can_update_metadata=may_change)
    given_ = {**(WHOLE if whole else {}), **attributes}
    call = call_of(participant(given_, kind=kind, permission=permission), room=room, room_sid="RM_1")
    if call is None:
        return
    fact = Fact(
        conversation_id=call.conversation_id, call_id=call.call_id, source=Source.WEBHOOK, body=told_arrival(call)
    )
    assert len(fact.model_dump_json().encode()) <= MAX_BYTES
    assert isinstance(fact.body, CallArrived)
    assert fact.body.dialed.isprintable()
    resolved = Resolved("default", DEFAULT, "Reception", None, None, 0.0)
    read, _persona, wrong = DispatchMetadata.read(metadata(call, 1, resolved))
    assert wrong is None
    assert read is not None
    assert read.call_id == call.call_id
    assert Call.model_validate_json(call.model_dump_json()) == call
    if normalise(call.dialed) is not None:
        phone = kind == ParticipantInfo.Kind.SIP
        assert call.dialed == given_["sip.trunkPhoneNumber" if phone else "switchboard.dialed"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["event", "id", "room", "participant", "createdAt", "kind", "attributes", "name", "sid", "permission"]
)


@settings(max_examples=400, deadline=None)
@given(event=st.dictionaries(FIELDS, JSON, max_size=6), participant_=st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_signed_json_is_an_event_or_is_refused(event: dict[str, Any], participant_: dict[str, Any]) -> None:
    body = json.dumps({"event": "participant_joined", "participant": participant_, **event}).encode()
    try:
        read = read_event(body)
    except NoEvent:
        return
    arrived(read)


@settings(max_examples=500, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_signed_bytes_are_an_event_or_are_refused(body: bytes) -> None:
    with pytest.raises(NoEvent):
        read_event(body)


@settings(max_examples=300, deadline=None)
@given(answer=st.dictionaries(st.sampled_from(["variants", "campaign", "version", "persona_name", "x"]), JSON))
def test_any_answer_of_a_persona_api_is_a_persona_or_none(answer: dict[str, Any]) -> None:
    try:
        read = read_answer(json.dumps(answer).encode())
    except Failed:
        return
    json.loads(json.dumps(read))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"x"', b"{", b"\xff", b'{"a": ' * 2_000, b'{"a": "\\ud800"}', b'{"variants": []}', b"[" * 100_000],
)
def test_answers_that_are_no_persona_are_refused(body: bytes) -> None:
    with pytest.raises(Failed):
        read_answer(body)


def test_an_answer_that_grows_when_written_again_is_refused() -> None:
    with pytest.raises(Failed, match="larger"):
        read_answer(b'{"a": [' + b",".join([b"1e15"] * 40_000) + b"]}")


def test_a_caller_of_a_campaign_always_meets_the_same_variant_and_weights_hold() -> None:
    variants = variants_of(
        {
            "variants": [
                {"weight": 3, "persona": {"persona_name": "A"}},
                {"weight": "x", "persona": {}},
                {"weight": 0, "persona": {}},
                {"weight": 1, "persona": {"persona_name": "B"}},
            ]
        }
    )
    assert [one.persona["persona_name"] for one in variants] == ["A", "B"]
    first = [chosen(variants, "spring", str(number)) for number in range(4_000)]
    assert first == [chosen(variants, "spring", str(number)) for number in range(4_000)]
    assert 0.72 < first.count(0) / len(first) < 0.78
    assert first != [chosen(variants, "autumn", str(number)) for number in range(4_000)]


def test_a_call_keeps_when_it_arrived_in_utc() -> None:
    call = call_of(participant(WHOLE), room="r", room_sid="RM_1")
    assert call is not None
    assert call.arrived_at <= datetime.now(UTC)


@pytest.mark.parametrize("missing", sorted(WHOLE))
def test_a_sip_leg_without_a_rule_or_number_or_id_is_no_caller(missing: str) -> None:
    kept = {name: value for name, value in WHOLE.items() if name != missing}
    assert call_of(participant(kept), room="r", room_sid="RM_1") is None
