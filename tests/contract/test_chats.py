"""Chats over HTTP: the real process, a real Postgres, a real Redis."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from control.conversations.log import PostgresLog
from control.conversations.session import DatabaseSession
from control.conversations.turn import turn
from control.db.pool import open_database
from control.errors import Conflict
from switchboard.fact import Fact, MessageTaken, Source
from tests.browser import PROXY, Browser, signed_in, user
from tests.control_service import ControlService, control_service
from tests.facts import a_call, said
from tests.postgres_server import query
from tests.promises import promise

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control() -> AsyncIterator[ControlService]:
    async with control_service(**PROXY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def ann(control: ControlService) -> Browser:
    """A viewer, who may have chats as anybody."""
    return await signed_in(control, (await user(control, f"ann-{uuid4().hex[:8]}"))["id"])


async def made(browser: Browser, **body: Any) -> dict[str, Any]:
    answer = await browser.ask("POST", "/chats", json=body)
    assert answer.status == 201, answer
    return dict(answer.body)


TALK = [{"role": "user", "content": "Hi 👋"}, {"role": "assistant", "content": "Hello.\nHow can I help?"}]


@promise("chats.kept")
async def test_a_chat_is_made_changed_and_cleared(ann: Browser) -> None:
    chat = await made(ann, title="Parcel")
    me = (await ann.ask("GET", "/me")).body["user"]["id"]
    assert (chat["title"], chat["user_id"], chat["conversation"]) == ("Parcel", me, [])
    assert chat["created_at"] == chat["updated_at"]
    place = f"/chats/{chat['chat_id']}"
    renamed = (await ann.ask("PUT", place, json={"title": "Two parcels"})).body
    assert (renamed["title"], renamed["created_at"]) == ("Two parcels", chat["created_at"])
    assert renamed["updated_at"] > chat["updated_at"]
    replaced = (await ann.ask("PUT", place, json={"conversation": TALK})).body
    assert (replaced["title"], replaced["conversation"]) == ("Two parcels", TALK)
    again = (await ann.ask("PUT", place, json={"conversation": TALK[:1], "title": "One"})).body
    assert (again["title"], again["conversation"]) == ("One", TALK[:1])
    assert (await ann.ask("GET", place)).body == again
    assert (await ann.ask("PUT", place, json={"conversation": None})).body["conversation"] == []


@promise("chats.kept")
async def test_chats_are_listed_newest_first_page_by_page(ann: Browser) -> None:
    newest = [(await made(ann, title=str(at)))["chat_id"] for at in range(5)][::-1]
    found, cursor = [], ""
    while True:
        page = (await ann.ask("GET", f"/chats?limit=2{cursor}")).body
        found += [one["chat_id"] for one in page["chats"]]
        assert all("conversation" not in one for one in page["chats"])
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == newest


@promise("chats.kept")
async def test_a_slash_at_the_end_changes_nothing(ann: Browser) -> None:
    made_so = await ann.ask("POST", "/chats/", json={"title": "x"})
    assert made_so.status == 201
    place = f"/chats/{made_so.body['chat_id']}/"
    assert (await ann.ask("GET", "/chats/?limit=1")).body["chats"][0]["title"] == "x"
    assert (await ann.ask("PUT", place, json={"title": "y"})).body["title"] == "y"
    assert (await ann.ask("GET", place)).body["title"] == "y"
    assert (await ann.ask("DELETE", place)).status == 204
    assert (await ann.ask("GET", place)).status == 404


@promise("chats.owner")
async def test_a_chat_is_its_owners_by_session_and_by_key_and_nobody_elses(
    control: ControlService, ann: Browser
) -> None:
    chat = await made(ann, title="Mine")
    me = (await ann.ask("GET", "/me")).body["user"]["id"]
    key = (await control.request("POST", "/api-keys", json={"name": "k", "role": "viewer", "user_id": me})).body[
        "key"
    ]
    place = f"/chats/{chat['chat_id']}"
    by_key = await control.request("GET", place, key=key)
    assert (by_key.status, by_key.body["user_id"]) == (200, me)
    assert (await control.request("POST", "/chats", key=key, json={})).body["user_id"] == me
    for method, body in (("GET", None), ("PUT", {"title": "x"}), ("DELETE", None)):
        answer = await control.request(method, place, json=body)
        assert (answer.status, answer.body["code"]) == (404, "not_found")
    assert (await control.request("GET", "/chats")).body["chats"] == []
    assert (await ann.ask("PUT", place, forged=True, json={"title": "x"})).status == 403
    assert (await ann.ask("GET", place)).body["title"] == "Mine"


@promise("chats.removed")
async def test_what_was_written_in_a_removed_chat_is_erased(control: ControlService, ann: Browser) -> None:
    canary = uuid4().hex
    chat = await made(ann, title=canary)
    place = f"/chats/{chat['chat_id']}"
    await ann.ask("PUT", place, json={"conversation": [{"role": "user", "content": canary}]})
    await ann.ask("PUT", place, json={"conversation": [{"role": "user", "content": f"{canary} again"}]})
    assert (await ann.ask("DELETE", place)).status == 204
    assert (await ann.ask("DELETE", place)).status == 404
    for table in ("events", "conversations"):
        rows = await query(control.database_url, f"SELECT t::text FROM {table} AS t")  # noqa: S608 - our own names
        assert rows
        assert not [row for row in rows if canary in row["t"]]
    async with open_database(control.database_url) as database:
        events = await PostgresLog(database).read(chat["chat_id"])
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.fact.kind for event in events] == ["erased", "items_retracted", "erased"]


@promise("chats.removed")
async def test_a_message_that_was_taken_in_a_removed_chat_is_erased_and_the_calls_stays(
    control: ControlService, ann: Browser
) -> None:
    canary = uuid4().hex
    chat = await made(ann, title="Message")
    taken = [
        Fact(
            conversation_id=chat["chat_id"],
            call_id=call_id,
            source=source,
            body=MessageTaken(name=f"{canary}-{source}", number="123", text=canary),
        )
        for call_id, source in ((None, Source.CONTROL), (uuid4(), Source.AGENT))
    ]
    await control.record(taken)

    async def names() -> list[str]:
        shown = (await ann.ask("GET", "/messages")).body["messages"]
        return [one["name"] for one in shown if one["text"] == canary]

    assert sorted(await names()) == [f"{canary}-agent", f"{canary}-control"]
    assert (await ann.ask("DELETE", f"/chats/{chat['chat_id']}")).status == 204
    assert await names() == [f"{canary}-agent"]
    rows = await query(control.database_url, "SELECT body::text FROM events")
    assert len([row for row in rows if canary in row["body"]]) == 1


@promise("messages.listed")
async def test_messages_of_calls_and_of_conversations_are_listed_newest_first_page_by_page(
    control: ControlService, ann: Browser
) -> None:
    conversation, call_id = f"messages:{uuid4()}", uuid4()
    facts = [
        Fact(
            conversation_id=conversation,
            call_id=call_id if at % 2 else None,
            at=datetime(2036, 1, 1, 12, at // 2, tzinfo=UTC),
            source=Source.AGENT,
            body=MessageTaken(name=f"Ann {at}", number="123", text="Call me."),
        )
        for at in range(5)
    ]
    await control.record([said(conversation, "no message"), *facts])
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < len(facts):
        page = (await ann.ask("GET", f"/messages?limit=2{cursor}")).body
        found += page["messages"]
        cursor = f"&cursor={page['next']}"
    wanted = {one.id: one for one in facts}
    assert {one["message_id"] for one in found[:5]} == {str(id) for id in wanted}
    assert [one["at"] for one in found[:5]] == sorted((one["at"] for one in found[:5]), reverse=True)
    for one in found[:5]:
        fact = wanted[UUID(one["message_id"])]
        assert one["call_id"] == (None if fact.call_id is None else str(fact.call_id))
        assert isinstance(fact.body, MessageTaken)
        assert (one["conversation_id"], one["name"]) == (conversation, fact.body.name)
        assert (one["number"], one["text"]) == ("123", "Call me.")
    assert (await ann.ask("GET", "/messages?cursor=none")).status == 400
    assert (await control.request("DELETE", f"/conversations/{conversation}")).status == 202
    shown = (await ann.ask("GET", "/messages?limit=200")).body["messages"]
    assert [one for one in shown if one["conversation_id"] == conversation] == []


@promise("chats.audited")
async def test_each_change_of_a_chat_is_in_the_audit_log_without_what_was_written(
    control: ControlService, ann: Browser
) -> None:
    canary = uuid4().hex
    chat = await made(ann, title=canary)
    place = f"/chats/{chat['chat_id']}"
    await ann.ask("PUT", place, json={"title": f"{canary} again", "conversation": TALK})
    assert (await ann.ask("PUT", place, json={})).status == 400
    await ann.ask("DELETE", place)
    shown = (await control.request("GET", f"/audit?subject={chat['chat_id']}")).body["audit"]
    assert [one["action"] for one in shown] == ["chat.removed", "chat.changed", "chat.made"]
    assert shown[1]["detail"] == {"fields": ["conversation", "title"]}
    me = (await ann.ask("GET", "/me")).body["user"]["id"]
    assert {one["user_id"] for one in shown} == {me}
    assert canary not in str(shown)


@promise("chats.removed")
async def test_a_call_that_a_chat_went_on_with_stays(control: ControlService, ann: Browser) -> None:
    chat = await made(ann, title="Call")
    call_id = uuid4()
    facts = [one.model_copy(update={"conversation_id": chat["chat_id"]}) for one in a_call(call_id)]
    await control.record(facts)
    said = [one["content"] for one in (await ann.ask("GET", f"/chats/{chat['chat_id']}")).body["conversation"]]
    assert said == ["Good day.", "When is breakfast?", "From half past six."]
    assert (await ann.ask("DELETE", f"/chats/{chat['chat_id']}")).status == 204
    call = (await control.request("GET", f"/calls/{call_id}")).body
    assert [line["text"] for line in call["transcript"]] == said


@promise("chats.removed")
async def test_an_agent_at_work_adds_nothing_to_what_was_cleared_or_removed(
    control: ControlService, ann: Browser
) -> None:
    for method, body in (("PUT", {"conversation": None}), ("DELETE", None)):
        chat = await made(ann, title="Busy")
        async with open_database(control.database_url) as database:
            async with turn(DatabaseSession(chat["chat_id"], database)) as begun:
                await begun.add_items([{"role": "user", "content": "late"}])
                assert (await ann.ask(method, f"/chats/{chat['chat_id']}", json=body)).status in (200, 204)
                with pytest.raises(Conflict):
                    await begun.keep()
            assert await DatabaseSession(chat["chat_id"], database).get_items() == []


@promise("chats.kept")
async def test_an_answer_of_any_length_can_be_read(control: ControlService, ann: Browser) -> None:
    chat = await made(ann, title="Long")
    async with open_database(control.database_url) as database:
        await DatabaseSession(chat["chat_id"], database).add_items([{"role": "user", "content": "x" * 150_000}])
    assert len((await ann.ask("GET", f"/chats/{chat['chat_id']}")).body["conversation"][0]["content"]) == 150_000


@promise("chats.agents")
async def test_what_an_agent_adds_to_the_session_is_in_the_chat(control: ControlService, ann: Browser) -> None:
    chat = await made(ann, title="Agent")
    place = f"/chats/{chat['chat_id']}"
    await ann.ask("PUT", place, json={"conversation": TALK})
    async with open_database(control.database_url) as database:
        session = DatabaseSession(chat["chat_id"], database)
        assert await session.get_items() == TALK
        await session.add_items([{"role": "user", "content": "More"}])
        await session.add_items([{"type": "function_call_output", "call_id": "1", "output": "x"}])
    assert (await ann.ask("GET", place)).body["conversation"] == [*TALK, {"role": "user", "content": "More"}]


@promise("chats.faults")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": "x" * 201},
        {"title": "a\0"},
        {"title": 7},
        {"conversation": "x"},
        {"conversation": [{"role": "tool", "content": "x"}]},
        {"conversation": [{"role": "user"}]},
        {"conversation": [{"role": "user", "content": "a\0"}]},
        {"conversation": [{"role": "user", "content": "x"}] * 1_001},
        {"other": 1},
    ],
    ids=range(10),
)
async def test_a_change_with_a_fault_changes_nothing(ann: Browser, body: dict[str, Any]) -> None:
    chat = await made(ann, title="Whole")
    place = f"/chats/{chat['chat_id']}"
    whole = (await ann.ask("PUT", place, json={"conversation": TALK})).body
    answer = await ann.ask("PUT", place, json=body)
    assert (answer.status, answer.body["code"]) == (400, "bad_request")
    assert (await ann.ask("GET", place)).body == whole
    assert (await ann.ask("GET", "/chats/none")).status == 400
    assert (await ann.ask("GET", "/chats?cursor=none")).status == 400
