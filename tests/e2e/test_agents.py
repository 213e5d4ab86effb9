"""Personas in writing, with what a stranger has: the bundled models and no key."""

import json
from typing import Any

from control.conversations.log import PostgresLog
from control.db.pool import open_database
from switchboard.fact import MessageTaken
from tests.e2e.control_client import answered
from tests.e2e.stack import LocalStack
from tests.promises import promise


class Letters:
    """One conversation in writing with a persona of the stack."""

    def __init__(self, stack: LocalStack, slug: str) -> None:
        self._stack = stack
        self._place = f"/agents/{slug}/run"
        self.session_id: str | None = None

    async def write(self, words: str) -> str:
        """The reply."""
        body = {"input": words} | ({"session_id": self.session_id} if self.session_id else {})
        status, data = await answered(self._stack, "POST", self._place, body)
        assert status == 200, data
        found = json.loads(data)
        self.session_id = found["session_id"]
        return str(found["final_output"])


@promise("agents.bundled")
async def test_a_persona_answers_in_writing_from_its_facts_and_hours(stack: LocalStack) -> None:
    dental, hotel = Letters(stack, "maple-dental"), Letters(stack, "harbor-hotel")
    assert "today's hours" in (await hotel.write("when are you open?")).lower()
    assert (await dental.write("when are you open?")).startswith("We are ")
    assert "half past six" in await hotel.write("What time is breakfast served?")
    assert "I don't know" in await hotel.write("How tall is the mayor?")


@promise("agents.bundled")
async def test_a_message_is_taken_in_writing(stack: LocalStack) -> None:
    dental = Letters(stack, "maple-dental")
    assert "your name" in await dental.write("Can I leave a message?")
    assert "number" in await dental.write("My name is Ann Miller.")
    assert "pass on" in await dental.write("555 010 7788")
    assert "Is that right?" in await dental.write("Please call me back about my crown.")
    assert "passed it on" in await dental.write("Yes, that is right.")
    taken = await _facts(stack, str(dental.session_id))
    [message] = [one for one in taken if isinstance(one, MessageTaken)]
    assert (message.name, message.number) == ("Ann Miller", "5550107788")
    assert "crown" in message.text


async def _facts(stack: LocalStack, conversation: str) -> list[Any]:
    async with open_database(stack.env["DATABASE_URL"]) as database:
        return [event.fact.body for event in await PostgresLog(database).read(conversation)]
