"""Control over HTTP: the real process, a real Postgres, a real Redis."""

import asyncio
import io
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import pytest_asyncio

from switchboard import stream
from switchboard.fact import Fact
from tests import postgres_server
from tests.control_service import INTERNAL_TOKEN, ControlService, control_service, settings_for
from tests.facts import NOON, a_call, said, until
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


async def put_facts(control: ControlService, facts: list[Fact]) -> None:
    """Returns when the facts are recorded."""
    redis = stream.connect(control.redis.url)
    await stream.add(redis, facts)

    async def recorded() -> bool:
        ids = [str(one.id) for one in facts][:500]
        answer = await control.request("POST", "/internal/facts/unrecorded", key=INTERNAL_TOKEN, json={"ids": ids})
        return answer.status == 200 and not answer.body["unrecorded"]

    await until(recorded)
    await redis.aclose()


@promise("control.api.first_start")
async def test_the_first_start_makes_an_admins_key_and_loads_the_personas_once(own_control: ControlService) -> None:
    control = own_control
    key = control.home / "admin.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text() not in control.log()
    found = await control.request("GET", "/personas")
    assert [one["slug"] for one in found.body["personas"]] == ["default", "harbor-hotel", "maple-dental"]
    before = control.admin_key
    assert (await control.request("DELETE", "/numbers/+15550100002")).status == 204
    assert (await control.request("DELETE", "/personas/maple-dental")).status == 204
    assert await control.end() == 0
    await control.start()
    found = await control.request("GET", "/personas", key=before)
    assert [one["slug"] for one in found.body["personas"]] == ["default", "harbor-hotel"]


@promise("control.api.first_start")
async def test_a_key_file_that_is_there_is_the_key_of_an_empty_database(own_control: ControlService) -> None:
    control = own_control
    await control.end()
    key = control.admin_key
    async with postgres_server.fresh_database() as other:
        control.settings["DATABASE_URL"] = other
        await control.start()
        assert (await control.request("GET", "/api-keys", key=key)).status == 200
        await control.end()


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
    await put_facts(control, facts)
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
        await put_facts(control, shifted[:-1] if at == 4 else shifted)
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
    await put_facts(control, facts)

    async def asked(ids: list[str], key: str = INTERNAL_TOKEN) -> Any:
        return await control.request("POST", "/internal/facts/unrecorded", key=key, json={"ids": ids})

    answer = await asked([str(other), *(str(one.id) for one in facts)])
    assert answer.body == {"unrecorded": [str(other)]}
    assert (await asked([])).body == {"unrecorded": []}
    assert (await asked([str(uuid4()) for _ in range(501)])).status == 400
    assert (await asked(["none"])).status == 400
    assert (await asked([], control.admin_key)).status == 403


@promise("control.api.access")
async def test_without_credentials_nothing_but_health_and_metrics_answers(control: ControlService) -> None:
    schema = (await control.request("GET", "/openapi.json", key=None)).body
    for path, operations in schema["paths"].items():
        for method in operations:
            place = path.replace("{", "").replace("}", "")
            for key in (None, "wrong", "sb_" + "x" * 43):
                answer = await control.request(method.upper(), place, key=key, data=b"{")
                expected = (200,) if path in ("/health", "/metrics") else (401,)
                assert answer.status in expected, (method, path)


@promise("control.api.access")
async def test_a_key_opens_what_its_role_may_until_it_is_revoked(control: ControlService) -> None:
    keys = {}
    for role in ("viewer", "operator", "admin"):
        made = await control.request("POST", "/api-keys", json={"name": role, "role": role})
        assert made.status == 201
        keys[role] = made.body
    web = {"json": {"number": "+15550100001"}}
    tried: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
        ("GET", "/calls", {}, {"viewer": 200, "operator": 200, "admin": 200}),
        ("POST", "/calls/web", web, {"viewer": 403, "operator": 200, "admin": 200}),
        ("PUT", "/personas/for-admins", {"json": {}}, {"viewer": 403, "operator": 403, "admin": 201}),
        ("GET", "/api-keys", {}, {"viewer": 403, "operator": 403, "admin": 200}),
        ("GET", "/personas/by-number/+15550100001", {}, {"viewer": 200, "operator": 200, "admin": 200}),
    ]
    for method, path, more, expected in tried:
        for role, status in expected.items():
            answer = await control.request(method, path, key=keys[role]["key"], **more)
            assert answer.status == status, (method, path, role)
        internal = await control.request(method, path, key=INTERNAL_TOKEN, **more)
        assert internal.status == (200 if "by-number" in path else 403)
    listed = json.dumps((await control.request("GET", "/api-keys")).body)
    for made_key in keys.values():
        assert made_key["key"] not in listed
        assert made_key["key"] not in control.log()
    assert (await control.request("DELETE", f"/api-keys/{keys['viewer']['id']}")).status == 204
    assert (await control.request("GET", "/calls", key=keys["viewer"]["key"])).status == 401
    assert (await control.request("DELETE", f"/api-keys/{uuid4()}")).status == 404


