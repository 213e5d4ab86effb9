"""Personas, numbers and calls over HTTP: the real process, a real Postgres, a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.control_service import INTERNAL_TOKEN, ControlService, control_service
from tests.facts import NOON, a_call, said
from tests.promises import promise

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control() -> AsyncIterator[ControlService]:
    """One service for all tests that leave it whole."""
    async with control_service() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_control() -> AsyncIterator[ControlService]:
    """A service of the test's own, over an empty database."""
    async with control_service() as running:
        yield running


@promise("control.api.personas")
async def test_a_persona_is_found_by_the_number_that_was_dialed(control: ControlService) -> None:
    for spelling in ("+15550100001", "%2B1%20(555)%20010-0001", "0015550100001", "15550100001"):
        found = await control.request("GET", f"/personas/by-number/{spelling}", key=INTERNAL_TOKEN)
        assert found.status == 200
        assert found.body["persona_name"] == "Harbor Hotel"
        assert (found.body["slug"], found.body["version"]) == ("harbor-hotel", "1")
        assert len(found.body["facts"]) >= 25
    for none in ("+15550100009", "abc", "%00", "9" * 200, "..%2f..%2fhealth"):
        missing = await control.request("GET", f"/personas/by-number/{none}", key=INTERNAL_TOKEN)
        assert (missing.status, missing.body["code"]) == (404, "not_found"), none


@promise("control.api.personas")
async def test_a_persona_is_made_changed_as_versions_and_removed(control: ControlService) -> None:
    made = await control.request(
        "POST", "/personas", json={"slug": "shop", "personaName": "Shop", "crm_id": 7, "numbers": ["+49 30 1"]}
    )
    assert made.status == 201
    assert made.body["version"] == 1
    assert made.body["persona"] == {"personaName": "Shop", "crm_id": 7}
    assert made.body["numbers"] == ["+49 30 1"]
    assert (await control.request("POST", "/personas", json={"slug": "shop"})).status == 409
    changed = await control.request("PUT", "/personas/shop", json={"persona_name": "New shop"})
    assert (changed.status, changed.body["version"], changed.body["persona_name"]) == (200, 2, "New shop")
    answering = await control.request("GET", "/personas/by-number/+49301")
    assert (answering.body["persona_name"], answering.body["version"]) == ("New shop", "2")
    versions = await control.request("GET", "/personas/shop/versions?limit=1")
    assert [one["version"] for one in versions.body["versions"]] == [2]
    older = await control.request("GET", f"/personas/shop/versions?cursor={versions.body['next']}")
    assert [one["persona"] for one in older.body["versions"]] == [{"personaName": "Shop", "crm_id": 7}]
    refused = await control.request("DELETE", "/personas/shop")
    assert (refused.status, "+49 30 1" in refused.body["message"]) == (409, True)
    assert (await control.request("DELETE", "/numbers/+49301")).status == 204
    assert (await control.request("DELETE", "/personas/shop")).status == 204
    assert (await control.request("GET", "/personas/shop")).status == 404
    again = await control.request("PUT", "/personas/shop", json={})
    assert (again.status, again.body["version"]) == (201, 3)


@promise("control.api.personas")
async def test_writers_at_once_make_one_row_of_versions(control: ControlService) -> None:
    puts = (control.request("PUT", "/personas/shared", json={"note": at}) for at in range(12))
    answers = await asyncio.gather(*puts)
    # Of writers that all find nothing one makes the persona; the others may be told to repeat.
    assert {one.status for one in answers} <= {200, 201, 409}
    made = sorted(one.body["version"] for one in answers if one.status < 300)
    assert made == list(range(1, len(made) + 1))
    versions = await control.request("GET", "/personas/shared/versions")
    assert [one["version"] for one in versions.body["versions"]] == made[::-1]


