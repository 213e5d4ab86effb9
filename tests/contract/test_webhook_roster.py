"""The live calls on record, shared in a real Redis: closed once, and not lost with what Redis held."""

from uuid import uuid4

from switchboard.stream import connect
from tests.promises import promise
from tests.redis_server import redis_server
from webhook.call import Call
from webhook.roster import Roster
from webhook.store import Store


def _call() -> Call:
    call_id = uuid4()
    return Call(
        call_id=call_id, conversation_id="c", room="room", channel="browser", identity="caller", dialed="+15550100001"
    )


@promise("webhook.roster")
async def test_a_call_that_redis_lost_is_still_closed_and_one_that_was_closed_does_not_come_back() -> None:
    async with redis_server() as server, connect(server.url) as redis:
        first, second = Roster(Store(redis)), Roster(Store(redis))
        closed, live = _call(), _call()
        for call in (closed, live):
            await first.add(call)
        await second.refresh()
        await first.refresh()
        await first.remove([closed.call_id])
        assert set(second.calls) == {closed.call_id, live.call_id}
        await second.refresh()
        assert set(second.calls) == {live.call_id}

        await redis.flushall()
        fresh = Roster(Store(redis))
        await fresh.refresh()
        assert not fresh.calls
        for roster in (first, second, first, second, fresh):
            await roster.refresh()
            assert set(roster.calls) == {live.call_id}

        await second.remove([live.call_id])
        for roster in (first, second, fresh):
            await roster.refresh()
            assert not roster.calls
