"""A caller who really called is forgotten: also in the files of every part of the stack, LiveKit's log among them."""

import json
import time
from uuid import uuid4

from local.phone.caller import Caller
from switchboard import stream
from tests.e2e.control_client import answered, ask, ended, recorded
from tests.e2e.speech import say
from tests.e2e.stack import LocalStack
from tests.facts import until
from tests.promises import promise
from tests.traces import in_files, in_redis, in_tables

HARBOR, NUMBER = "+15550100001", "+4917155501234"
DEADLINE_S = 30.0


async def traces(stack: LocalStack, *texts: str) -> list[str]:
    """Where one of them is found. Postgres' own files are left out: they keep bytes that no statement can read."""
    redis = stream.connect(stack.env["REDIS_URL"], timeout_s=5)
    folders = [path for path in stack.home.iterdir() if path.is_dir() and path.name != "postgres"]
    plain = [path for path in stack.home.iterdir() if path.is_file()]
    found = []
    try:
        for text in texts:
            found += await in_tables(stack.env["DATABASE_URL"], text) + await in_redis(redis, text)
            found += in_files(text, *folders) + [path.name for path in plain if text.encode() in path.read_bytes()]
    finally:
        await redis.aclose()
    return found


@promise("forget.caller")
async def test_a_caller_who_called_is_found_nowhere(stack: LocalStack) -> None:
    name = f"canary{uuid4().hex[:12]}"
    async with Caller() as caller:
        call = await caller.dial(stack.sip(HARBOR), from_number=NUMBER, headers={"X-Name": name})
        assert await call.wait_speech(DEADLINE_S)
        assert await call.wait_silence(DEADLINE_S)
        await say(call, "My grandmother would like to know when breakfast is served.")
        assert await call.wait_speech(DEADLINE_S, after=time.monotonic())
        await call.wait_silence(DEADLINE_S)
        await call.hang_up()
    shown = await recorded(stack, str(call.call_id), ended)
    [words] = [line["text"] for line in shown["transcript"] if line["role"] == "user"]
    for text in (NUMBER, name, words):
        assert "events.body" in await traces(stack, text)
    status, receipt = await answered(stack, "DELETE", f"/callers/{NUMBER}")
    assert status == 202
    place = f"/receipts/{json.loads(receipt)['receipt_id']}"

    async def forgotten() -> bool:
        return bool((await ask(stack, "GET", place))["state"] == "forgotten")

    await until(forgotten)
    assert await traces(stack, NUMBER, NUMBER[1:], name, words) == []
    assert (await answered(stack, "GET", f"/calls/{call.call_id}"))[0] == 404
