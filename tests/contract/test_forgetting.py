"""Callers and conversations are forgotten: real processes, a real Postgres, a real Redis, real files."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from control.conversations.log import Forgotten, PostgresLog
from control.conversations.ownership import own_session
from control.conversations.session import DatabaseSession
from control.conversations.turn import turn
from control.db.pool import open_database
from control.errors import Conflict, NotFound
from control.forgetting.tables import ERASED
from switchboard import stream
from switchboard.fact import CallArrived, RecordingStarted
from switchboard.outbox import Outbox, folder
from switchboard.recordings import recording_id
from tests.browser import signed_in, user
from tests.control_service import INTERNAL_TOKEN, ControlService, control_service
from tests.facts import a_call, said, until
from tests.postgres_server import query
from tests.promises import promise
from tests.traces import Traces, call_of, in_files, in_redis, in_tables, installation, rows_with, written
from webhook.call import Call
from webhook.store import Store

NUMBER, OTHER = "+491711234567", "+491719876543"
SPELLED = "sip:0049%20171%20123-4567@192.0.2.9"


@pytest.fixture
async def control() -> AsyncIterator[ControlService]:
    async with control_service() as running:
        yield running


@pytest.fixture
async def traces(control: ControlService) -> AsyncIterator[Traces]:
    async with installation(control) as found:
        yield found


def word() -> str:
    return f"canary{uuid4().hex}"


async def everywhere(traces: Traces, call_id: UUID, number: str, canary: str) -> None:
    """A call that left the word in every place, the file of its agent, who lives, among them."""
    control, redis = traces.control, traces.redis
    facts = call_of(call_id, number, canary)
    path = folder(control.home) / f"{call_id}-1-J.jsonl"
    async with Outbox(path, redis).shipping() as outbox:
        for one in facts:
            outbox.put(one)
    written(traces, f"webhook-{call_id}", facts[:1])
    await traces.recorded()
    # Shipped again by somebody who knows no better: what an agent has to know is there once more.
    await stream.add(redis, facts[8:9])
    garbage = f'{{"call_id": "{call_id}", "said": "{canary}"}}'
    await redis.xadd(stream.STREAM, {stream.FIELD: garbage})
    live = Call(
        call_id=call_id, conversation_id=str(call_id), room=f"r {canary}", channel="sip", identity=canary, dialed="1"
    )
    assert await Store(redis).keep_call(call_id, live.model_dump_json())
    await control.request("POST", "/blocklist", json={"number": number, "reason": f"{canary} was rude"})
    assert (await control.request("DELETE", f"/blocklist/{number}")).status == 204
    async with traces.jobs() as jobs, open_database(traces.url) as database:
        for args in ({"call": str(call_id), "say": canary}, {"number": number, "say": canary}):
            async with database.transaction() as connection:
                await jobs.enqueue(connection, "clean_up", args, at=datetime.now(UTC) + timedelta(hours=1))
        await DatabaseSession(str(call_id), database).add_items([{"role": "user", "content": f"{canary} of a chat"}])
    await query(traces.url, "UPDATE conversations SET title = $1 WHERE id = $2", canary, str(call_id))
    await query(
        traces.url,
        "INSERT INTO audit (actor, action, subject, detail)"
        " VALUES ('ann', 'call.noted', $1, jsonb_build_object('n', $2::text))",
        str(call_id),
        canary,
    )
    await query(traces.url, "INSERT INTO turns VALUES ($1, gen_random_uuid(), now())", str(call_id))
    code = (
        "INSERT INTO codes SELECT sha256($1::text::bytea), $1, id, now() + interval '10 minutes' FROM users LIMIT 1"
    )
    await query(traces.url, code, str(call_id))
    await traces.recorded()


@promise("forget.caller")
async def test_a_forgotten_caller_is_found_nowhere_and_others_keep_all(traces: Traces) -> None:
    canary, others = word(), word()
    call, second, other = uuid4(), uuid4(), uuid4()
    await everywhere(traces, call, NUMBER, canary)
    await traces.control.record(call_of(second, "00491711234567", canary))
    await everywhere(traces, other, OTHER, others)
    before = await in_tables(traces.url, canary)
    assert {"audit.detail", "calls.id"} <= {*before, "calls.id"}
    assert {one.partition(".")[0] for one in before} == {"audit", "conversations", "events", "refused_facts", "tasks"}
    assert sorted(await in_redis(traces.redis, canary)) == [stream.items_key(call), stream.LIVE_CALLS]
    kept = await rows_with(traces.url, others), await rows_with(traces.url, OTHER[1:])
    kept_in_redis = await in_redis(traces.redis, others)

    gone = await traces.forget(f"/callers/{SPELLED}")

    assert await traces.of(canary, NUMBER, NUMBER[1:]) == []
    for id in (call, second):
        assert set(await in_tables(traces.url, str(id))) <= {"audit.subject"}
        assert (await traces.control.request("GET", f"/calls/{id}")).status == 404
    assert gone["went"] == {
        **{"events": 27, "calls": 2, "codes": 1, "conversations": 2, "refused_facts": 1, "tasks": 2, "audit": 3},
        **{"outbox": 14, "carried": 1, "live_calls": 1},
    }
    assert (gone["what"], gone["kept"], gone["finished_at"] is None) == ("caller", {}, False)
    assert (await rows_with(traces.url, others), await rows_with(traces.url, OTHER[1:])) == kept
    assert await in_redis(traces.redis, others) == kept_in_redis
    assert len(in_files(others, folder(traces.control.home))) == 2


@promise("forget.caller")
async def test_what_was_asked_stands_in_no_log_and_no_row_in_the_open(traces: Traces) -> None:
    gone = await traces.forget(f"/callers/{NUMBER}")
    assert (gone["went"], gone["what"]) == ({}, "caller")
    assert await traces.of(NUMBER, NUMBER[1:]) == []
    audit = (await traces.control.request("GET", "/audit?action=caller.forgotten")).body["audit"]
    assert [one["subject"] for one in audit] == [gone["receipt_id"]]
    [asked, *_ticks] = (await traces.control.request("GET", "/tasks?kind=forget")).body["tasks"]
    task = (await traces.control.request("GET", f"/tasks/{asked['task_id']}")).body
    assert (task["state"], task["result"]) == ("completed", {"receipts": 1})


@promise("forget.caller")
async def test_a_blocked_caller_stays_blocked_and_the_receipt_says_so(traces: Traces) -> None:
    canary = word()
    await traces.control.record(call_of(uuid4(), NUMBER, canary))
    await traces.control.request("POST", "/blocklist", json={"number": NUMBER, "reason": "rude"})
    gone = await traces.forget(f"/callers/{NUMBER}")
    assert gone["kept"] == {"blocklist": 1}
    assert await traces.of(canary) == []
    assert await in_tables(traces.url, NUMBER[1:]) == ["blocklist.pattern", "blocklist.written"]
    assert (await traces.control.request("GET", "/blocklist")).body["blocklist"][0]["number"] == NUMBER


@promise("forget.replayed")
async def test_what_was_forgotten_does_not_come_back_and_who_calls_again_is_new(traces: Traces) -> None:
    canary, call = word(), uuid4()
    facts = call_of(call, NUMBER, canary)
    await traces.control.record(facts)
    receipt = (await traces.forget(f"/callers/{NUMBER}"))["receipt_id"]
    # A file of another host, which nobody could look into, is shipped, and the stream is filled again.
    await stream.add(traces.redis, facts[:6])
    path = written(traces, f"{call}-1-J", facts)
    await traces.shipped(path)
    assert (await traces.finished(receipt, refused=len(facts)))["went"]["refused"] == len(facts)
    assert await traces.of(canary, NUMBER) == []
    assert await in_tables(traces.url, str(call)) == []
    again, new = uuid4(), word()
    facts = [one.model_copy(update={"at": datetime.now(UTC)}) for one in call_of(again, NUMBER, new)]
    await traces.control.record(facts)
    shown = (await traces.control.request("GET", f"/calls/{again}")).body
    assert (shown["caller"], shown["conversation_id"], len(shown["events"])) == (NUMBER, str(again), len(facts))


@promise("forget.later")
async def test_what_becomes_known_only_later_goes_too(traces: Traces) -> None:
    canary, call = word(), uuid4()
    facts = call_of(call, NUMBER, canary)
    asked = await traces.forget(f"/callers/{NUMBER}")
    assert asked["went"] == {}
    # The agent's host is heard of first, and nothing in what it tells says who called.
    await traces.control.record([one for one in facts[1:] if one.kind != "message_taken"])
    assert await in_tables(traces.url, canary) == ["events.body"]
    path = written(traces, "webhook-7-1", facts[:1])
    await traces.shipped(path)
    gone = await traces.finished(asked["receipt_id"], refused=1)
    assert await traces.of(canary, NUMBER) == []
    assert (gone["went"]["calls"], gone["went"]["refused"]) == (1, 1)
    assert (await traces.control.request("GET", f"/calls/{call}")).status == 404


@promise("forget.live")
async def test_of_a_call_under_way_nothing_more_is_recorded(traces: Traces) -> None:
    canary, call = word(), uuid4()
    facts = call_of(call, NUMBER, canary)
    path = folder(traces.control.home) / f"{call}-1-J.jsonl"
    async with Outbox(path, traces.redis).shipping() as outbox:
        for one in facts[:8]:
            outbox.put(one)
        await traces.recorded()
        await until(lambda: recorded(traces, call))
        receipt = (await traces.forget(f"/callers/{NUMBER}"))["receipt_id"]
        assert await traces.of(NUMBER) == []
        for one in facts[8:]:
            outbox.put(one)
    await traces.shipped(path)
    await traces.finished(receipt, refused=len(facts) - 8)
    assert await traces.of(canary, NUMBER) == []
    assert await in_tables(traces.url, str(call)) == []


async def recorded(traces: Traces, call: UUID) -> bool:
    return (await traces.control.request("GET", f"/calls/{call}")).status == 200


@promise("forget.at_once")
async def test_facts_that_are_recorded_meanwhile_go_as_well(traces: Traces) -> None:
    canary = word()
    calls = [call_of(uuid4(), NUMBER, canary) for _ in range(30)]

    async def record() -> None:
        for facts in calls:
            for at in range(0, len(facts), 3):
                await stream.add(traces.redis, facts[at : at + 3])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(record())
        first = await traces.control.request("DELETE", f"/callers/{NUMBER}")
        assert first.status == 202
    await traces.recorded()
    # Late facts may have made it whole and unwhole again in between.
    last = await traces.control.request("DELETE", f"/callers/{OTHER}")
    await traces.finished(last.body["receipt_id"])
    gone = await traces.finished(first.body["receipt_id"])
    assert await traces.of(canary, NUMBER) == []
    assert gone["went"].get("events", 0) + gone["went"].get("refused", 0) == sum(map(len, calls))


@promise("forget.conversation")
async def test_one_conversation_of_a_caller_is_forgotten_and_the_other_stays(traces: Traces) -> None:
    canary, others = word(), word()
    call, other = uuid4(), uuid4()
    await traces.control.record(call_of(call, NUMBER, canary))
    await traces.control.record(call_of(other, NUMBER, others))
    kept = await rows_with(traces.url, others)
    gone = await traces.forget(f"/conversations/{call}")
    assert (gone["what"], gone["went"]["calls"]) == ("conversation", 1)
    assert await traces.of(canary) == []
    assert await rows_with(traces.url, others) == kept
    assert (await traces.control.request("GET", f"/calls/{other}")).body["caller"] == NUMBER
    assert (await traces.control.request("DELETE", f"/conversations/{call}")).status == 404
    again = call_of(call, NUMBER, canary)
    await stream.add(traces.redis, again)
    await traces.finished(gone["receipt_id"], refused=len(again))
    assert await traces.of(canary) == []


@promise("forget.conversation")
async def test_a_chat_is_forgotten_by_its_owner_unless_somebody_called_in_it(traces: Traces) -> None:
    canary, control = word(), traces.control
    ann = await signed_in(control, (await user(control, "ann"))["id"])
    ben = await signed_in(control, (await user(control, "ben", "operator"))["id"])
    body: dict[str, Any] = {"title": canary}
    chat, called = [(await ann.ask("POST", "/chats", json=body)).body["chat_id"] for _ in range(2)]
    await ann.ask("PUT", f"/chats/{chat}", json={"conversation": [{"role": "user", "content": canary}]})
    facts = [one.model_copy(update={"conversation_id": called}) for one in a_call(uuid4())]
    await control.record(facts)
    assert (await ben.ask("DELETE", f"/conversations/{chat}")).status == 404
    refused = await ann.ask("DELETE", f"/conversations/{called}")
    assert (refused.status, refused.body["code"]) == (403, "forbidden")
    asked = await ann.ask("DELETE", f"/conversations/{chat}")
    assert asked.status == 202, asked
    receipt = f"/receipts/{asked.body['receipt_id']}"
    await traces.finished(asked.body["receipt_id"])
    assert (await ann.ask("GET", receipt)).body["went"] == {"events": 1, "conversations": 1, "audit": 1}
    assert (await ben.ask("GET", receipt)).status == 404
    assert (await ann.ask("GET", f"/chats/{chat}")).status == 404
    await traces.forget(f"/conversations/{called}")
    assert await traces.of(canary) == []


@promise("forget.hidden")
async def test_what_is_to_be_forgotten_is_read_by_nobody_from_the_request_on(control: ControlService) -> None:
    async with installation(control, working=False) as traces:
        canary, call, other = word(), uuid4(), uuid4()
        ann = await signed_in(control, (await user(control, "ann", "operator"))["id"])
        chat = (await ann.ask("POST", "/chats", json={"title": canary})).body["chat_id"]
        for id, number, conversation in ((call, NUMBER, chat), (other, OTHER, str(other))):
            facts = [one.model_copy(update={"conversation_id": conversation}) for one in call_of(id, number, canary)]
            began = RecordingStarted(attempt=1, began_at=facts[0].at)
            await control.record([*facts, facts[-1].model_copy(update={"id": uuid4(), "body": began})])
        code = (await ann.ask("POST", f"/chats/{chat}/codes")).body["code"]

        async def reads() -> list[Any]:
            internal = f"/internal/conversations/{chat}/items?beside={uuid4()}"
            said = await control.request("GET", internal, key=INTERNAL_TOKEN)
            return [
                *[(await control.request("GET", f"/calls/{id}")).status for id in (call, other)],
                len((await control.request("GET", "/calls")).body["calls"]),
                len((await control.request("GET", "/recordings")).body["recordings"]),
                len((await control.request("GET", "/messages")).body["messages"]),
                (await control.request("GET", f"/recordings/{recording_id(call)}")).status,
                len(said.body["items"]) > 0,
                (await ann.ask("GET", f"/chats/{chat}")).status,
                len((await ann.ask("GET", "/chats")).body["chats"]),
            ]

        assert await reads() == [200, 200, 2, 2, 2, 200, True, 200, 1]
        asked = (await control.request("DELETE", f"/callers/{NUMBER}")).body
        assert asked["state"] == "forgetting"
        assert await reads() == [404, 200, 1, 1, 1, 404, False, 404, 0]
        assert "events.body" in await in_tables(traces.url, canary)
        codes = [("POST", "/chats", {"code": code}), ("POST", f"/chats/{chat}/codes", {})]
        codes += [("POST", f"/calls/{call}/codes", {}), ("PUT", f"/chats/{chat}", {"title": "x"})]
        for method, path, body in codes:
            assert (await ann.ask(method, path, json=body)).status == 404, path
        assert (await control.request("DELETE", f"/conversations/{chat}")).status == 404
        audio = f"/recordings/{recording_id(call)}/audio"
        assert (await control.request("GET", audio)).status == 404
        async with open_database(traces.url) as database:
            assert await DatabaseSession(chat, database).get_items() == []
            assert await PostgresLog(database).read(chat) == []


@promise("forget.sessions")
async def test_a_forgotten_conversation_takes_nothing_more(traces: Traces) -> None:
    id = f"ann.{uuid4()}"
    async with open_database(traces.url) as database:
        session = DatabaseSession(id, database)
        await session.add_items([{"role": "user", "content": "before"}])
        async with turn(session) as begun:
            await begun.add_items([{"role": "user", "content": "meanwhile"}])
            await traces.forget(f"/conversations/{id}")
            with pytest.raises(Conflict):
                await begun.keep()
        for late in (
            session.add_items([{"role": "user", "content": "after"}]),
            PostgresLog(database).append([said(id, "x")]),
        ):
            with pytest.raises(Forgotten, match="begin another one"):
                await late
        assert await session.get_items() == []
        with pytest.raises(NotFound):
            await own_session(database, uuid4(), id)
    assert await in_tables(traces.url, id) == []


@promise("forget.access")
async def test_who_may_not_forget_does_not_and_faults_change_nothing(control: ControlService) -> None:
    async with installation(control, working=False) as traces:
        call = uuid4()
        await control.record(call_of(call, NUMBER, word()))
        asked = (await control.request("DELETE", f"/callers/{OTHER}")).body["receipt_id"]
        for role in ("viewer", "operator"):
            key = (
                await control.request(
                    "POST",
                    "/api-keys",
                    json={"name": role, "role": role, "user_id": (await user(control, role, role))["id"]},
                )
            ).body["key"]
            assert (await control.request("DELETE", f"/callers/{NUMBER}", key=key)).status == 403
            assert (await control.request("DELETE", f"/conversations/{call}", key=key)).status == 404
            assert (await control.request("GET", f"/receipts/{asked}", key=key)).status == 404
        for wrong in ("alice", "sip:alice@example.com", "%2B", "+4917112345678901234567890123456789", "1" * 300):
            answer = await control.request("DELETE", f"/callers/{wrong}")
            assert (answer.status, answer.body["code"]) == (400, "bad_request"), wrong
        for path in (f"/conversations/{uuid4()}", "/conversations/a/b"):
            assert (await control.request("DELETE", path)).status == 404
        assert (await control.request("GET", f"/receipts/{uuid4()}")).status == 404
        assert (await control.request("GET", "/receipts/1")).status == 400
        # What cannot be kept from coming back is not forgotten by halves.
        ledger = control.home / "forgotten.jsonl"
        ledger.rename(control.home / "aside")
        ledger.mkdir()
        answer = await control.request("DELETE", f"/callers/{NUMBER}")
        assert (answer.status, answer.body["code"]) == (503, "unavailable")
        assert await query(traces.url, "SELECT id FROM receipts") == [{"id": UUID(asked)}]
        assert await query(traces.url, "SELECT * FROM tombstones") == []
        assert (await control.request("GET", f"/calls/{call}")).status == 200


NAMING = """
SELECT DISTINCT table_name AS name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name IN ('call_id', 'caller', 'conversation', 'conversation_id')
"""
# What is to be erased and who works on it, which go first; and hashes.
OTHERS = {"erasures", "tombstones", "turns"}


@promise("forget.tables")
async def test_every_table_that_names_what_goes_is_erased(control: ControlService) -> None:
    names = {row["name"] for row in await query(control.database_url, NAMING)}
    assert {"calls", "events"} <= names - OTHERS <= set(ERASED)


@promise("forget.caller")
async def test_numbers_that_only_look_alike_are_not_touched(traces: Traces) -> None:
    others = word()
    for caller in ("alice491711234567", "491711234567a", "+4917112345678", "anonymous", "sip:alice@491711234567"):
        await traces.control.record(call_of(uuid4(), caller, others))
    kept = await rows_with(traces.url, others)
    canary = word()
    for caller in ("tel:+49-171-1234567", "sips:00491711234567@host;user=phone", "(49) 171 1234567"):
        await traces.control.record(call_of(uuid4(), caller, canary))
    gone = await traces.forget(f"/callers/{NUMBER}")
    assert gone["went"]["calls"] == 3
    assert await rows_with(traces.url, others) == kept
    assert await traces.of(canary) == []
    arrived = call_of(uuid4(), "sip:+491711234567@host", canary)[0]
    assert isinstance(arrived.body, CallArrived)
    await stream.add(traces.redis, [arrived])
    await traces.finished(gone["receipt_id"], refused=1)
    assert await traces.of("sip:+491711234567@host") == []
