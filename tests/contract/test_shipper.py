"""Facts that a process left in a file reach the stream, and the file goes when they are recorded."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from redis.asyncio import Redis

from local.ports import free_port
from switchboard import stream
from switchboard.fact import Dtmf, Fact, Source
from switchboard.outbound import Outbound
from switchboard.outbox import Outbox, folder
from switchboard.shipper import CannotShip, Shipper
from tests.promises import promise
from tests.redis_server import RedisServer, redis_server
from tests.webhook_service import ROOT
from webhook.call import Call
from webhook.journal import Journal

EARLIER = datetime.now(UTC) - timedelta(minutes=1)


class Recorder:
    """Control's route `POST /internal/facts/unrecorded`, and what it has on record."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.status = 200
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.authorizations: set[str | None] = set()

    async def handle(self, request: web.Request) -> web.Response:
        self.authorizations.add(request.headers.get("Authorization"))
        asked = (await request.json())["ids"]
        assert len(asked) <= 500
        return web.json_response({"unrecorded": [one for one in asked if one not in self.ids]}, status=self.status)


@asynccontextmanager
async def _recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_post("/internal/facts/unrecorded", recorder.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", recorder.port).start()
    try:
        yield recorder
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _shipping(home: Path, redis: RedisServer, recorder: Recorder) -> AsyncIterator[tuple[Shipper, Redis]]:
    client = stream.connect(redis.url)
    async with Outbound.opened([f"127.0.0.1:{recorder.port}"]) as outbound:
        try:
            yield Shipper(home, client, outbound, recorder.url, "internal"), client
        finally:
            await client.aclose()


def _left(home: Path, count: int, *, at: datetime = EARLIER, tail: bytes = b"") -> tuple[Path, list[Fact]]:
    call_id = uuid4()
    facts = [
        Fact(conversation_id="c", call_id=call_id, at=at, source=Source.AGENT, body=Dtmf(digit="1"))
        for _ in range(count)
    ]
    path = folder(home) / f"{call_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(one.model_dump_json().encode() + b"\n" for one in facts) + tail)
    return path, facts


async def _ids(redis: Redis) -> list[UUID]:
    read = (stream.read(fields) for _id, fields in await redis.xrange(stream.STREAM))
    return [one.id for one in read if one]


@promise("facts.left_in_files")
async def test_facts_of_a_dead_process_are_shipped_once_in_order_and_their_file_goes_when_recorded(
    tmp_path: Path,
) -> None:
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (shipper, redis),
    ):
        path, facts = _left(tmp_path, 700, tail=b'{"id": "cut sho')
        recorder.ids = {str(one.id) for one in facts[:300]}
        await shipper.sweep()
        await shipper.sweep()
        assert await _ids(redis) == [one.id for one in facts[300:]]
        assert recorder.authorizations == {"Bearer internal"}
        recorder.ids = {str(one.id) for one in facts}
        shipper._not_before.clear()
        await shipper.sweep()
        assert not path.exists()


@promise("facts.young_or_locked")
async def test_a_file_in_use_and_a_fact_on_its_way_are_left_alone(tmp_path: Path) -> None:
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (shipper, redis),
    ):
        young, _facts = _left(tmp_path, 1, at=datetime.now(UTC) + timedelta(minutes=1))
        used = folder(tmp_path) / "used.jsonl"
        async with Outbox(used, redis).shipping() as outbox:
            outbox.put(Fact(conversation_id="c", at=EARLIER, source=Source.AGENT, body=Dtmf(digit="1")))
            await shipper.sweep()
            assert len(await _ids(redis)) <= 1
            assert young.exists()
            assert used.exists()


@promise("facts.shipper_survives")
async def test_control_or_redis_away_leaves_the_files_and_bad_answers_too(tmp_path: Path) -> None:
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (shipper, redis),
    ):
        path, facts = _left(tmp_path, 2)
        recorder.status = 500
        with pytest.raises(CannotShip, match="500"):
            await shipper.sweep()
        recorder.status = 200
        await server.stop()
        with pytest.raises(CannotShip, match="Redis"):
            await shipper.sweep()
        assert path.exists()
        await server.start()
        await shipper.sweep()
        assert await _ids(redis) == [one.id for one in facts]


