"""A backup of a stack that runs, restored into a home of its own."""

from pathlib import Path
from uuid import uuid4

from switchboard import stream
from tests.e2e.stack import LocalStack
from tests.facts import a_call, until
from tests.postgres_server import query
from tests.promises import promise

PARTS = ("livekit", "redis", "postgres", "control", "webhook")
ONLY = [f"--only={part}" for part in PARTS]
CALLS = "SELECT id::text, reason FROM calls ORDER BY started_at, id"


@promise("backup.stack")
async def test_an_installation_goes_on_in_another_home(tmp_path: Path) -> None:
    old, new, file = LocalStack(tmp_path / "old"), LocalStack(tmp_path / "new"), tmp_path / "backup.zip"
    ended, live = a_call(uuid4()), a_call(uuid4())
    persona = tmp_path / "night-desk.yaml"
    persona.write_text("persona_name: Night Desk\npersonality: You are the night desk.\n")
    try:
        old.up(*ONLY)
        assert old.run("persona", "add", str(persona)).returncode == 0
        assert old.run("number", "add", "+15550100077", "night-desk").returncode == 0
        redis = stream.connect(old.env["REDIS_URL"])
        await stream.add(redis, [*ended, *live[:6]])
        await redis.aclose()
        await until(lambda: _recorded(old, 2))
        done = old.run("backup", str(file))
        assert done.returncode == 0, done.stderr
        refused = old.run("restore", str(file), "--replace")
        assert refused.returncode == 2
        assert "already runs" in refused.stderr
    finally:
        old.down()
    try:
        done = new.run("restore", str(file))
        assert done.returncode == 0, done.stderr
        new.up(*ONLY)
        assert new.admin_key == old.admin_key
        assert "You are the night desk." in new.run("persona", "show", "night-desk").stdout
        assert "night-desk" in new.run("number", "show", "+15550100077").stdout
        # Nobody else ends the call that was live then.
        await until(
            lambda: _has(new, {str(ended[0].call_id): "caller_hung_up", str(live[0].call_id): "not_in_backup"})
        )
        # And a home that stands still can be saved as well.
        new.down()
        assert new.run("backup", str(tmp_path / "still.zip")).returncode == 0
    finally:
        new.down()


async def _recorded(stack: LocalStack, calls: int) -> bool:
    return len(await query(stack.env["DATABASE_URL"], CALLS)) == calls


async def _has(stack: LocalStack, reasons: dict[str, str]) -> bool:
    return {row["id"]: row["reason"] for row in await query(stack.env["DATABASE_URL"], CALLS)} == reasons