@promise("control.api.personas")
async def test_a_persona_with_a_fault_is_refused_by_name(control: ControlService) -> None:
    faults: list[tuple[dict[str, Any], str]] = [
        ({"voice": 3}, "voice"),
        ({"hours": "always"}, "hours"),
        ({"variables": {"api_key": "abc"}}, "variables.api_key"),
        ({"slug": "another"}, "slug"),
        ({"numbers": ["no number"]}, "numbers"),
        ({"version": 9}, "version"),
        ({"personality": "nul \0"}, "NUL"),
    ]
    for body, named in faults:
        refused = await control.request("PUT", "/personas/faulty", json=body)
        assert (refused.status, refused.body["code"]) == (400, "bad_request")
        assert named in refused.body["message"]
    assert (await control.request("GET", "/personas/faulty")).status == 404


@promise("control.api.personas")
async def test_the_default_persona_and_a_routes_name_are_not_for_taking(control: ControlService) -> None:
    assert (await control.request("DELETE", "/personas/default")).status == 409
    assert (await control.request("PUT", "/personas/by-number", json={})).status == 400


@promise("control.api.numbers")
async def test_a_number_leads_to_weighted_variants_of_a_campaign(control: ControlService) -> None:
    body = {
        "campaign": "spring",
        "variants": [{"persona": "harbor-hotel", "weight": 3}, {"persona": "maple-dental", "weight": 1}],
    }
    assert (await control.request("PUT", "/numbers/+49%2030%2022", json=body)).status == 201
    assert (await control.request("PUT", "/numbers/004930-22", json=body)).status == 200
    found = await control.request("GET", "/personas/by-number/+493022")
    assert found.body["campaign"] == "spring"
    assert [(one["weight"], one["persona"]["slug"]) for one in found.body["variants"]] == [
        (3, "harbor-hotel"),
        (1, "maple-dental"),
    ]
    first = await control.request("GET", "/numbers?limit=2")
    assert [one["number"] for one in first.body["numbers"]] == ["+15550100001", "+15550100002"]
    rest = await control.request("GET", f"/numbers?cursor={first.body['next']}")
    assert "004930-22" in [one["number"] for one in rest.body["numbers"]]
    assert rest.body["next"] is None
    assert (await control.request("PUT", "/numbers/493022", json={"persona": "default"})).body["persona"] == "default"


@promise("control.api.numbers")
async def test_a_number_with_a_fault_is_refused(control: ControlService) -> None:
    faults: list[Any] = [
        {},
        [],
        {"persona": "nobody"},
        {"persona": "default", "campaign": "x"},
        {"campaign": "x"},
        {"variants": [{"persona": "default"}]},
        {"campaign": "x", "variants": []},
        {"campaign": "x", "variants": [{"persona": "default", "weight": 0}]},
        {"persona": "default", "other": 1},
    ]
    for body in faults:
        assert (await control.request("PUT", "/numbers/+4930", json=body)).status == 400, body
    assert (await control.request("PUT", "/numbers/abc", json={"persona": "default"})).status == 400
    assert (await control.request("GET", "/numbers/+4930")).status == 404


@promise("control.api.calls")
async def test_a_call_is_shown_with_transcript_events_and_latencies(control: ControlService) -> None:
    call_id = uuid4()
    facts = a_call(call_id)
    await control.record(facts)
    shown = (await control.request("GET", f"/calls/{call_id}")).body
    assert (shown["status"], shown["persona"], shown["dialed"]) == ("ended", "Harbor Hotel", "+15550100001")
    assert (shown["caller"], shown["reason"], shown["turns"]) == ("+15559", "caller_hung_up", 1)
    assert datetime.fromisoformat(shown["started_at"]) == NOON
    assert [(line["role"], line["text"], line["interrupted"]) for line in shown["transcript"]] == [
        ("assistant", "Good day.", False),
        ("user", "When is breakfast?", False),
        ("assistant", "From half past six.", True),
    ]
    assert [event["seq"] for event in shown["events"]] == list(range(1, 10))
    assert [event["kind"] for event in shown["events"]] == [one.kind for one in facts]
    assert [event["id"] for event in shown["events"]] == [str(one.id) for one in facts]
    assert shown["latencies"]["p50"] == {"voice_to_voice": 0.9, "llm": 0.3}
    assert [turn["seq"] for turn in shown["latencies"]["by_turn"]] == [8]
    assert (await control.request("GET", f"/calls/{uuid4()}")).status == 404
    assert (await control.request("GET", "/calls/none")).status == 400


