"""`switchboard trunk`: carriers' lines into LiveKit, and the rule that puts each call into a room of its own."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import aiohttp
import typer
from google.protobuf.duration_pb2 import Duration
from livekit import api
from livekit.protocol import sip

from cli.fault import CommandFailed
from cli.output import Json, print_json, print_table
from cli.running import settings_here
from switchboard.number import normalise
from switchboard.settings import Settings

RINGING_TIMEOUT = timedelta(seconds=30)
ROOM_PREFIX = "call"
_TIMEOUT_S = 10.0

app = typer.Typer(no_args_is_help=True, help="Carriers' lines into LiveKit: list, show, add, remove.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Inbound trunks and their dispatch rules."""
    trunks, rules = asyncio.run(found(settings_here()))
    if as_json:
        return print_json([_shown(trunk, rules) for trunk in trunks])
    rows = [_row(trunk, rules) for trunk in trunks]
    return print_table(("id", "name", "numbers", "open to", "rules"), rows)


@app.command()
def show(trunk_id: Annotated[str, typer.Argument(help="As `trunk list` shows it.")]) -> None:
    """One trunk with its rules, as JSON; a password is never shown."""
    trunks, rules = asyncio.run(found(settings_here()))
    one = next((trunk for trunk in trunks if trunk.sip_trunk_id == trunk_id), None)
    if one is None:
        raise CommandFailed(f"there is no trunk {trunk_id}: see `switchboard trunk list`.")
    print_json(_shown(one, rules))


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    number: Annotated[list[str] | None, typer.Option(help="A number that it carries; may be given again.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="A carrier's address or network.")] = None,
    user: Annotated[str, typer.Option(help="The carrier's user name.")] = "",
    password: Annotated[
        str, typer.Option(help="Its password; better by the environment.", envvar="TRUNK_PASSWORD", show_envvar=True)
    ] = "",
) -> None:
    """Let a carrier in: an inbound trunk that rings at most 30 s, and a rule that gives each call its room."""
    trunk = sip.SIPInboundTrunkInfo(
        name=name,
        numbers=_numbers(number or []),
        allowed_addresses=_addresses(allow or []),
        auth_username=user,
        auth_password=password,
        include_headers=sip.SIP_X_HEADERS,
        ringing_timeout=Duration(seconds=int(RINGING_TIMEOUT.total_seconds())),
    )
    if bool(user) != bool(password):
        raise CommandFailed("--user and --password belong together: give both.")
    if is_open(trunk):
        raise CommandFailed(
            "a trunk that anybody may call is refused: give the carrier's addresses (--allow 203.0.113.0/24),"
            " or --user and a password."
        )
    trunk_id, rule_id = asyncio.run(_add(settings_here(), trunk))
    typer.echo(f"{name}: trunk {trunk_id}, rule {rule_id}.")


@app.command()
def remove(trunk_id: Annotated[str, typer.Argument(help="As `trunk list` shows it.")]) -> None:
    """Remove a trunk and the rules that belong to it alone."""
    asyncio.run(_remove(settings_here(), trunk_id))
    typer.echo(f"{trunk_id}: removed.")


def is_open(trunk: sip.SIPInboundTrunkInfo) -> bool:
    """Whether anybody who reaches the server may call through it: numbers are no secret."""
    everywhere = any(text.strip().endswith("/0") for text in trunk.allowed_addresses)
    return everywhere or not (trunk.allowed_addresses or trunk.auth_username)


def rule_faults(rule: sip.SIPDispatchRuleInfo) -> list[str]:
    """What is wrong with a rule: it must leave the sending of agents to the webhook service."""
    if rule.room_config.agents:
        return [f"rule {rule.sip_dispatch_rule_id} sends agents by itself: remove it and add the trunk anew"]
    return []


class NoSip(CommandFailed):
    """The LiveKit server does no SIP."""


async def found(settings: Settings) -> tuple[list[Any], list[Any]]:
    """The trunks and rules of the server. Raises `CommandFailed`, as `NoSip` when the server has none."""
    async with _sip(settings) as client:
        trunks = await client.list_inbound_trunk(sip.ListSIPInboundTrunkRequest())
        rules = await client.list_dispatch_rule(sip.ListSIPDispatchRuleRequest())
    return list(trunks.items), list(rules.items)


async def _add(settings: Settings, trunk: sip.SIPInboundTrunkInfo) -> tuple[str, str]:
    async with _sip(settings) as client:
        made = await client.create_inbound_trunk(sip.CreateSIPInboundTrunkRequest(trunk=trunk))
        rule = sip.SIPDispatchRuleInfo(
            name=trunk.name,
            trunk_ids=[made.sip_trunk_id],
            rule=sip.SIPDispatchRule(dispatch_rule_individual=sip.SIPDispatchRuleIndividual(room_prefix=ROOM_PREFIX)),
        )
        try:
            ruled = await client.create_dispatch_rule(sip.CreateSIPDispatchRuleRequest(dispatch_rule=rule))
        except BaseException:
            # A trunk without a rule lets callers ring into nothing.
            await client.delete_trunk(sip.DeleteSIPTrunkRequest(sip_trunk_id=made.sip_trunk_id))
            raise
        return made.sip_trunk_id, ruled.sip_dispatch_rule_id


async def _remove(settings: Settings, trunk_id: str) -> None:
    trunks, rules = await found(settings)
    if trunk_id not in {trunk.sip_trunk_id for trunk in trunks}:
        raise CommandFailed(f"there is no trunk {trunk_id}: see `switchboard trunk list`.")
    async with _sip(settings) as client:
        for rule in rules:
            if list(rule.trunk_ids) == [trunk_id]:
                gone = sip.DeleteSIPDispatchRuleRequest(sip_dispatch_rule_id=rule.sip_dispatch_rule_id)
                await client.delete_dispatch_rule(gone)
        await client.delete_trunk(sip.DeleteSIPTrunkRequest(sip_trunk_id=trunk_id))


@asynccontextmanager
async def _sip(settings: Settings) -> AsyncIterator[Any]:
    settings.need("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    client = api.LiveKitAPI(
        settings.livekit_url,
        settings.livekit_api_key,
        settings.livekit_api_secret.get_secret_value(),
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
    )
    try:
        async with client:
            yield client.sip
    except api.TwirpError as error:
        raise _fault(error) from None
    except (aiohttp.ClientError, TimeoutError, OSError):
        raise CommandFailed(
            f"the LiveKit server at {settings.livekit_url} gives no answer: start it, or mend LIVEKIT_URL."
        ) from None


def _fault(error: api.TwirpError) -> CommandFailed:
    if error.status in (401, 403):
        return CommandFailed(
            "the LiveKit server refuses the key: set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to one of its pairs."
        )
    if "redis required" in error.message or "sip not connected" in error.message:
        return NoSip(NO_SIP)
    return CommandFailed(f"the LiveKit server refuses that: {error.message[:300]}.")


NO_SIP = (
    "this LiveKit server has no SIP service: trunks are livekit/sip's business, with Redis behind the server"
    " (see compose.yaml); the line on one machine needs none."
)


def _numbers(given: list[str]) -> list[str]:
    wrong = next((one for one in given if normalise(one) is None), None)
    if wrong is not None:
        raise CommandFailed(f"--number {wrong!r} is no phone number: write it like +15550100001.")
    return given


def _addresses(given: list[str]) -> list[str]:
    for one in given:
        try:
            ipaddress.ip_network(one, strict=False)
        except ValueError:
            raise CommandFailed(f"--allow {one!r} is no address or network: write it like 203.0.113.0/24.") from None
    return given


def _who_may(trunk: sip.SIPInboundTrunkInfo) -> str:
    if is_open(trunk):
        return "everyone (!)"
    return ", ".join([*trunk.allowed_addresses, *(["with a password"] if trunk.auth_username else [])])


def rules_of(trunk: sip.SIPInboundTrunkInfo, rules: list[Any]) -> list[str]:
    return [rule.sip_dispatch_rule_id for rule in rules if not rule.trunk_ids or trunk.sip_trunk_id in rule.trunk_ids]


def _row(trunk: sip.SIPInboundTrunkInfo, rules: list[Any]) -> tuple[str, ...]:
    numbers, ruled = ", ".join(trunk.numbers) or "any", ", ".join(rules_of(trunk, rules))
    return trunk.sip_trunk_id, trunk.name, numbers, _who_may(trunk), ruled or "none (!)"


def _shown(trunk: sip.SIPInboundTrunkInfo, rules: list[Any]) -> dict[str, Any]:
    return {
        "id": trunk.sip_trunk_id,
        "name": trunk.name,
        "numbers": list(trunk.numbers),
        "allowed_addresses": list(trunk.allowed_addresses),
        "user": trunk.auth_username,
        "open": is_open(trunk),
        "rules": rules_of(trunk, rules),
    }
