"""What a recording makes of the wishes of others, over a real Redis: one that is away, and one that was emptied."""

import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from switchboard import fact, stream
from switchboard.recordings import Wanted
from tests.facts import until
from tests.promises import promise
from tests.recording_trial import Trial
from tests.redis_server import RedisServer


@pytest_asyncio.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    async with stream.connect(redis.url, timeout_s=5) as connected:
        yield connected


async def wish(client: Redis, trial: Trial, *, paused: bool) -> None:
    wanted = Wanted(paused=paused, at=time.time())
    await client.set(stream.recording_key(trial.report.call_id), wanted.model_dump_json())


async def looked(client: Redis) -> None:
    """Returns when what is there now has been read."""
    before = await _reads(client)

    async def again() -> bool:
        return await _reads(client) >= before + 2

    await until(again)


async def _reads(client: Redis) -> int:
    return int((await client.info("commandstats")).get("cmdstat_get", {"calls": 0})["calls"])


@promise("recording.resumed")
async def test_an_operator_takes_back_the_ais_pause_with_the_first_wish_ever_and_after_redis_was_emptied(
    redis: RedisServer, client: Redis, tmp_path: Path
) -> None:
    trial = Trial(tmp_path)

    async def goes_on() -> bool:
        return not trial.running.held_by("ai")

    trial.running.follow(stream.connect(redis.url), trial.report.call_id)
    for _time in range(2):
        await looked(client)
        trial.running.pause("ai")
        await wish(client, trial, paused=False)
        await until(goes_on)
        await client.flushall()
    await trial.hears(0.3)
    assert (await trial.kept())[-1]


@promise("recording.unknown")
@pytest.mark.parametrize("paused_by", ["operator", "ai", None])
async def test_an_agent_that_comes_while_redis_is_away_keeps_nothing_before_it_knows_who_has_paused(
    redis: RedisServer, client: Redis, tmp_path: Path, paused_by: str | None
) -> None:
    trial = Trial(tmp_path, attempt=2, whole=False)
    if paused_by == "operator":
        await wish(client, trial, paused=True)
    elif paused_by == "ai":
        await stream.add(client, [trial.report.fact(fact.RecordingPaused(by="ai", offset_s=1.0))])
    redis.signal(signal.SIGSTOP)
    trial.running.follow(stream.connect(redis.url), trial.report.call_id)
    await trial.hears(0.8)
    assert "unknown" in trial.running._held
    redis.signal(signal.SIGCONT)

    async def known() -> bool:
        return "unknown" not in trial.running._held

    await until(known)
    await trial.hears(0.3)
    kept = await trial.kept()
    # With nobody among them nothing is lost that was not to be on disk yet.
    assert (any(kept), sum(kept) >= 9) == ((True, True) if paused_by is None else (False, False))