@promise("control.api.calls")
async def test_calls_are_listed_newest_first_page_by_page_and_filtered(own_control: ControlService) -> None:
    control = own_control
    calls = [(uuid4(), at) for at in range(5)]
    for call_id, at in calls:
        shifted = [
            one.model_copy(update={"at": one.at + timedelta(minutes=at)})
            for one in a_call(call_id, dialed=f"+1 555 010-000{at % 2}")
        ]
        await control.record(shifted[:-1] if at == 4 else shifted)
    newest = [str(call_id) for call_id, _ in calls[::-1]]

    async def listed(query: str) -> list[str]:
        answer = await control.request("GET", f"/calls?{query}")
        assert answer.status == 200, answer.body
        return [one["call_id"] for one in answer.body["calls"]]

    first = await control.request("GET", "/calls?limit=2")
    second = await control.request("GET", f"/calls?limit=2&cursor={first.body['next']}")
    third = await control.request("GET", f"/calls?limit=2&cursor={second.body['next']}")
    pages = [one["call_id"] for page in (first, second, third) for one in page.body["calls"]]
    assert pages == newest
    assert third.body["next"] is None
    assert await listed("live=true") == newest[:1]
    assert await listed("live=false") == newest[1:]
    assert await listed("number=0015550100001") == [newest[1], newest[3]]
    assert await listed("persona=Harbor%20Hotel") == newest
    assert await listed(f"conversation_id={newest[2]}") == [newest[2]]
    since, until_ = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    window = f"since={since.isoformat()}&until={until_.isoformat()}".replace("+", "%2B")
    assert await listed(window) == newest[2:4]
    for fault in ("cursor=abc", "limit=0", "live=perhaps", "since=yesterday", "number=abc", "persona=%00"):
        assert (await control.request("GET", f"/calls?{fault}")).status == 400, fault


@promise("control.api.web")
async def test_a_browser_gets_a_token_for_one_room(control: ControlService) -> None:
    made = await control.request("POST", "/calls/web", json={"number": "+15550100001"})
    assert made.status == 200
    assert set(made.body) == {"url", "token", "room", "call_id"}
    assert made.body["url"] == "ws://127.0.0.1:7880"
    other = await control.request("POST", "/calls/web", json={"number": "+15550100001"})
    assert made.body["room"] != other.body["room"]
    for bad in ({"number": "abc"}, {"number": ""}, {}, {"number": 5}, {"number": "+1555", "room": "mine"}):
        assert (await control.request("POST", "/calls/web", json=bad)).status == 400


@promise("control.api.unrecorded")
async def test_which_facts_are_not_recorded_yet(control: ControlService) -> None:
    facts, other = [said("c", str(at)) for at in range(5)], uuid4()
    await control.record(facts)

    async def asked(ids: list[str], key: str = INTERNAL_TOKEN) -> Any:
        return await control.request("POST", "/internal/facts/unrecorded", key=key, json={"ids": ids})

    answer = await asked([str(other), *(str(one.id) for one in facts)])
    assert answer.body == {"unrecorded": [str(other)]}
    assert (await asked([])).body == {"unrecorded": []}
    assert (await asked([str(uuid4()) for _ in range(501)])).status == 400
    assert (await asked(["none"])).status == 400
    assert (await asked([], control.admin_key)).status == 403
