"""Trunks and the doctor's eye on them, at a real LiveKit server with a Redis of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from livekit import api
from livekit.protocol import sip
from typer.testing import CliRunner

from cli import checks, main, trunk
from local import livekit, redis
from local.part import Part
from local.ports import Ports
from local.supervisor import Supervisor
from switchboard.settings import Settings
from tests.promises import promise

KEY, SECRET = "trunks", "s" * 32
LIMIT_S = 30.0


class Silent:
    def note(self, part: str, text: str) -> None: ...
    def ready(self, part: Part, after_s: float) -> None: ...
    def restarting(self, part: Part, why: str, pause_s: float) -> None: ...


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Settings]:
    """A server that has SIP, since it has a Redis; the settings that reach it."""
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    ports = Ports()
    http, media, store = ports.choose("http", 0), ports.choose("media", 0, "udp"), ports.choose("redis", 0)
    config = livekit.configuration(
        port=http, udp_port=media, keys={KEY: SECRET}, webhook_url="http://127.0.0.1:9", signed_by=KEY
    )
    with_redis = {**config, "redis": {"address": f"127.0.0.1:{store}", "password": "p" * 32}}
    parts = (redis.part(tmp_path, store, "p" * 32, {}), livekit.part(tmp_path, with_redis, {}).needing(["redis"]))
    for name, value in {"URL": f"ws://127.0.0.1:{http}", "API_KEY": KEY, "API_SECRET": SECRET}.items():
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    monkeypatch.setenv("SWITCHBOARD_HOME", str(tmp_path))
    stop, ready = asyncio.Event(), asyncio.Event()
    ports.close()
    supervisor = Supervisor(parts, logs=tmp_path / "logs", report=Silent())
    running = asyncio.create_task(supervisor.run(stop, ready.set))
    await asyncio.wait_for(ready.wait(), LIMIT_S)
    yield Settings.read(tmp_path / "no.env")
    stop.set()
    await running


def run(*words: str) -> str:
    """What the command printed; its faults are raised."""
    done = CliRunner().invoke(main.app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@promise("trunk.add")
async def test_a_trunk_gets_a_ringing_limit_and_a_rule_without_agents(server: Settings) -> None:
    said = await asyncio.to_thread(
        run, "trunk", "add", "carrier", "--number", "+15550100001", "--allow", "203.0.113.0/24"
    )
    trunks, rules = await trunk.found(server)
    assert trunks[0].sip_trunk_id in said
    assert trunks[0].ringing_timeout.ToSeconds() == 30
    assert list(rules[0].trunk_ids) == [trunks[0].sip_trunk_id]
    assert rules[0].rule.dispatch_rule_individual.room_prefix == "call"
    assert not rules[0].room_config.agents
    assert "203.0.113.0/24" in await asyncio.to_thread(run, "trunk", "list")
    shown = json.loads(await asyncio.to_thread(run, "trunk", "show", trunks[0].sip_trunk_id))
    assert (shown["numbers"], shown["open"], len(shown["rules"])) == (["+15550100001"], False, 1)
    await asyncio.to_thread(run, "trunk", "remove", trunks[0].sip_trunk_id)
    assert await trunk.found(server) == ([], [])


@promise("trunk.doctor")
async def test_the_doctor_names_open_trunks_and_rules_that_send_agents(server: Settings, tmp_path: Path) -> None:
    async with api.LiveKitAPI(server.livekit_url, KEY, SECRET) as client:
        await client.sip.create_inbound_trunk(
            sip.CreateSIPInboundTrunkRequest(trunk=sip.SIPInboundTrunkInfo(name="open", numbers=["+15550100001"]))
        )
        await client.sip.create_dispatch_rule(
            sip.CreateSIPDispatchRuleRequest(
                dispatch_rule=sip.SIPDispatchRuleInfo(
                    name="eager",
                    rule=sip.SIPDispatchRule(
                        dispatch_rule_individual=sip.SIPDispatchRuleIndividual(room_prefix="call")
                    ),
                    room_config=api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name="any")]),
                )
            )
        )
    findings = await checks.look(checks.Place(tmp_path, None, server))
    wrong = {one.name: one.found for one in findings if not one.ok and one.name.startswith(("trunk", "rule"))}
    assert wrong["rule eager"].endswith("sends agents by itself")
    assert [one.found for one in findings if one.name == "trunk open"] == [
        "anybody may call through it",
        "callers ring for minutes when nobody answers",
    ]
