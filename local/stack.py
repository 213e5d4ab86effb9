"""Which parts run here, on which ports, and what each is told: from the settings and what else listens."""

import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from control.jobs import beat
from local import livekit, postgres, probe, redis
from local.keys import Keys
from local.part import Command, Part, Say
from local.ports import Ports
from local.state import Urls
from switchboard.settings import Settings, SettingsError

# Tells what a supervisor started from everything else, should it outlive its supervisor.
MARKER = "_SWITCHBOARD_STACK"
_LIVEKIT_PORT, _MEDIA_PORT = 7880, 7882
# What servers get of our environment: no setting of theirs that happens to be set.
_PLAIN = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
# One process per call and small models: more threads only take the cores from each other.
_THRIFT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Stack:
    """`environment` is what the parts of Switchboard are told beyond our own environment; it holds secrets.

    `outside` are the servers that a setting replaces, by part; `moved` the ports that were taken.
    """

    home: Path
    parts: tuple[Part, ...]
    environment: Mapping[str, str] = field(repr=False)
    outside: Mapping[str, str] = field(repr=False)
    urls: Urls
    moved: Mapping[str, tuple[int, int]]
    built_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class _Chosen:
    livekit: int
    media: int
    redis: int
    models: int
    control: int
    webhook: int
    agent: int
    sip: int
    sip_api: int


def outside(settings: Settings) -> dict[str, str]:
    """The parts that something else serves, each with the setting that says so."""
    given = settings.model_fields_set
    found = {}
    if settings.livekit_url:
        found["livekit"] = "LIVEKIT_URL"
    if "redis_url" in given:
        found["redis"] = "REDIS_URL"
    if settings.database_url:
        found["postgres"] = "DATABASE_URL"
    if settings.stt_base_url and settings.llm_base_url and settings.tts_base_url:
        found["models"] = "STT_BASE_URL, LLM_BASE_URL and TTS_BASE_URL"
    elif settings.openai_api_key.get_secret_value():
        found["models"] = "OPENAI_API_KEY"
    elif settings.azure_openai_api_key.get_secret_value() and settings.azure_openai_endpoint:
        found["models"] = "AZURE_OPENAI_API_KEY"
    return found