@promise("control.api.access")
async def test_a_key_expires_and_the_last_admins_key_stays(own_control: ControlService) -> None:
    control = own_control
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    made = await control.request("POST", "/api-keys", json={"name": "brief", "role": "admin", "expires_at": soon})
    assert made.status == 201

    async def expired() -> bool:
        return (await control.request("GET", "/calls", key=made.body["key"])).status == 401

    await until(expired)
    listed = (await control.request("GET", "/api-keys")).body["api_keys"]
    first = next(one["id"] for one in listed if one["name"] == "first admin")
    assert (await control.request("DELETE", f"/api-keys/{first}")).status == 409
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    for bad in ({"role": "king"}, {"expires_at": past}, {"expires_at": "2030-01-01T00:00:00"}, {"name": ""}):
        body = {"name": "n", "role": "viewer"} | bad
        assert (await control.request("POST", "/api-keys", json=body)).status == 400


@promise("control.api.audit")
async def test_every_change_is_on_record_with_who_made_it(own_control: ControlService) -> None:
    control = own_control
    made = await control.request("POST", "/api-keys", json={"name": "ann", "role": "admin"})
    ann = made.body["key"]
    await control.request("PUT", "/personas/x", key=ann, json={})
    await control.request("PUT", "/personas/x", key=ann, json={})
    await control.request("PUT", "/numbers/+4930", key=ann, json={"persona": "x"})
    await control.request("DELETE", "/personas/x", key=ann)
    await control.request("DELETE", "/numbers/+4930", key=ann)
    await control.request("DELETE", "/personas/x", key=ann)
    await control.request("POST", "/calls/web", key=ann, json={"number": "+4930"})
    await control.request("DELETE", f"/api-keys/{made.body['id']}")
    rows = await postgres_server.query(
        control.database_url, "SELECT actor, action, subject FROM audit WHERE actor <> 'first start' ORDER BY id"
    )
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("key:first admin", "api_key.made"),
        ("key:ann", "persona.made"),
        ("key:ann", "persona.changed"),
        ("key:ann", "number.set"),
        ("key:ann", "number.removed"),
        ("key:ann", "persona.removed"),
        ("key:ann", "call.web"),
        ("key:first admin", "api_key.revoked"),
    ]


@promise("control.api.errors")
async def test_every_fault_has_a_code_and_a_sentence(control: ControlService) -> None:
    big = json.dumps({"note": "x" * 1_100_000}).encode()
    json_type = {"Content-Type": "application/json"}

    async def in_parts() -> AsyncIterator[bytes]:
        for at in range(0, len(big), 65_536):
            yield big[at : at + 65_536]

    faults: list[tuple[int, str, str, str, dict[str, Any]]] = [
        (400, "bad_request", "PUT", "/personas/x", {"data": b"{", "headers": json_type}),
        (400, "bad_request", "PUT", "/personas/x", {"data": b"[1]", "headers": json_type}),
        (400, "bad_request", "PUT", "/personas/x", {"data": b'{"a": "\xff"}', "headers": json_type}),
        (400, "bad_request", "PUT", "/personas/x", {"data": b'"' + b"[" * 50_000, "headers": json_type}),
        (400, "bad_request", "GET", "/personas/No_Slug", {}),
        (404, "not_found", "GET", "/nowhere", {}),
        (405, "method_not_allowed", "PATCH", "/calls", {}),
        (413, "too_large", "PUT", "/personas/x", {"data": io.BytesIO(big), "headers": json_type}),
        (413, "too_large", "PUT", "/personas/x", {"data": in_parts(), "headers": json_type}),
    ]
    for status, code, method, path, more in faults:
        answer = await control.request(method, path, **more)
        assert (answer.status, answer.body["code"]) == (status, code), (method, path, answer.body)
        assert set(answer.body) == {"code", "message"}
        assert answer.body["message"]
    assert "Traceback" not in control.log()


@promise("control.api.away")
async def test_postgres_away_is_a_503_and_comes_back_by_itself(own_control: ControlService) -> None:
    control = own_control
    assert (await control.request("GET", "/calls")).status == 200
    await asyncio.to_thread(postgres_server.server().kill)
    for method, path in (("GET", "/calls"), ("GET", "/personas/by-number/1"), ("PUT", "/personas/x")):
        away = await control.request(method, path, json={})
        assert (away.status, away.body["code"]) == (503, "unavailable")
    health = await control.request("GET", "/health", key=None)
    assert (health.status, health.body["degraded"]) == (503, ["postgres"])
    await asyncio.to_thread(postgres_server.server().start)

    async def back() -> bool:
        return (await control.request("GET", "/calls")).status == 200

    await until(back)
    call_id = uuid4()
    await put_facts(control, a_call(call_id))
    assert (await control.request("GET", f"/calls/{call_id}")).status == 200
    assert (await control.request("GET", "/health", key=None)).status == 200
    assert "Traceback" not in control.log()


