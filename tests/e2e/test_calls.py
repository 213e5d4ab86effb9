"""Whole calls through the SIP line of a stack, and what the log holds of them afterwards."""

import asyncio
import json
import os
import signal
import time

import pytest
from livekit import rtc

from local.phone.caller import Caller, CallFailed
from local.phone.outgoing import OutgoingCall
from tests.e2e.control_client import ask, ended, has, recorded, said
from tests.e2e.speech import say
from tests.e2e.stack import LocalStack
from tests.promises import promise
from tests.room_guest import eventually

HARBOR, MAPLE, NOBODYS = "+15550100001", "+15550100002", "+15550100777"
DEADLINE_S = 30.0


async def _greeted(call: OutgoingCall) -> None:
    assert await call.wait_speech(DEADLINE_S)
    assert await call.wait_silence(DEADLINE_S)


@promise("call.persona")
@pytest.mark.parametrize(
    ("number", "question", "welcome", "fact"),
    [
        (HARBOR, "What time is breakfast served?", "Harbor Hotel front desk", "half past six to ten"),
        (MAPLE, "How much does a cleaning cost?", "Maple Dental", "one hundred and ten dollars"),
        (NOBODYS, "What time is breakfast served?", "thank you for calling", "I don't know"),
    ],
)
async def test_each_number_is_answered_by_its_persona_from_its_facts(
    stack: LocalStack, number: str, question: str, welcome: str, fact: str
) -> None:
    done = await asyncio.to_thread(stack.run, "call", number, "--say", question, "--json")
    assert done.returncode == 0, done.stderr
    call = await recorded(stack, json.loads(done.stdout)["call_id"], ended)
    spoken = [line["text"] for line in call["transcript"] if line["role"] == "assistant"]
    assert welcome in spoken[0]
    assert fact in spoken[1]


@promise("call.log")
async def test_a_call_is_in_the_log_once_in_order_without_gaps(stack: LocalStack) -> None:
    async with Caller() as caller:
        call = await caller.dial(stack.sip(HARBOR), from_number="+15550109999", headers={"X-Order": "7 <b>"})
        await _greeted(call)
        await say(call, "Can I bring my dog?")
        assert await call.wait_speech(DEADLINE_S, after=time.monotonic())
        await call.wait_silence(DEADLINE_S)
        await call.hang_up()
    assert call.call_id is not None
    found = await recorded(stack, call.call_id, ended)
    events = found["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["id"] for event in events}) == len(events)
    kinds = [event["kind"] for event in events]
    for kind in ("call_arrived", "persona_resolved", "agent_dispatched", "agent_joined", "persona_applied"):
        assert kinds.count(kind) == 1, kind
    assert kinds.count("call_answered") == 1
    assert kinds.count("call_ended") == 1
    assert kinds.count("item") == 3
    arrived = next(event["body"] for event in events if event["kind"] == "call_arrived")
    assert (arrived["dialed"], arrived["caller"]) == (HARBOR, "+15550109999")
    assert (found["reason"], found["turns"]) == ("caller_hung_up", 1)
    assert found["latencies"]


@promise("call.message")
async def test_a_message_is_taken_in_a_spoken_conversation(stack: LocalStack) -> None:
    async with Caller() as caller:
        call = await caller.dial(stack.sip(NOBODYS))
        await _greeted(call)
        for words in ("Please take a message.", "My name is Peter.", "Five five five, zero one, two three."):
            await say(call, words)
            assert await call.wait_speech(DEADLINE_S, after=time.monotonic())
            await call.wait_silence(DEADLINE_S)
        for words in ("Please call me about my booking.", "Yes, that is right."):
            await say(call, words)
            assert await call.wait_speech(DEADLINE_S, after=time.monotonic())
            await call.wait_silence(DEADLINE_S)
        await call.hang_up()
    assert call.call_id is not None
    found = await recorded(stack, call.call_id, has("message_taken"))
    taken = next(event["body"] for event in found["events"] if event["kind"] == "message_taken")
    heard = [line["text"] for line in found["transcript"] if line["role"] == "user"]
    assert taken["text"] == heard[3]
    assert taken["number"] == "5550123"


@promise("call.hold")
async def test_a_call_on_hold_is_not_asked_whether_anybody_is_there(stack: LocalStack) -> None:
    slug = "hasty"
    persona = {"slug": slug, "persona_name": "Hasty", "silence_timeout_s": 6, "numbers": ["+15550100333"]}
    await ask(stack, "POST", "/personas", persona)
    async with Caller() as caller:
        call = await caller.dial(stack.sip("+15550100333"))
        await _greeted(call)
        await call.hold()
        assert call.call_id is not None
        await recorded(stack, call.call_id, has("hold_changed"))
        held_at = time.monotonic()
        await call.until(lambda: time.monotonic() - held_at > 9, 12)
        held = await recorded(stack, call.call_id, lambda _call: True)
        assert not call.ended.done()
        assert "silence_prompted" not in [event["kind"] for event in held["events"]]
        await call.resume()
        await recorded(stack, call.call_id, has("silence_prompted"))
        await call.hang_up()


@promise("call.browser")
async def test_a_browser_calls_a_number_and_finds_its_call_again_after_a_reload(stack: LocalStack) -> None:
    given = await ask(stack, "POST", "/calls/web", {"number": HARBOR})
    first = rtc.Room()
    agents: set[str] = set()
    first.on("track_subscribed", lambda _track, _its, who: agents.add(who.identity))
    await first.connect(given["url"], given["token"])
    await recorded(stack, given["call_id"], has("call_answered"))
    await first.disconnect()
    again = rtc.Room()
    await again.connect(given["url"], given["token"])
    await eventually(lambda: bool(agents & set(again.remote_participants)), DEADLINE_S)
    await again.local_participant.send_text("What time is breakfast served?", topic="lk.chat")
    # Who types at once may cut the welcome off before its first word, which is then not on record.
    found = await recorded(stack, given["call_id"], said("half past six"))
    assert [event["kind"] for event in found["events"]].count("agent_joined") == 1
    await again.disconnect()


@promise("call.nobody")
async def test_without_any_agent_the_phone_rings_and_is_then_busy(scripted_stack: LocalStack) -> None:
    stopped = await asyncio.to_thread(scripted_stack.run, "down")
    assert stopped.returncode == 0
    others = ("livekit", "redis", "postgres", "control", "webhook", "phone")
    only = [word for part in others for word in ("--only", part)]
    quick = LocalStack(scripted_stack.home, {**scripted_stack.settings, "SIP_RINGING_TIMEOUT_S": "3"})
    await asyncio.to_thread(quick.up, *only)
    async with Caller() as caller:
        with pytest.raises(CallFailed) as refused:
            await caller.dial(quick.sip(HARBOR))
    assert refused.value.status == 486
    await asyncio.to_thread(quick.run, "down")
    await asyncio.to_thread(scripted_stack.up)


@promise("call.restarts")
@pytest.mark.parametrize("part", ["webhook", "control", "phone"])
async def test_a_part_killed_is_back_and_the_next_call_is_answered(stack: LocalStack, part: str) -> None:
    before = stack.pid(part)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await asyncio.to_thread(stack.until_part, part, other_than=before)
    async with Caller() as caller:
        call = await caller.dial(stack.sip(HARBOR))
        await _greeted(call)
        await call.hang_up()
    assert call.call_id is not None
    found = await recorded(stack, call.call_id, ended)
    assert [event["seq"] for event in found["events"]] == list(range(1, len(found["events"]) + 1))
