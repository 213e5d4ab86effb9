"""Servers away in the middle of calls, and LiveKit restarted; `bench/disasters` makes it longer and more often."""

from collections.abc import Iterator

import pytest

from bench.disasters import aftermath, ledger, outages, restarted
from bench.disasters.site import PARTS, Site, site
from bench.disasters.talking import ground
from tests.e2e.stack import LocalStack
from tests.promises import promise

AWAY_S = 5.0
# Of a phone that rings, on a machine that does other things too; the bench measures.
ANSWERED_S = 6.0
NEW_CALL_S = 10.0


@pytest.fixture(scope="module")
def behind_doors() -> Iterator[Site]:
    """A stack whose servers can be taken away."""
    with site() as found:
        yield found


@pytest.fixture
def stack(behind_doors: Site) -> LocalStack:
    """So that a test that fails shows its logs."""
    return behind_doors.stack


@promise("outage.servers")
@pytest.mark.usefixtures("stack")
async def test_calls_go_on_and_are_answered_without_any_server_and_are_on_record_afterwards(
    behind_doors: Site,
) -> None:
    outage = outages.Outage(PARTS, "gone", AWAY_S, kill=True)
    async with ground(behind_doors.found) as where:
        await where.script.reply(outages.REPLY)
        seen = await outages.suffer(where, behind_doors, outage, outages.Numbers())
    assert not seen.cut_off
    assert seen.again and None not in seen.again, "the caller did not hear another agent after the kill"
    assert not seen.unanswered
    assert len(seen.fresh) >= 2
    assert max(talking.call.answered_s for talking, _known in seen.fresh) < ANSWERED_S
    assert seen.health == []
    for talking, known in [(seen.through, True), *seen.fresh]:
        entry = await ledger.ended(behind_doors.stack, talking.call.call_id, aftermath.RECORDED_S)
        assert aftermath.faults_in(await aftermath.spoken(talking), entry) == []
        if talking is not seen.through:
            assert aftermath.wrong_persona(PARTS, entry, known=known) is None


@promise("outage.livekit")
@pytest.mark.usefixtures("stack")
async def test_after_a_restart_of_livekit_calls_are_answered_and_those_before_are_closed(behind_doors: Site) -> None:
    seen = restarted.Seen()
    async with ground(behind_doors.found) as where:
        await where.script.reply(restarted.REPLY)
        await restarted.once(where, seen)
    assert seen.faults == []
    assert seen.new_call[0] is not None
    assert seen.new_call[0] < NEW_CALL_S
    assert None not in seen.closed
    assert seen.lingering == 0
    assert seen.restarted == []