@promise("control.api.away")
async def test_redis_away_shows_in_health_and_the_api_goes_on(own_control: ControlService) -> None:
    control = own_control
    await control.redis.stop()
    health = await control.request("GET", "/health", key=None)
    assert (health.status, health.body["degraded"], health.body["postgres"]) == (503, ["redis"], "ok")
    assert (await control.request("GET", "/calls")).status == 200
    await control.redis.start()
    call_id = uuid4()
    await put_facts(control, a_call(call_id))
    assert (await control.request("GET", "/health", key=None)).status == 200
    metrics = await control.request("GET", "/metrics", key=None)
    assert "switchboard_facts_recorded_total 9.0" in metrics.body


@promise("control.api.start")
async def test_a_busy_port_a_missing_database_and_a_closed_home_are_named(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        async with postgres_server.fresh_database() as empty:
            whole = settings_for(tmp_path, empty, "redis://127.0.0.1:1/0", 0)
            faults = [
                ({"CONTROL_PORT": str(port)}, f"CONTROL_PORT {port}"),
                ({"SWITCHBOARD_HOME": "/proc/none"}, "/proc/none"),
                ({"DATABASE_URL": postgres_server.server().url("no_such_database")}, "no_such_database"),
                ({"DATABASE_URL": "postgresql://me:hush-hush@127.0.0.1:1/none"}, "127.0.0.1/none"),
            ]
            ends = await asyncio.gather(*(ended(whole | change) for change, _ in faults))
            for (status, last), (_, named) in zip(ends, faults, strict=True):
                assert (status, named in last) == (2, True), (named, last)
                assert "hush" not in last


async def ended(settings: dict[str, str]) -> tuple[int | None, str]:
    """Status and last words of a process that does not start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control"), env=os.environ | settings, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 90)
    assert b"Traceback" not in stderr
    return process.returncode, stderr.decode().strip().splitlines()[-1]


_NASTY: tuple[Any, ...] = (
    "",
    "a\0b",
    "' OR 1=1 --",
    "../../etc/passwd",
    "\u202e\U0001f600",
    "x" * 5_000,
    str(2**63),
    str(10**400),
    "NaN",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    str(uuid4()),
)
_BODIES: tuple[str, ...] = (
    *("", "null", "[]", "0", '"text"', "{}", '{"": 0}', '{"slug": "a-1", "numbers": null}', "{" * 3_000, "[" * 3_000),
    *('{"slug": {"a": []}}', '{"ids": [1, null]}', '{"number": "\\u0000"}', '{"name": "\\ud800", "role": "viewer"}'),
    *('{"persona": "\\u0000"}', '{"slug": "a-2", "note": 1e999}', '{"slug": "a-3", "note": -Infinity}'),
    '{"slug": "a-4", "x": "\\ud800"}',
    '{"slug": "a-5", "facts": ' + "[" * 200 + "]" * 200 + "}",
    '{"name": "\\u0000", "role": "admin", "expires_at": "9999-12-31T23:59:59-14:00"}',
    '{"campaign": "\\ud800", "variants": [{"persona": "default", "weight": 1e-320}]}',
    '{"campaign": "c", "variants": [{"persona": "default", "weight": 1e-400}, {"persona": "default"}]}',
)


@promise("control.api.errors")
async def test_hostile_input_meets_documented_answers_alone(control: ControlService) -> None:
    schema = (await control.request("GET", "/openapi.json", key=None)).body
    tried = 0
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            documented = {int(status) for status in operation["responses"]}
            cases = hostile(path, operation)
            key = INTERNAL_TOKEN if path.startswith("/internal") else ""
            asked = (control.request(method.upper(), place, key=key, **more) for place, more in cases)
            for (place, more), answer in zip(cases, await asyncio.gather(*asked), strict=True):
                # Another path or method is what an empty or climbing name makes of an address.
                assert answer.status in documented | {404, 405}, (method, place[:200], str(more)[:200], answer)
                assert answer.status < 500
                tried += 1
    assert tried > 300
    assert "Traceback" not in control.log()


def hostile(path: str, operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Addresses and bodies with each parameter, and the body, set to each nasty value in turn."""
    cases: list[tuple[str, dict[str, Any]]] = []
    parameters = operation.get("parameters", [])
    usual = path.replace("{slug}", "a-0").replace("{number}", "+49301")
    for parameter in parameters:
        for nasty in _NASTY:
            name, value = parameter["name"], quote(nasty, safe="")
            query = parameter["in"] == "query"
            cases.append((f"{path}?{name}={value}" if query else path.replace(f"{{{name}}}", value), {}))
    if "requestBody" in operation:
        headers = {"Content-Type": "application/json"}
        cases += [(usual, {"data": body.encode(), "headers": headers}) for body in _BODIES]
    return cases
