"""One-time codes over HTTP: the real process, a real Postgres, a real Redis."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from livekit import api

from control.conversations.session import DatabaseSession
from control.conversations.turn import turn
from control.db.pool import open_database
from switchboard import fact, stream
from switchboard.fact import Fact, Source
from tests import postgres_server
from tests.browser import PROXY, Browser, signed_in, user
from tests.control_service import INTERNAL_TOKEN, LIVEKIT_SECRET, Answer, ControlService, control_service
from tests.facts import a_call
from tests.postgres_server import query
from tests.promises import promise

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER = "+15550100001"
IN_THE_CALL = ["Good day.", "When is breakfast?", "From half past six."]
TALK = [{"role": "user", "content": "My order number is 4711."}, {"role": "assistant", "content": "Thank you."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control() -> AsyncIterator[ControlService]:
    async with control_service(**PROXY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def ann(control: ControlService) -> Browser:
    return await somebody(control, "operator")


async def somebody(control: ControlService, role: str) -> Browser:
    return await signed_in(control, (await user(control, f"{role}-{uuid4().hex[:8]}", role))["id"])


async def recorded_call(control: ControlService, conversation: str | None = None) -> UUID:
    """A call on record, in a conversation of its own or in this one."""
    call_id = uuid4()
    facts = a_call(call_id)
    if conversation is not None:
        facts = [one.model_copy(update={"conversation_id": conversation}) for one in facts]
    await control.record(facts)
    return call_id


async def a_chat(browser: Browser) -> str:
    chat_id = str((await browser.ask("POST", "/chats", json={"title": "Order"})).body["chat_id"])
    await browser.ask("PUT", f"/chats/{chat_id}", json={"conversation": TALK})
    return chat_id


async def code_of(browser: Browser, what: str) -> str:
    made = await browser.ask("POST", f"{what}/codes")
    assert made.status == 201, made
    assert set(made.body) == {"code", "expires_at"}
    return str(made.body["code"])


async def as_chat(browser: Browser, code: str, **more: Any) -> Answer:
    return await browser.ask("POST", "/chats", json={"code": code, **more})


async def as_call(browser: Browser, code: str) -> Answer:
    return await browser.ask("POST", "/calls/web", json={"number": NUMBER, "code": code})


def named_in(token: str) -> dict[str, str]:
    return dict(api.TokenVerifier("devkey", LIVEKIT_SECRET).verify(token).attributes or {})


def contents(answer: Answer) -> list[str]:
    return [one["content"] for one in answer.body["conversation"]]


@promise("codes.chat")
async def test_a_call_goes_on_as_a_chat_with_what_was_said_in_it(control: ControlService, ann: Browser) -> None:
    call_id = await recorded_call(control)
    chat = await as_chat(ann, await code_of(ann, f"/calls/{call_id}"), title="Breakfast")
    assert (chat.status, chat.body["chat_id"], chat.body["title"]) == (201, str(call_id), "Breakfast")
    assert chat.body["user_id"] == (await ann.ask("GET", "/me")).body["user"]["id"]
    assert contents(chat) == IN_THE_CALL
    async with open_database(control.database_url) as database:
        await DatabaseSession(str(call_id), database).add_items([{"role": "user", "content": "And on Sundays?"}])
    assert contents(await ann.ask("GET", f"/chats/{call_id}")) == [*IN_THE_CALL, "And on Sundays?"]
    assert [one["chat_id"] for one in (await ann.ask("GET", "/chats")).body["chats"]] == [str(call_id)]
    call = (await ann.ask("GET", f"/calls/{call_id}")).body
    assert [line["text"] for line in call["transcript"]] == IN_THE_CALL
    again = await as_chat(ann, await code_of(ann, f"/calls/{call_id}"), title="Another title")
    assert (again.status, again.body["title"]) == (201, "Breakfast")
    assert again.body["conversation"] == (await ann.ask("GET", f"/chats/{call_id}")).body["conversation"]


@promise("access.freed")
async def test_a_call_that_a_removed_user_went_on_with_is_anybodys_again(
    control: ControlService, ann: Browser
) -> None:
    made = await user(control, f"ben-{uuid4().hex[:8]}", "operator")
    ben = await signed_in(control, made["id"])
    call_id, canary = await recorded_call(control), uuid4().hex
    assert (await as_chat(ben, await code_of(ben, f"/calls/{call_id}"), title=canary)).status == 201
    async with open_database(control.database_url) as database:
        await DatabaseSession(str(call_id), database).add_items([{"role": "user", "content": canary}])
    assert (await ann.ask("POST", f"/calls/{call_id}/codes")).status == 409
    own = await a_chat(ben)
    assert (await control.request("DELETE", f"/users/{made['id']}")).status == 204
    chat = await as_chat(ann, await code_of(ann, f"/calls/{call_id}"), title="Breakfast")
    assert (chat.status, chat.body["title"], contents(chat)) == (201, "Breakfast", IN_THE_CALL)
    for table in ("events", "conversations"):
        rows = await query(control.database_url, f"SELECT t::text FROM {table} AS t")  # noqa: S608 - our own names
        assert not [row for row in rows if canary in row["t"]]
    [row] = await query(control.database_url, "SELECT title FROM conversations WHERE id = $1", own)
    assert row["title"] == "Order"


@promise("codes.call")
async def test_a_chat_goes_on_as_a_call_whose_token_names_the_conversation(
    control: ControlService, ann: Browser
) -> None:
    chat_id = await a_chat(ann)
    call = await as_call(ann, await code_of(ann, f"/chats/{chat_id}"))
    assert (call.status, set(call.body)) == (200, {"url", "token", "room", "call_id"})
    told = {"switchboard.dialed": NUMBER, "switchboard.conversation": chat_id}
    assert named_in(call.body["token"]) == told
    grants = api.TokenVerifier("devkey", LIVEKIT_SECRET).verify(call.body["token"])
    assert grants.video is not None
    assert grants.video.can_update_own_metadata is False
    plain = (await ann.ask("POST", "/calls/web", json={"number": NUMBER})).body
    assert named_in(plain["token"]) == {"switchboard.dialed": NUMBER}
    call_id = await recorded_call(control, chat_id)
    assert contents(await ann.ask("GET", f"/chats/{chat_id}")) == [*(one["content"] for one in TALK), *IN_THE_CALL]
    # And once more from that call: one conversation, whatever it is continued as.
    third = await as_call(ann, await code_of(ann, f"/calls/{call_id}"))
    assert named_in(third.body["token"]) == told


@promise("codes.once")
async def test_of_many_who_use_one_code_at_once_one_goes_on(control: ControlService, ann: Browser) -> None:
    chat_id = await a_chat(ann)
    for use in (as_chat, as_call):
        code = await code_of(ann, f"/chats/{chat_id}")
        answers = await asyncio.gather(*(use(ann, code) for _ in range(20)))
        assert sorted(one.status for one in answers)[0] in (200, 201)
        assert [one.status for one in answers].count(404) == 19
    code = await code_of(ann, f"/chats/{chat_id}")
    both = await asyncio.gather(*((as_call if at % 2 else as_chat)(ann, code) for at in range(20)))
    assert [one.status for one in both].count(404) == 19


@promise("codes.once")
async def test_a_code_is_good_for_ten_minutes_and_outlives_redis(control: ControlService, ann: Browser) -> None:
    chat_id = await a_chat(ann)
    for age, expected in (("590 s", 201), ("601 s", 404)):
        code = await code_of(ann, f"/chats/{chat_id}")
        await query(control.database_url, f"UPDATE codes SET expires_at = expires_at - interval '{age}'")  # noqa: S608
        assert (await as_chat(ann, code)).status == expected, age
    code = await code_of(ann, f"/chats/{chat_id}")
    assert len(code) == 22
    async with stream.connect(control.redis.url) as redis:
        await redis.execute_command("FLUSHALL")  # type: ignore[no-untyped-call]
    assert (await as_chat(ann, code)).status == 201


@promise("codes.others")
async def test_what_is_wrong_with_a_code_is_not_told(control: ControlService, ann: Browser) -> None:
    chat_id = await a_chat(ann)
    used, expired, anothers, good = [await code_of(ann, f"/chats/{chat_id}") for _ in range(4)]
    assert (await as_chat(ann, used)).status == 201
    await query(
        control.database_url, "UPDATE codes SET expires_at = now() WHERE hash = sha256($1::bytea)", expired.encode()
    )
    removed = await a_chat(ann)
    gone = await code_of(ann, f"/chats/{removed}")
    assert (await ann.ask("DELETE", f"/chats/{removed}")).status == 204
    ben = await somebody(control, "operator")
    answers = [await use(ben, anothers) for use in (as_chat, as_call)]
    for wrong in (used, expired, gone, "x" * 22, "", "nonsense", "x" * 10_000, "\0" * 22, "ä", good + "="):
        answers += [await use(ann, wrong) for use in (as_chat, as_call)]
    assert {(one.status, json.dumps(one.body)) for one in answers} == {(404, json.dumps(answers[0].body))}
    assert answers[0].body["code"] == "not_found"
    faults: tuple[object, ...] = (1, [], {})
    for fault in faults:
        assert (await ann.ask("POST", "/chats", json={"code": fault})).status == 400
    # Nobody's try has used up what is good.
    assert (await as_chat(ann, anothers)).status == 201
    assert (await as_call(ann, good)).status == 200


@promise("codes.others")
async def test_codes_are_made_by_who_may_of_what_is_theirs(control: ControlService, ann: Browser) -> None:
    chat_id, call_id = await a_chat(ann), await recorded_call(control)
    viewer, ben = await somebody(control, "viewer"), await somebody(control, "operator")
    assert (await viewer.ask("POST", f"/calls/{call_id}/codes")).status == 403
    for other in (viewer, ben):
        for place in (f"/chats/{chat_id}", f"/chats/{uuid4()}", f"/chats/{call_id}"):
            answer = await other.ask("POST", f"{place}/codes")
            assert (answer.status, answer.body["message"]) == (404, "There is no such chat.")
    assert (await ben.ask("POST", f"/calls/{uuid4()}/codes")).status == 404
    assert (await ann.ask("POST", f"/chats/{chat_id}/codes", forged=True)).status == 403
    for place in (f"/chats/{chat_id}", f"/calls/{call_id}"):
        assert (await control.request("POST", f"{place}/codes", key=INTERNAL_TOKEN)).status == 403
    # Of two who may go on with a call the first one has it.
    mine, bens = await code_of(ann, f"/calls/{call_id}"), await code_of(ben, f"/calls/{call_id}")
    assert (await as_chat(ann, mine)).status == 201
    assert [(await use(ben, bens)).status for use in (as_chat, as_call)] == [404, 404]
    assert (await ben.ask("POST", f"/calls/{call_id}/codes")).status == 409
    assert (await ben.ask("GET", f"/calls/{call_id}")).status == 200
    # A viewer's own chat goes on as a call once they may call.
    theirs = await code_of(viewer, f"/chats/{await a_chat(viewer)}")
    assert (await as_call(viewer, theirs)).status == 403
    me = (await viewer.ask("GET", "/me")).body["user"]["id"]
    await control.request("PATCH", f"/users/{me}", json={"role": "operator"})
    assert (await as_call(viewer, theirs)).status == 200


@promise("codes.kept")
async def test_a_code_whose_use_fails_is_still_good() -> None:
    async with control_service(**PROXY, LIVEKIT_URL="") as control:
        ann = await somebody(control, "operator")
        code = await code_of(ann, f"/chats/{await a_chat(ann)}")
        away = await as_call(ann, code)
        assert (away.status, away.body["code"]) == (503, "unavailable")
        assert (await ann.ask("POST", "/calls/web", json={"number": "none", "code": code})).status == 400
        await asyncio.to_thread(postgres_server.server().kill)
        assert (await as_chat(ann, code)).status == 503
        await asyncio.to_thread(postgres_server.server().start)
        assert (await as_chat(ann, code)).status == 201
        # A conversation that a program of one's own named is no chat, and goes on there or as a call.
        call_id = await recorded_call(control, "red:order-4711")
        code = await code_of(ann, f"/calls/{call_id}")
        assert (await as_chat(ann, code)).status == 409
        assert (await query(control.database_url, "SELECT count(*) AS n FROM codes"))[0]["n"] == 1
        assert (await query(control.database_url, "SELECT count(*) AS n FROM audit WHERE action = 'code.used'"))[0][
            "n"
        ] == 1


@promise("codes.stored")
async def test_a_code_is_in_no_table_no_log_and_no_answer_but_one(control: ControlService, ann: Browser) -> None:
    chat_id, call_id = await a_chat(ann), await recorded_call(control)
    codes = [await code_of(ann, f"/chats/{chat_id}") for _ in range(3)] + [await code_of(ann, f"/calls/{call_id}")]
    assert (await as_chat(ann, codes[0])).status == 201
    assert (await as_call(ann, codes[1])).status == 200
    assert (await as_chat(ann, codes[1])).status == 404
    names = await query(control.database_url, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    tables = [await query(control.database_url, f"SELECT t::text FROM {one['name']} t") for one in names]  # noqa: S608
    told = json.dumps((await control.request("GET", "/audit")).body)
    assert f'"subject": "{chat_id}"' in told
    assert {"code.made", "code.used"} <= {one["action"] for one in json.loads(told)["audit"]}
    for code in codes:
        assert code not in told
        assert code not in control.log()
        assert not [row for rows in tables for row in rows if code in row["t"]]


def _of_call(chat_id: str, call_id: UUID, item: dict[str, Any]) -> Fact:
    body = fact.Item.model_validate({"item": item})
    return Fact(conversation_id=chat_id, call_id=call_id, source=Source.AGENT, body=body)


@promise("codes.live")
async def test_what_is_typed_while_a_call_is_on_stands_in_one_order_with_what_is_said(
    control: ControlService, ann: Browser
) -> None:
    chat_id, call_id = await a_chat(ann), uuid4()

    async def say(text: str) -> None:
        await control.record([_of_call(chat_id, call_id, {"role": "user", "content": text})])

    async with open_database(control.database_url) as database:
        session = DatabaseSession(chat_id, database)
        await say("One")
        async with turn(session) as begun:
            await begun.add_items([{"role": "user", "content": "Typed"}])
            await say("Two")
            await begun.add_items([{"role": "assistant", "content": "Answered"}])
            await begun.keep()
        await say("Three")
        said = contents(await ann.ask("GET", f"/chats/{chat_id}"))
        assert said == [*(one["content"] for one in TALK), "One", "Two", "Typed", "Answered", "Three"]
        # A tool that the call has asked, and that has not answered: no model takes the half of it.
        asked = {"type": "function_call", "call_id": "t", "name": "look_up", "arguments": "{}"}
        await control.record([_of_call(chat_id, call_id, asked)])
        assert [dict(one).get("type") for one in await session.get_items(1)] == []
        assert len(await session.get_items()) == len(said)
        output = {"type": "function_call_output", "call_id": "t", "output": "Half past six."}
        await control.record([_of_call(chat_id, call_id, output)])
        assert [dict(one)["type"] for one in await session.get_items(2)] == [asked["type"], output["type"]]
    assert contents(await ann.ask("PUT", f"/chats/{chat_id}", json={"conversation": None})) == []
    await say("Four")
    assert contents(await ann.ask("GET", f"/chats/{chat_id}")) == ["Four"]
    call = (await ann.ask("GET", f"/calls/{call_id}")).body
    assert [line["text"] for line in call["transcript"]] == ["One", "Two", "Three", "Four"]


@promise("codes.told")
async def test_a_calls_agent_is_told_the_newest_of_what_is_beside_its_call_and_fits(
    control: ControlService, ann: Browser
) -> None:
    chat_id, call_id = await a_chat(ann), uuid4()
    place = f"/internal/conversations/{chat_id}/items?beside={call_id}"

    async def told(place: str = place) -> list[dict[str, Any]]:
        answer = await control.request("GET", place, key=INTERNAL_TOKEN)
        assert answer.status == 200, answer
        return [one["body"]["item"] for one in answer.body["items"]]

    await control.record([_of_call(chat_id, call_id, {"role": "user", "content": "In the call"})])
    assert await told() == TALK
    items: list[Any] = [
        {"role": "system", "content": "Obey."},
        {"type": "reasoning", "id": "r", "summary": []},
        {"role": "user", "content": [{"type": "input_text", "text": "Look"}, {"type": "input_image", "x": "y"}]},
        {"type": "function_call", "id": "f", "call_id": "a", "name": "stock", "arguments": "{}", "status": "done"},
        {"type": "function_call_output", "call_id": "a", "output": "12"},
        {"type": "function_call", "call_id": "b", "name": "stock", "arguments": json.dumps("x" * 5_000)},
        {"role": "user", "content": "y" * 150_000},
    ]
    async with open_database(control.database_url) as database:
        session = DatabaseSession(chat_id, database)
        await session.add_items(items)
        assert await told() == [
            *TALK,
            {"role": "user", "content": "Look"},
            {"type": "function_call", "call_id": "a", "name": "stock", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "12"},
            {"role": "user", "content": "y" * 4_000},
        ]
        await session.add_items([{"role": "user", "content": f"{at}: " + "z" * 900} for at in range(200)])
        found = await told()
        assert (len(found), found[-1]["content"][:4], found[0]["content"][:4]) == (100, "199:", "100:")
        await session.add_items([{"role": "user", "content": "z" * 3_996} for _ in range(200)])
        assert len(await told()) == 25
    assert await told(f"/internal/conversations/never:was/items?beside={call_id}") == []
    for fault in ("/internal/conversations/a%20b/items?beside=" + str(call_id), place[:-1], place.partition("?")[0]):
        assert (await control.request("GET", fault, key=INTERNAL_TOKEN)).status == 400, fault
    assert (await ann.ask("GET", place)).status == 403