def build(
    settings: Settings,
    keys: Keys,
    ports: Ports,
    *,
    home: Path,
    only: Collection[str] = (),
    any_port: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Stack:
    """The stack of `home`. `only` keeps the parts so named; `any_port` takes free ports for all."""
    replaced = outside(settings)
    if "livekit" in replaced:
        settings.need("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    chosen = _choose(settings, ports, any_port=any_port)
    sockets = postgres.socket_folder(home)
    told = _told(settings, keys, chosen, home=home, database=postgres.url(sockets))
    plain = for_servers(home, environ)
    ours = for_programs(home, told, environ)
    signed_by, secret = told["LIVEKIT_API_KEY"], told["LIVEKIT_API_SECRET"]
    config = livekit.configuration(
        port=chosen.livekit,
        udp_port=chosen.media,
        keys={signed_by: secret},
        webhook_url=told["WEBHOOK_URL"],
        signed_by=signed_by,
    )
    every = (
        livekit.part(home, config, plain),
        redis.part(home, chosen.redis, keys.redis_password, plain),
        postgres.part(home, sockets, plain),
        *_programs(settings, chosen, ours),
        _job_worker(home, ours),
    )
    parts = _kept(every, replaced, only)
    return Stack(home, parts, told, replaced, _urls(told, settings, parts), dict(ports.moved))


def for_servers(home: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of the servers of `home`, none of ours and none of their own settings in it."""
    return {name: environ[name] for name in _PLAIN if name in environ} | {MARKER: str(home)}


def for_programs(home: Path, told: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of our own programs of `home`, which are told of the stack they belong to."""
    ours = {**environ, **told, **_THRIFT, MARKER: str(home)}
    # Compiled once and kept: without it every start compiles some thousand modules anew.
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours


def _choose(settings: Settings, ports: Ports, *, any_port: bool) -> _Chosen:
    def tcp(name: str, wanted: int, host: str = "127.0.0.1") -> int:
        return ports.choose(name, 0 if any_port else wanted, "tcp", host)

    def udp(name: str, wanted: int, host: str = "127.0.0.1") -> int:
        return ports.choose(name, 0 if any_port else wanted, "udp", host)

    host = settings.host
    return _Chosen(
        livekit=tcp("livekit", _LIVEKIT_PORT),
        media=udp("livekit media", _MEDIA_PORT, "0.0.0.0"),
        redis=tcp("redis", 0),
        models=tcp("models", settings.models_port),
        control=tcp("control", settings.control_port, host),
        webhook=tcp("webhook", settings.webhook_port, host),
        agent=tcp("agent", settings.agent_port),
        sip=udp("phone", settings.sip_port, settings.sip_host),
        sip_api=tcp("phone api", settings.sip_api_port),
    )


def _told(settings: Settings, keys: Keys, chosen: _Chosen, *, home: Path, database: str) -> dict[str, str]:
    """What the parts learn from the environment; a setting of the user's own stays."""
    local = f"http://{reachable(settings.host)}"
    return {
        "SWITCHBOARD_HOME": str(home),
        "LIVEKIT_URL": settings.livekit_url or f"ws://127.0.0.1:{chosen.livekit}",
        "LIVEKIT_API_KEY": settings.livekit_api_key or keys.livekit_api_key,
        "LIVEKIT_API_SECRET": settings.livekit_api_secret.get_secret_value() or keys.livekit_api_secret,
        "INTERNAL_TOKEN": settings.internal_token.get_secret_value() or keys.internal_token,
        "REDIS_URL": settings.redis_url
        if "redis_url" in settings.model_fields_set
        else redis.url(chosen.redis, keys.redis_password),
        "DATABASE_URL": settings.database_url or database,
        "PORT": str(chosen.webhook),
        "CONTROL_PORT": str(chosen.control),
        "AGENT_PORT": str(chosen.agent),
        "MODELS_PORT": str(chosen.models),
        "SIP_PORT": str(chosen.sip),
        "SIP_API_PORT": str(chosen.sip_api),
        "SIP_API_URL": settings.sip_api_url or f"http://127.0.0.1:{chosen.sip_api}",
        "WEBHOOK_URL": f"{local}:{chosen.webhook}",
        "CONTROL_URL": f"{local}:{chosen.control}",
        "SWITCHBOARD_LOCAL_MODELS_URL": ""
        if "models" in outside(settings)
        else f"http://127.0.0.1:{chosen.models}/v1",
    }


def _programs(settings: Settings, chosen: _Chosen, env: Mapping[str, str]) -> tuple[Part, ...]:
    """Our own processes: each needs servers to be there, and none waits for another of ours."""
    host = reachable(settings.host)
    without_database = {name: value for name, value in env.items() if name != "DATABASE_URL"}
    sip_host = reachable(settings.sip_host)
    return (
        _program(
            ("local.models", "--port", str(chosen.models)),
            chosen.models,
            without_database,
            advice="set STT_BASE_URL, LLM_BASE_URL and TTS_BASE_URL to models that you run",
        ),
        _program(("control",), chosen.control, env, host=host, needs=("postgres", "redis"), patience_s=8),
        _program(
            ("webhook",), chosen.webhook, without_database, host=host, needs=("livekit", "redis"), patience_s=12
        ),
        _program(
            ("agent",), chosen.agent, without_database, path="/ready", needs=("livekit", "redis"), patience_s=12
        ),
        _program(
            ("local.phone",),
            chosen.sip,
            without_database,
            ports=(chosen.sip, chosen.sip_api),
            ready=lambda: probe.sip_ok(chosen.sip, sip_host),
            needs=("livekit",),
            advice="set SIP_PORT to a free UDP port",
        ),
    )


def _program(
    module: tuple[str, ...],
    port: int,
    env: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    path: str = "/health",
    ports: tuple[int, ...] = (),
    ready: Callable[[], Awaitable[bool]] | None = None,
    needs: tuple[str, ...] = (),
    patience_s: float = 5,
    advice: str = "run `switchboard doctor`, which says what is missing",
) -> Part:
    # -P: a folder of the user's that happens to be called `agent` is not our program.
    command = Command((sys.executable, "-P", "-m", *module), env)

    async def prepare(_say: Say) -> Command:
        return command

    return Part(
        name=module[0].removeprefix("local."),
        prepare=prepare,
        ready=ready or (lambda: probe.http_ok(port, path, host)),
        port=port,
        ports=ports or (port,),
        needs=needs,
        deadline_s=60,
        patience_s=patience_s,
        advice=advice,
    )


def _job_worker(home: Path, env: Mapping[str, str]) -> Part:
    command = Command((sys.executable, "-P", "-m", "control.worker"), env)

    async def prepare(_say: Say) -> Command:
        # One that was killed leaves its sign of life behind.
        beat.hide(home)
        return command

    async def ready() -> bool:
        return beat.file(home).exists()

    return Part(
        name="jobs",
        prepare=prepare,
        ready=ready,
        needs=("postgres", "redis"),
        deadline_s=60,
        # As long as it lets jobs that run come to an end, and a little longer.
        patience_s=13,
        advice="run `switchboard doctor`, which says what is missing",
    )


def _kept(every: tuple[Part, ...], replaced: Collection[str], only: Collection[str]) -> tuple[Part, ...]:
    known = [part.name for part in every]
    if unknown := sorted(set(only) - set(known)):
        raise SettingsError(f"there is no part {unknown[0]}: the parts are {', '.join(known)}.")
    names = {name for name in known if name not in replaced and (not only or name in only)}
    return tuple(part.needing(names) for part in every if part.name in names)


def _urls(told: Mapping[str, str], settings: Settings, parts: tuple[Part, ...]) -> Urls:
    here = {part.name for part in parts}
    livekit_here = "livekit" in here or settings.livekit_url
    return Urls(
        livekit=told["LIVEKIT_URL"] if livekit_here else None,
        webhook=told["WEBHOOK_URL"] if "webhook" in here else None,
        control=told["CONTROL_URL"] if "control" in here else None,
        sip=f"sip:{reachable(settings.sip_host)}:{told['SIP_PORT']}" if "phone" in here else None,
    )


def reachable(host: str) -> str:
    """The address that reaches a server listening on `host` from this machine."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def address(url: str) -> str:
    """Host and port of a URL, without what is secret in it."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'a Unix socket'}{f':{parts.port}' if parts.port else ''}"