@promise("facts.waiting")
async def test_an_end_that_stands_in_the_file_of_a_dead_process_is_known(tmp_path: Path) -> None:
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (shipper, redis),
    ):
        _path, facts = _left(tmp_path, 2)
        used = folder(tmp_path) / "used.jsonl"
        async with Outbox(used, redis).shipping() as outbox:
            written = Fact(conversation_id="c", at=EARLIER, source=Source.AGENT, body=Dtmf(digit="1"))
            outbox.put(written)
            asked = [facts[1].id, written.id, uuid4()]
            assert await shipper.waiting(asked) == {facts[1].id}


@promise("facts.taken_over")
async def test_what_the_agent_before_could_not_ship_comes_before_its_successors_facts(tmp_path: Path) -> None:
    async with redis_server() as server:
        client = stream.connect(server.url)
        await server.stop()
        _path, before = _left(tmp_path, 3)
        async with Outbox(folder(tmp_path) / "successor.jsonl", client).shipping() as outbox:
            outbox.ahead(before)
            own = Fact(conversation_id="c", at=EARLIER, source=Source.AGENT, body=Dtmf(digit="2"))
            outbox.put(own)
            await server.start()

            await _until(lambda: not outbox._waiting)
            assert await _ids(client) == [*(one.id for one in before), own.id]
        await client.aclose()


@promise("facts.unreadable")
async def test_lines_that_are_facts_of_another_version_are_kept_aside(tmp_path: Path) -> None:
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (shipper, _redis),
    ):
        path, facts = _left(tmp_path, 1, tail=b'{"id": "of another version"}\n')
        recorder.ids = {str(facts[0].id)}
        await shipper.sweep()
        assert path.with_suffix(".unreadable").exists()
        assert not path.exists()


@promise("facts.journal_turns")
async def test_the_webhook_service_begins_a_new_file_now_and_then_and_loses_no_fact(tmp_path: Path) -> None:
    call = Call(
        call_id=uuid4(), conversation_id="c", room="r", channel="sip", identity="caller", dialed="1", number=None
    )
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (
            shipper,
            redis,
        ),
    ):
        async with Journal(tmp_path, redis, facts_a_file=3).open() as journal:
            for _ in range(6):
                journal.put(call, Dtmf(digit="1"))
                await _until(lambda: journal._written < 3)
        assert len(await _ids(redis)) == 6
        recorder.ids = {str(one) for one in await _ids(redis)}
        await shipper.sweep()
        assert _files(tmp_path) == 0


def _files(home: Path) -> int:
    return len(list(folder(home).glob("*.jsonl")))


async def _until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if look():
                return
            await asyncio.sleep(0.01)


@promise("facts.killed_writer")
async def test_a_writer_killed_with_9_while_redis_is_away_loses_no_fact(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal, sys, pathlib\n"
        "from switchboard import stream\n"
        "from switchboard.fact import Dtmf, Fact, Source\n"
        "from switchboard.outbox import Outbox, folder\n"
        "async def main():\n"
        "    path = folder(pathlib.Path(sys.argv[1])) / 'dying.jsonl'\n"
        "    async with Outbox(path, stream.connect(sys.argv[2])).shipping() as outbox:\n"
        "        for _ in range(5):\n"
        "            outbox.put(Fact(conversation_id='c', at='2026-01-01T00:00:00Z', source=Source.AGENT,"
        " body=Dtmf(digit='1')))\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    async with (
        redis_server() as server,
        _recorder() as recorder,
        _shipping(tmp_path, server, recorder) as (shipper, redis),
    ):
        await server.stop()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            str(tmp_path),
            server.url,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        )
        assert await process.wait() == -9
        await server.start()
        await shipper.sweep()
        assert len(await _ids(redis)) == 5
