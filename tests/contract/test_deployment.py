"""The configuration in livekit.yaml and compose.yaml, given to the servers that it is for."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from control.access.throttle import OF_ADDRESS, Throttle
from control.forgetting import elsewhere
from control.forgetting.elsewhere import Conversation
from control.jobs.progress import channel
from local import redis
from local.ports import free_port
from switchboard import stream
from switchboard.fact import Fact, Item, NumberRejected, Source
from switchboard.recording_store import RecordingStore
from switchboard.settings import Settings
from tests.deployment import COMPOSE, ROOT, compose, filled, variables
from tests.livekit_server import binary
from tests.promises import promise
from webhook.store import Store

VALUES = {one.name: f"{one.name.lower().replace('_', '')}0123456789abcdef" for one in variables(COMPOSE.read_text())}
START_S = 15.0


async def ports_of(config: Path) -> str:
    """What the LiveKit server says of a configuration; it reads it as it does at start, and starts nothing."""
    given = compose()["services"]["livekit"]["environment"]
    process = await asyncio.create_subprocess_exec(
        *(str(binary()), "--config", str(config), "ports"),
        env={**os.environ, **{name: filled(str(value), VALUES) for name, value in given.items()}},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), START_S)
    return out.decode()


@promise("deploy.livekit")
async def test_the_livekit_server_takes_its_configuration(tmp_path: Path) -> None:
    said = await ports_of(ROOT / "livekit.yaml")
    assert "7880 - HTTP service" in said and "7881 - ICE/TCP" in said and "could not" not in said
    wrong = tmp_path / "livekit.yaml"
    wrong.write_text((ROOT / "livekit.yaml").read_text() + "\nunknown_key: 1\n")
    assert "could not parse config" in await ports_of(wrong)


class Valkey:
    """A Valkey with the users of compose.yaml."""

    def __init__(self, port: int) -> None:
        self.port = port

    @asynccontextmanager
    async def user(self, name: str) -> AsyncIterator[Redis]:
        """A client connected as the service of that name, by the address that compose gives it."""
        url = filled(compose()["services"][name]["environment"]["REDIS_URL"], VALUES)
        client = stream.connect(url.replace("@valkey:6379", f"@127.0.0.1:{self.port}"), timeout_s=3)
        try:
            yield client
        finally:
            await client.aclose()


@pytest.fixture
async def valkey() -> AsyncIterator[Valkey]:
    folder, port = Path(tempfile.mkdtemp(prefix="sb-valkey-")), free_port()
    (folder / "run").mkdir()
    program = (await redis.part(folder, port, "unused", os.environ).prepare(lambda _text: None)).argv[0]
    file = folder / "valkey.conf"
    here = f"bind 127.0.0.1\nport {port}\ndir {folder}\n"
    file.write_text(here + filled(compose()["configs"]["valkey"]["content"], VALUES))
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(program, str(file), stdout=quiet, stderr=quiet)
    try:
        await asyncio.wait_for(_ready(process, port), START_S)
        yield Valkey(port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _ready(process: asyncio.subprocess.Process, port: int) -> None:
    health = Redis(port=port, username="health", password="none")
    async with health:
        while True:
            assert process.returncode is None, "Valkey refuses its configuration"
            with contextlib.suppress(RedisConnectionError):
                await asks(health)
                return
            await asyncio.sleep(0.05)


async def asks(client: Redis) -> bool:
    """Whether it lives."""
    return bool(await client.execute_command("PING"))  # type: ignore[no-untyped-call]


def a_fact() -> Fact:
    body = NumberRejected(dialed="abc", reason="it is no number")
    return Fact(conversation_id="c", call_id=uuid4(), source=Source.WEBHOOK, body=body)


async def refused(client: Redis, *command: str) -> None:
    with pytest.raises(NoPermissionError):
        await client.execute_command(*command)  # type: ignore[no-untyped-call]


@promise("deploy.valkey")
async def test_the_webhook_service_may_do_its_work(valkey: Valkey) -> None:
    call_id = uuid4()
    async with valkey.user("webhook") as client:
        store = Store(client)
        assert await store.ping() and await store.first_sight("EV_1") and await store.acts()
        assert await store.lock(call_id, 1)
        await store.release(call_id, 1)
        assert await store.lock(call_id, 1)
        await store.keep_persona("15550100001", "{}")
        assert await store.persona("15550100001") == "{}"
        await store.forget_persona("15550100001")
        assert await store.keep_call(call_id, "{}") and await store.calls() == {str(call_id): "{}"}
        await store.forget_calls([str(call_id)])
        await store.stop_acting()
        await stream.add(client, [a_fact()])
        assert await client.get(stream.beat_key(call_id)) is None
        await refused(client, "GET", "ai_control_c")
        await refused(client, "FLUSHALL")


@promise("deploy.valkey")
async def test_the_agent_may_beat_and_report_and_nothing_else(valkey: Valkey) -> None:
    async with valkey.user("agent") as client:
        await client.set(stream.beat_key(uuid4()), 1, ex=stream.BEAT_TTL_S)
        await stream.add(client, [a_fact(), a_fact()])
        await refused(client, "GET", stream.persona_key("15550100001"))
        await refused(client, "SET", stream.dispatch_key(uuid4(), 1), "1")
        await refused(client, "KEYS", "*")
        await refused(client, "CONFIG", "GET", "*")


@promise("deploy.valkey")
async def test_control_may_record_what_others_report(valkey: Valkey) -> None:
    async with valkey.user("agent") as agent, valkey.user("control") as client:
        await client.xgroup_create(stream.STREAM, stream.GROUP, id="0", mkstream=True)
        await stream.add(agent, [a_fact(), a_fact()])
        assert await client.xread({stream.STREAM: "0-0"}, count=1, block=1000)
        answer = await client.xreadgroup(stream.GROUP, "control", {stream.STREAM: ">"}, count=10)
        ids = [entry for entry, _ in answer[0][1]]
        _next, claimed, *_gone = await client.xautoclaim(stream.STREAM, stream.GROUP, "control", min_idle_time=0)
        assert [entry for entry, _ in claimed] == ids
        async with client.pipeline(transaction=True) as pipe:
            pipe.xack(stream.STREAM, stream.GROUP, *ids)
            pipe.xdel(stream.STREAM, *ids)
            assert await pipe.execute() == [2, 2]
        assert await client.xlen(stream.STREAM) == 0 and await asks(client)
        await Throttle(client).address("192.0.2.1")
        counted = [key async for key in client.scan_iter("limits:*")]
        assert len(counted) == len(OF_ADDRESS) and all("192.0.2.1" in key for key in counted)
        await refused(client, "GET", stream.persona_key("15550100001"))
        await refused(client, "EVAL", "return redis.call('get', KEYS[1])", "1", stream.persona_key("15550100001"))


@promise("deploy.valkey")
async def test_control_and_its_job_worker_tell_how_far_tasks_are_and_the_worker_does_nothing_else(
    valkey: Valkey,
) -> None:
    async with valkey.user("control") as control, valkey.user("jobs") as client:
        for one in (control, client):
            assert await one.publish(channel(uuid4()), "{}") == 0
            await refused(one, "PUBLISH", "other", "{}")
        assert await asks(client)
        await refused(client, "XLEN", "facts")
        await refused(client, "GET", stream.persona_key("15550100001"))
        await refused(client, "SUBSCRIBE", "task:1")


@promise("deploy.valkey")
async def test_control_and_its_job_worker_may_forget(valkey: Valkey, tmp_path: Path) -> None:
    call_id = uuid4()
    body = Item(item={"role": "user", "content": "x"})
    said = Fact(conversation_id=str(call_id), call_id=call_id, source=Source.AGENT, body=body)
    async with valkey.user("webhook") as webhook, valkey.user("control") as control, valkey.user("jobs") as jobs:
        await stream.add(webhook, [said])
        assert await Store(webhook).keep_call(call_id, "{}")
        went = {}
        store = RecordingStore.of(Settings.model_validate({"SWITCHBOARD_HOME": tmp_path}))
        for place in elsewhere.places(jobs, tmp_path, store):
            found = await place.find([Conversation(str(call_id), (call_id,))])
            for things in found.values():
                went[place.name] = len(things)
                await place.erase(things)
        assert went == {"stream": 1, "carried": 1, "live_calls": 1}
        with capture_logs() as logs:
            await elsewhere.rewritten(jobs)
        assert logs == []
        assert await control.delete(stream.items_key(call_id)) == 0


@promise("deploy.valkey_closed")
async def test_nobody_comes_in_without_a_password(valkey: Valkey) -> None:
    async with Redis(port=valkey.port) as nobody:
        with pytest.raises(AuthenticationError):
            await nobody.get("facts")
    async with Redis(port=valkey.port, username="agent", password="wrong") as wrong:
        with pytest.raises(AuthenticationError):
            await asks(wrong)
    async with Redis(port=valkey.port, username="health", password="none") as health:
        assert await asks(health)
        await refused(health, "GET", "facts")
