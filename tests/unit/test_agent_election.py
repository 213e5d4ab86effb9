import asyncio
from itertools import permutations

import pytest

from agent.election import Candidate, losers
from agent.ending import Ending, Reason


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Candidate("b", 2, "AJ_z"), Candidate("a", 1, "AJ_a")),
        (Candidate("a", 1, "AJ_a"), Candidate("b", 1, "AJ_b")),
        (Candidate("a", 1, "AJ_a"), Candidate("u", 0, "AJ_0")),
    ],
)
def test_the_higher_attempt_stays_and_of_equals_the_smaller_job(first: Candidate, second: Candidate) -> None:
    assert losers(first, [second]) == [second]
    assert losers(second, [first]) is None


def test_whoever_asks_all_come_to_one_answer() -> None:
    agents = [Candidate("a", 1, "AJ_c"), Candidate("b", 2, "AJ_b"), Candidate("c", 2, "AJ_a"), Candidate("d", 0, "")]
    for order in permutations(agents):
        staying = [one for one in order if losers(one, [other for other in order if other is not one]) is not None]
        assert [one.identity for one in staying] == ["c"]


async def test_the_first_reason_is_the_reason() -> None:
    ending = Ending()
    assert ending.known is None
    ending.because(Reason.SILENCE)
    ending.because(Reason.CALLER_HUNG_UP)
    assert await asyncio.wait_for(ending.reason(), 1) is Reason.SILENCE


def test_an_agent_that_breaks_leaves_the_call_to_another_one_but_the_last_does_not() -> None:
    async def reason(*, last: bool) -> Reason:
        ending = Ending(last=last)
        ending.failed()
        return await ending.reason()

    assert asyncio.run(reason(last=False)).needs_successor
    assert not asyncio.run(reason(last=True)).only_ours
