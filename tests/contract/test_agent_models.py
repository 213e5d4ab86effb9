"""Calls in which a part fails: real LiveKit servers, real agents, and scripted models that fail as they are told."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent.voice import APOLOGY
from bench.disasters import models
from switchboard.fact import Item
from tests.agent_process import agent_process
from tests.promises import promise
from tests.room_guest import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The figure is 3 s; a machine with other work may add to it.
LOOSELY_S = 4.0
EMERGENCY = "If this is an emergency, please hang up now and dial one one two."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[models.Pair]:
    async with models.pair() as both:
        yield both


@promise("agent.model_outage")
@pytest.mark.parametrize("failure", models.FAILURES)
@pytest.mark.parametrize("part", models.PARTS)
async def test_a_part_that_fails_is_never_silence(pair: models.Pair, part: str, failure: str) -> None:
    cases = await pair.cases(part, failure, whole=failure == "stall")
    for one in cases:
        print(f"{one.name}: {one.figure}")
    assert [one for one in cases if not one.good] == []
    assert [one for one in cases if not one.within(LOOSELY_S)] == []


@promise("agent.slow_model")
@pytest.mark.parametrize("times", [{"tts_ms": 2_600}, {"first_token_ms": 3_000}])
async def test_a_caller_is_asked_to_wait_for_a_slow_model_and_gets_the_answer(
    pair: models.Pair, times: dict[str, int]
) -> None:
    agent = pair.alone
    await agent.forget_script()
    await agent.script("reply", {"text": models.REPLY})
    phone = await models.answered(agent)
    question = await agent.taught(models.QUESTION)
    await agent.script("times", times)
    await phone.play(question)
    await eventually(lambda: bool(phone.hears()), LOOSELY_S)
    facts = await agent.until_fact(phone.call_id, "item", times=3)
    said = [models.text(one.body.item) for one in facts if isinstance(one.body, Item)]
    assert said[2].endswith(models.REPLY)
    assert [one.body for one in facts if one.kind in ("model_failed", "call_ended")] == []
    await phone.hang_up()


@promise("agent.deaf")
async def test_a_caller_who_cannot_be_understood_twice_in_a_row_hears_an_apology_and_the_end(
    pair: models.Pair,
) -> None:
    agent = pair.alone
    await agent.forget_script()
    phone = await models.answered(agent)
    question = await agent.taught(models.QUESTION)
    await agent.script("failures", {"stt": "error"})
    await phone.play(question)
    await agent.until_fact(phone.call_id, "item", times=2)
    await eventually(lambda: not phone.hears())
    await phone.play(question)
    facts = await agent.until_fact(phone.call_id, "call_ended")
    said = [models.text(one.body.item) for one in facts if isinstance(one.body, Item)]
    assert said[1:] == [models.SAY_AGAIN, APOLOGY]
    assert facts[-1].body.model_dump()["reason"] == "model_failed"


@promise("agent.emergency")
async def test_the_emergency_sentence_is_heard_word_for_word_while_the_model_hangs_and_the_call_goes_on() -> None:
    async with agent_process(SWITCHBOARD_EMERGENCY_SENTENCE=EMERGENCY) as agent:
        phone = await models.answered(agent)
        sound = await agent.taught("Please help, my husband is not breathing.")
        await agent.script("failures", {"llm": "hang"})
        await phone.play(sound)
        await eventually(lambda: bool(phone.hears()), LOOSELY_S)
        facts = await agent.until_fact(phone.call_id, "item", times=3)
        said = [models.text(one.body.item) for one in facts if isinstance(one.body, Item)]
        assert said[1:] == ["Please help, my husband is not breathing.", EMERGENCY]
        assert [one.kind for one in facts if one.kind in ("emergency_said", "model_failed")] == ["emergency_said"]
        await agent.script("failures", {"llm": None})
        await agent.script("reply", {"text": models.REPLY})
        await agent.say(phone, models.QUESTION)
        facts = await agent.until_fact(phone.call_id, "item", times=5)
        assert models.text([one.body.item for one in facts if isinstance(one.body, Item)][-1]) == models.REPLY
        await phone.hang_up()
