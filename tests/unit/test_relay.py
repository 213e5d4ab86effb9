"""One request to several services: each is a list of what it gives, with waits and failures in it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import replace

import pytest

from switchboard.relay import Limits, ModelsFailed, Relay

LIMITS = Limits(patience_s=0.03, limit_s=0.12)
Step = str | float | Exception
FOREVER = 60.0


class Services:
    """Services that follow a script, and what became of the requests to them."""

    def __init__(self, *scripts: list[Step]) -> None:
        self.scripts = scripts
        self.asked: list[int] = []
        self.ended: list[int] = []
        self.told: list[str] = []
        self.relay = Relay("llm", range(len(scripts)), LIMITS, self.told.append)

    async def ask(self, service: int) -> AsyncGenerator[str, None]:
        self.asked.append(service)
        try:
            for step in self.scripts[service]:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.ended.append(service)

    async def all(self, may_restart: Callable[[], bool] = lambda: True) -> list[tuple[int, str | None]]:
        async with aclosing(self.relay.pieces(self.ask, may_restart=may_restart)) as pieces:
            return [piece async for piece in pieces]

    async def settled(self) -> None:
        """Returns once every request has ended."""
        async with asyncio.timeout(1):
            while len(self.ended) < len(self.asked):  # noqa: ASYNC110 - requests end in tasks of the relay
                await asyncio.sleep(0)


async def test_a_service_that_answers_is_the_only_one_asked() -> None:
    services = Services(["a", "b"], ["x"])
    assert await services.all() == [(0, "a"), (0, "b")]
    assert (services.asked, services.told) == ([0], [])


async def test_what_a_service_sets_for_its_answer_can_be_taken_back_at_the_end_and_when_it_is_let_go() -> None:
    mark: ContextVar[str] = ContextVar("mark")
    faults: list[ValueError] = []

    async def ask(steps: int) -> AsyncGenerator[str, None]:
        set_here = mark.set("answering")
        try:
            for step in range(steps):
                yield str(step)
        finally:
            try:
                mark.reset(set_here)
            except ValueError as error:
                faults.append(error)

    relay = Relay("llm", [3], LIMITS, lambda _why: None)
    for most in (5, 2):
        async with aclosing(relay.pieces(ask)) as pieces:
            async for _takeovers, piece in pieces:
                if piece == str(most):
                    break
    await asyncio.gather(*relay._closing)
    assert faults == []


async def test_a_service_that_errs_is_followed_by_the_next_one_at_once_and_asked_last_afterwards() -> None:
    services = Services([ValueError("no")], ["x"])
    for _ in range(2):
        assert await services.all() == [(0, "x")]
    assert services.asked == [0, 1, 1]
    assert services.told == ["ValueError"]


async def test_a_silent_service_is_given_up_when_the_next_one_answers() -> None:
    services = Services([FOREVER, "a"], ["x", "y"])
    assert await services.all() == [(0, "x"), (0, "y")]
    await services.settled()
    assert (services.asked, services.told) == ([0, 1], ["slow"])


async def test_a_slow_service_that_still_answers_first_serves_and_nothing_has_failed() -> None:
    services = Services([0.05, "a"], [FOREVER, "x"])
    assert await services.all() == [(0, "a")]
    await services.settled()
    assert (services.asked, services.told) == ([0, 1], [])


async def test_the_only_service_is_asked_again() -> None:
    services = Services([ConnectionError("gone")])
    with pytest.raises(ModelsFailed, match=r"^ConnectionError$"):
        await services.all()
    assert services.asked == [0, 0]


async def test_the_only_service_may_be_asked_again_while_it_is_silent_or_not() -> None:
    services = Services([FOREVER])
    with pytest.raises(ModelsFailed):
        await services.all()
    services.relay.beside_itself = False
    with pytest.raises(ModelsFailed):
        await services.all()
    assert services.asked == [0, 0, 0]


async def test_silence_of_all_ends_at_the_limit() -> None:
    services = Services([FOREVER], [FOREVER])
    began = asyncio.get_running_loop().time()
    with pytest.raises(ModelsFailed):
        await services.all()
    assert LIMITS.limit_s <= asyncio.get_running_loop().time() - began < 1.0
    await services.settled()
    assert services.told == []


async def test_who_waits_for_a_slow_answer_is_told_so_once_and_gets_it() -> None:
    services = Services([0.2, "a", "b"], [0.3, "x"])
    services.relay.limits = replace(LIMITS, grace_s=FOREVER)
    assert await services.all() == [(-1, None), (0, "a"), (0, "b")]
    await services.settled()
    assert services.told == []


async def test_an_answer_that_is_slow_in_the_middle_goes_on() -> None:
    services = Services(["a", 0.2, "b"])
    services.relay.limits = replace(LIMITS, grace_s=FOREVER)
    assert await services.all(may_restart=lambda: False) == [(0, "a"), (0, None), (0, "b")]


async def test_who_was_told_to_wait_does_not_wait_for_ever() -> None:
    services = Services([FOREVER], [FOREVER])
    services.relay.limits = replace(LIMITS, grace_s=0.05)
    began, told = asyncio.get_running_loop().time(), []
    with pytest.raises(ModelsFailed):
        async for piece in services.relay.pieces(services.ask):
            told.append(piece)  # noqa: PERF401 - what came before the failure counts
    assert LIMITS.limit_s + 0.05 <= asyncio.get_running_loop().time() - began < 1.0
    assert told == [(-1, None)]
    await services.settled()


async def test_who_errs_is_not_waited_for() -> None:
    services = Services([ConnectionError("gone")])
    services.relay.limits = replace(LIMITS, grace_s=FOREVER)
    with pytest.raises(ModelsFailed):
        await services.all()


@pytest.mark.parametrize("end", [FOREVER, ConnectionError("broken")])
async def test_an_answer_that_breaks_off_is_begun_anew_by_the_next_one(end: Step) -> None:
    services = Services(["a", end], ["x", "y"])
    assert await services.all() == [(0, "a"), (1, "x"), (1, "y")]
    assert len(services.told) == 1


async def test_an_answer_that_may_not_be_begun_anew_has_failed_when_it_breaks_off() -> None:
    services = Services(["a", FOREVER], ["x"])
    with pytest.raises(ModelsFailed):
        await services.all(may_restart=lambda: False)
    assert services.asked == [0]


async def test_a_stutter_is_no_failure() -> None:
    services = Services(["a", 0.05, "b", 0.05, "c"], [FOREVER])
    assert await services.all() == [(0, "a"), (0, "b"), (0, "c")]
    assert services.told == []


async def test_an_answer_with_nothing_in_it_is_none() -> None:
    services = Services([], ["x"])
    assert await services.all() == [(0, "x")]


async def test_when_there_is_nothing_to_say_nothing_has_failed() -> None:
    services = Services([], [])
    assert await services.all() == []
    assert (services.asked, services.told) == ([0, 1], [])


async def test_a_request_that_nobody_wants_any_more_ends_and_is_no_failure() -> None:
    services = Services([FOREVER], [FOREVER])
    asking = asyncio.create_task(services.all())
    async with asyncio.timeout(1):
        while len(services.asked) < 2:  # noqa: ASYNC110 - the relay asks when its patience is over
            await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    await services.settled()
    assert asking.cancelled()
    assert services.told == []
    assert services.relay.order() == [0, 1]
