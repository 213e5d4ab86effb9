"""The commands against a stack that runs."""

import json
import socket
import wave
from pathlib import Path

from local.models import sound, voice
from switchboard import stream
from tests.e2e.stack import LocalStack
from tests.promises import promise
from tests.webhook_calls import until
from webhook.store import BLOCKLIST

HARBOR, MAPLE = "+15550100001", "+15550100002"


@promise("cli.call")
async def test_call_speaks_listens_and_measures(stack: LocalStack, tmp_path: Path) -> None:
    done = stack.run("call", HARBOR, "--say", "What time is breakfast served?", "--record", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"answered_s", "greeting_s", "turns", "recording", "call_id", "ended_by"}
    [turn] = found["turns"]
    assert set(turn) == {"said", "heard", "voice_to_voice_s", "interrupted"}
    assert turn["said"] == "What time is breakfast served?"
    assert len(turn["heard"].split()) > 3
    assert 0.2 < turn["voice_to_voice_s"] < 5
    assert 0 < found["answered_s"] < 10
    assert found["ended_by"] == "caller"
    with wave.open(found["recording"]) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, 8_000)
    assert found["call_id"] in found["recording"]


@promise("cli.call_play")
async def test_call_plays_a_file(stack: LocalStack, tmp_path: Path) -> None:
    file = tmp_path / "question.wav"
    file.write_bytes(sound.write_wav(await voice.synthesise("Do you have parking?"), voice.RATE))
    done = stack.run("call", MAPLE, "--play", str(file))
    assert done.returncode == 0, done.stderr
    assert "Caller: question.wav" in done.stdout
    assert "Agent:  (" not in done.stdout


@promise("cli.call_unanswered")
async def test_a_refused_call_is_one_sentence(stack: LocalStack) -> None:
    done = stack.run("call", stack.sip("no-number"), "--json")
    assert done.returncode == 1
    assert done.stderr == "switchboard: the call was not answered: 404 Not Found.\n"
    assert json.loads(done.stdout)["answered_s"] is None


@promise("cli.doctor")
def test_the_doctor_is_content_with_a_stack_that_is_well(stack: LocalStack) -> None:
    done = stack.run("doctor", "--json")
    findings = {one["name"]: one for one in json.loads(done.stdout)}
    assert [one for one in findings.values() if not one["ok"]] == []
    assert done.returncode == 0
    assert findings["webhook, signed event"]["found"] == "answers 200"
    assert findings["webhook, forged event"]["found"] == "answers 401"


@promise("cli.doctor")
def test_the_doctor_names_a_wrong_key(stack: LocalStack) -> None:
    wrong = LocalStack(stack.home, {**stack.settings, "LIVEKIT_API_SECRET": "w" * 40})
    done = wrong.run("doctor")
    assert done.returncode == 1
    assert "LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not among the keys of the server" in done.stdout
    assert "Traceback" not in done.stderr


@promise("cli.personas")
def test_personas_and_numbers_come_and_go(stack: LocalStack, tmp_path: Path) -> None:
    file = tmp_path / "night-desk.yaml"
    file.write_text("persona_name: Night Desk\npersonality: You are the night desk.\n")
    assert "night-desk: version 1 of Night Desk." in stack.run("persona", "add", str(file)).stdout
    assert stack.run("number", "add", "+1 555 010 0077", "night-desk").returncode == 0
    assert "night-desk" in stack.run("number", "show", "+15550100077").stdout
    assert "You are the night desk." in stack.run("persona", "show", "night-desk").stdout
    refused = stack.run("persona", "remove", "night-desk")
    assert refused.returncode == 2
    assert "night-desk" in refused.stderr
    assert stack.run("number", "remove", "+15550100077").returncode == 0
    assert stack.run("persona", "remove", "night-desk").returncode == 0
    assert "night-desk" not in stack.run("persona", "list").stdout
    file.write_text("voice: {name: slt}\n")
    wrong = stack.run("persona", "add", str(file))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"switchboard: {file}: voice: ")
    assert wrong.stderr.count("\n") == 1


@promise("blocklist.cli")
async def test_a_blocked_caller_hears_busy_until_unblocked(stack: LocalStack) -> None:
    nuisance = "+15550199666"
    added = stack.run("blocklist", "add", "+1 555 019 9666", "--reason", "rings nightly")
    assert (added.stdout, added.stderr) == ("+1 555 019 9666: blocked.\n", "")
    assert "rings nightly" in stack.run("blocklist", "list").stdout
    await _blocked(stack, "15550199666")
    refused = stack.run("call", HARBOR, "--from", nuisance)
    assert (refused.returncode, refused.stderr) == (
        1,
        "switchboard: the call was not answered: 486 Busy Here.\n",
    )
    assert stack.run("blocklist", "remove", nuisance).returncode == 0
    await _blocked(stack)
    assert stack.run("call", HARBOR, "--from", nuisance).returncode == 0
    wrong = stack.run("blocklist", "add", "alice")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert wrong.stderr.startswith("switchboard: 'alice' can block nobody: ")


async def _blocked(stack: LocalStack, *patterns: str) -> None:
    """Returns when the webhook service knows the list to be this one."""
    redis = stream.connect(stack.env["REDIS_URL"])

    async def known() -> bool:
        return bool(json.loads(await redis.get(BLOCKLIST) or "{}") == {"patterns": list(patterns)})

    try:
        await until(known, timeout_s=20)
    finally:
        await redis.aclose()


@promise("cli.port_taken")
def test_a_taken_port_is_replaced_and_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        stack = LocalStack(tmp_path / "home", {"PORT": str(wanted)})
        try:
            done = stack.run("up", "--detach", "--only", "redis", "--only", "webhook", "--only", "livekit")
            assert done.returncode == 0, done.stderr
            assert f"port {wanted} (webhook) is taken: using" in done.stdout
            assert stack.status["parts"]["webhook"]["port"] != wanted
        finally:
            stack.down()


@promise("cli.part_fails")
def test_a_part_that_does_not_come_up_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "server"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    stack = LocalStack(tmp_path / "home", {"LIVEKIT_SERVER": str(broken)})
    done = stack.run("up", "--any-port", "--only", "livekit", "--only", "redis")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "livekit did not come up (it ended with status 3)" in done.stderr
    assert f"Its log: {stack.home / 'logs' / 'livekit.log'}" in done.stderr
    assert stack.status["parts"] == {}
