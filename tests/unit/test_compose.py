"""Dockerfile, compose.yaml, livekit.yaml and .env.example say what the code says."""

import importlib.util
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from control.jobs import beat
from local import livekit
from switchboard import settings
from switchboard.settings import Settings, field_of, known_names
from tests.deployment import (
    COMPOSE,
    ROOT,
    command_of,
    compose,
    entries,
    filled,
    instructions,
    own_services,
    variables,
)

SERVICES = {
    "proxy",
    "livekit",
    "livekit-valkey",
    "sip",
    "valkey",
    "postgres",
    "models",
    "control",
    "webhook",
    "agent",
    "jobs",
}
# Those that listen.
PROGRAMS = {
    "models": ("local.models", Settings.model_fields["models_port"].default, "/health"),
    "control": ("control", Settings.model_fields["control_port"].default, "/health"),
    "webhook": ("webhook", Settings.model_fields["webhook_port"].default, "/health"),
    "agent": ("agent", Settings.model_fields["agent_port"].default, "/ready"),
}
# Those that only work.
WORKERS = {"jobs": "control.worker"}
PUBLISHED = {
    "proxy": {"80:80/tcp", "443:443/tcp"},
    "livekit": {"7881:7881/tcp", "7882:7882/udp"},
    "sip": {"5060:5060/udp", "5060:5060/tcp", "20000-20400:20000-20400/udp"},
}
# What compose.yaml and the images of others need beyond Switchboard's own settings.
COMPOSE_ONLY = {
    "DOMAIN",
    "PUBLIC_IP",
    "POSTGRES_PASSWORD",
    "VALKEY_WEBHOOK_PASSWORD",
    "VALKEY_AGENT_PASSWORD",
    "VALKEY_CONTROL_PASSWORD",
    "VALKEY_JOBS_PASSWORD",
}
IMAGES = {
    "proxy": "caddy:2",
    "livekit": f"livekit/livekit-server:{livekit.VERSION}",
    "livekit-valkey": "valkey/valkey:9",
    "sip": "livekit/sip:v1.10.0",
    "valkey": "valkey/valkey:9",
    "postgres": "pgvector/pgvector:pg18",
}
OTHERS_ENVIRONMENT = {
    "livekit": {"LIVEKIT_KEYS", "NODE_IP", "REDIS_HOST"},
    "sip": {"SIP_CONFIG_BODY"},
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"},
}
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|API_KEY")


def values() -> dict[str, str]:
    """A .env with everything that compose.yaml asks for."""
    return {one.name: f"{one.name.lower()}-value" for one in variables(COMPOSE.read_text()) if one.required}


def environment(service: str) -> dict[str, str]:
    given = compose()["services"][service].get("environment", {})
    return {name: filled(str(value), values()) for name, value in given.items()}


def test_every_part_has_a_service_and_no_service_lacks_a_part() -> None:
    assert set(compose()["services"]) == SERVICES
    assert set(own_services()) == {*PROGRAMS, *WORKERS}
    assert {name: compose()["services"][name]["image"] for name in IMAGES} == IMAGES


@pytest.mark.parametrize("service", PROGRAMS)
def test_each_command_is_a_program_that_exists(service: str) -> None:
    command = own_services()[service]["command"]
    module, _, _ = PROGRAMS[service]
    assert command[:3] == ["python", "-m", module]
    assert importlib.util.find_spec(f"{module}.__main__") is not None


@pytest.mark.parametrize("service", WORKERS)
def test_each_worker_is_a_module_that_exists_and_is_watched_by_its_sign_of_life(service: str) -> None:
    one = own_services()[service]
    assert one["command"] == ["python", "-m", WORKERS[service]]
    assert importlib.util.find_spec(WORKERS[service]) is not None
    home = Path(_image_environment()["SWITCHBOARD_HOME"])
    assert f"find {beat.file(home)} " in one["healthcheck"]["test"][-1]


@pytest.mark.parametrize("service", PROGRAMS)
def test_each_service_listens_where_its_health_check_asks(service: str) -> None:
    _, port, path = PROGRAMS[service]
    one = own_services()[service]
    assert f"http://127.0.0.1:{port}{path}'" in one["healthcheck"]["test"][-1]
    told = {**environment(service), "--port": one["command"][-1]}
    name = {"models": "--port", "control": "CONTROL_PORT", "webhook": "PORT", "agent": "AGENT_PORT"}[service]
    assert told[name] == str(port)


def test_services_find_each_other_by_name_and_port() -> None:
    services = compose()["services"]
    addresses = re.findall(r"\b([a-z][a-z-]+):(\d{4})\b", COMPOSE.read_text())
    ports = {name: str(port) for name, (_, port, _) in PROGRAMS.items()}
    ports |= {"livekit": "7880", "livekit-valkey": "6379", "valkey": "6379", "postgres": "5432"}
    inside = [(name, port) for name, port in addresses if name in services]
    assert inside
    assert [one for one in inside if ports[one[0]] != one[1]] == []


@pytest.mark.parametrize("service", [*PROGRAMS, *WORKERS])
def test_our_processes_are_told_known_settings_with_values_they_take(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = environment(service)
    assert set(told) <= known_names()
    monkeypatch.chdir(tmp_path)
    for name, value in {**_image_environment(), **told}.items():
        monkeypatch.setenv(name, value)
    read = Settings.read()
    assert read.host == "0.0.0.0"
    if service in WORKERS:
        read.need("DATABASE_URL")
    elif service != "models":
        read.need("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")


def _image_environment() -> dict[str, str]:
    text = " ".join(rest for name, rest in instructions() if name == "ENV")
    pairs = (pair.partition("=") for pair in text.split())
    return {name: value for name, _, value in pairs if name in known_names()}


def test_images_of_others_get_only_what_they_know() -> None:
    services = compose()["services"]
    for name in SERVICES - {*PROGRAMS, *WORKERS}:
        assert set(services[name].get("environment", {})) == OTHERS_ENVIRONMENT.get(name, set()), name


def test_every_variable_is_a_setting_or_one_of_compose() -> None:
    used = {one.name for one in variables(COMPOSE.read_text())}
    assert used - known_names() == COMPOSE_ONLY
    # `make up` reads the same .env, and refuses names that look like settings and are none.
    assert not [name for name in COMPOSE_ONLY if name.startswith(settings.OUR_PREFIXES)]


def test_secrets_come_from_the_environment_alone() -> None:
    for one in variables(COMPOSE.read_text()):
        if SECRET.search(one.name):
            assert one.required or one.default == "", f"{one.name} has a default"
    required = {one.name for one in variables(COMPOSE.read_text()) if one.required}
    assert COMPOSE_ONLY | {"LIVEKIT_API_SECRET", "INTERNAL_TOKEN"} == required
    for service, one in compose()["services"].items():
        for name, value in one.get("environment", {}).items():
            if SECRET.search(name) and name != "LIVEKIT_API_KEY":
                assert str(value).startswith("${"), f"{service}: {name} is written down"


def test_defaults_of_compose_are_those_of_the_code() -> None:
    for one in variables(COMPOSE.read_text()):
        if one.default and one.name != "TRUSTED_PROXIES":
            assert one.default == _written(Settings.model_fields[field_of(one.name)].default), one.name


def test_only_what_callers_need_is_published() -> None:
    services = compose()["services"]
    assert {name: set(one["ports"]) for name, one in services.items() if "ports" in one} == PUBLISHED
    assert not [name for name, one in services.items() if "network_mode" in one or "privileged" in one]


def test_only_control_and_its_job_worker_reach_postgres() -> None:
    services = compose()["services"]
    assert {name for name, one in services.items() if "data" in one["networks"]} == {"postgres", "control", "jobs"}
    told = {name for name, one in services.items() if "DATABASE_URL" in one.get("environment", {})}
    assert told == {"control", "jobs"}
    assert {name for name, one in services.items() if "rooms" in one["networks"]} == {
        "livekit",
        "livekit-valkey",
        "sip",
    }


def test_the_proxy_keeps_internal_routes_inside() -> None:
    caddyfile = compose()["configs"]["caddyfile"]["content"]
    inside = re.search(r"@inside path (.+)", caddyfile)
    assert inside and {"/internal/*", "/metrics", "/twirp/*"} <= set(inside[1].split())
    assert caddyfile.index("handle @inside") < caddyfile.index("reverse_proxy")


def test_every_service_is_watched_and_comes_back() -> None:
    for name, one in compose()["services"].items():
        assert one["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert one["restart"] == "unless-stopped", name


def test_waiting_is_for_services_that_exist_and_tell_their_health() -> None:
    services = compose()["services"]
    for name, one in services.items():
        assert set(one.get("depends_on", ())) <= set(services), name


def test_volumes_are_where_the_programs_keep_their_data() -> None:
    services = compose()["services"]
    home = _image_environment()["SWITCHBOARD_HOME"]
    recordings = f"recordings:{home}/recordings"
    assert services["webhook"]["volumes"] == [f"unrecorded:{home}"]
    assert services["agent"]["volumes"] == [f"unrecorded:{home}", recordings]
    assert services["control"]["volumes"] == [f"control:{home}", recordings]
    assert services["jobs"]["volumes"] == services["agent"]["volumes"]
    named = [volume.split(":")[0] for one in services.values() for volume in one.get("volumes", ())]
    assert {name for name in named if not name.startswith("./")} == set(compose()["volumes"])
    assert [(ROOT / name).is_file() for name in named if name.startswith("./")] == [True]
    assert [name for name, count in Counter(named).items() if count > 1] == ["recordings", "unrecorded"]


def test_networks_and_configs_are_all_used_and_all_there() -> None:
    services = compose()["services"].values()
    assert {name for one in services for name in one["networks"]} == set(compose()["networks"])
    used = {config["source"] for one in services for config in one.get("configs", ())}
    assert used == set(compose()["configs"])


def test_livekit_signs_webhooks_with_a_key_that_it_has() -> None:
    server = yaml.safe_load((ROOT / "livekit.yaml").read_text())
    keys = yaml.safe_load(environment("livekit")["LIVEKIT_KEYS"])
    assert set(keys) == {server["webhook"]["api_key"]}
    assert server["webhook"]["urls"] == [f"http://webhook:{PROGRAMS['webhook'][1]}/livekit-webhook"]
    for service in ("webhook", "agent", "control"):
        told = environment(service)
        assert keys == {told["LIVEKIT_API_KEY"]: told["LIVEKIT_API_SECRET"]}, service
    assert "keys" not in server and "redis" not in server


def test_livekits_media_ports_are_the_published_ones() -> None:
    rtc = yaml.safe_load((ROOT / "livekit.yaml").read_text())["rtc"]
    assert PUBLISHED["livekit"] == {
        f"{rtc['tcp_port']}:{rtc['tcp_port']}/tcp",
        f"{rtc['udp_port']}:{rtc['udp_port']}/udp",
    }


def test_sip_uses_livekits_valkey_key_and_the_published_ports() -> None:
    told = yaml.safe_load(environment("sip")["SIP_CONFIG_BODY"])
    ports = told["rtp_port"]
    assert PUBLISHED["sip"] == {f"{told['sip_port']}:{told['sip_port']}/{kind}" for kind in ("udp", "tcp")} | {
        f"{ports}:{ports}/udp"
    }
    assert told["redis"]["address"] == environment("livekit")["REDIS_HOST"]
    assert (told["api_key"], told["api_secret"]) == ("switchboard", values()["LIVEKIT_API_SECRET"])
    assert told["nat_1_to_1_ip"] == environment("livekit")["NODE_IP"]
    assert str(told["health_port"]) in " ".join(compose()["services"]["sip"]["healthcheck"]["test"])


def test_the_image_holds_every_package_and_nothing_secret() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = [rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = {source for one in copied for source in one[:-1]}
    assert sources == {*packages, "pyproject.toml", "uv.lock", "README.md", "LICENSE"}
    assert all((ROOT / source).exists() for source in sources)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored and {line[1:] for line in ignored if line.startswith("!")} == sources


def test_the_image_runs_as_a_user_without_rights() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    made = next(rest for name, rest in instructions() if name == "RUN" and "useradd" in rest)
    assert len(users) == 1 and f" {users[0]} " in f" {made} "
    assert users[0] not in ("root", "0")
    home = _image_environment()["SWITCHBOARD_HOME"]
    assert f"--owner {users[0]}" in made and f" {home}" in made
    for one in own_services().values():
        assert one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]


def test_the_image_has_the_python_of_the_project_and_its_ports() -> None:
    images = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(images) == 2 and set(images) == {
        f"python:{(ROOT / '.python-version').read_text().strip()}-slim-trixie"
    }
    exposed = next(rest for name, rest in instructions() if name == "EXPOSE")
    assert {int(port) for port in exposed.split()} == {port for _, port, _ in PROGRAMS.values()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    command = command_of(next(rest for name, rest in instructions() if name == "CMD"))
    assert command[0] in project["project"]["scripts"]
    syncs = [rest for name, rest in instructions() if name == "RUN" and "uv sync" in rest]
    assert all("--frozen --no-dev" in one for one in syncs) and len(syncs) == 2


def test_every_setting_is_in_the_example_and_everything_in_it_is_used() -> None:
    names = [one.name for one in entries()]
    assert set(names) == known_names() | COMPOSE_ONLY
    assert len(names) == len(set(names))


def test_the_example_explains_each_setting_and_shows_its_default() -> None:
    for one in entries():
        assert one.explained, f"{one.name} has no comment above it"
        if one.name in COMPOSE_ONLY:
            assert not one.commented_out and one.value == "", one.name
            continue
        assert one.value == _written(Settings.model_fields[field_of(one.name)].default), one.name
        assert one.commented_out or SECRET.search(one.name), one.name


def test_the_example_as_it_is_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    assert Settings.read(ROOT / ".env.example") == Settings.read(tmp_path / "none")


def _written(default: Any) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default == () else str(default)


def test_one_machine_runs_the_same_server_configuration() -> None:
    told = livekit.configuration(port=1, udp_port=2, keys={"a": "b"}, webhook_url="http://127.0.0.1:3", signed_by="a")
    assert "redis" not in told and told["webhook"] == {"api_key": "a", "urls": ["http://127.0.0.1:3/livekit-webhook"]}
    assert set(yaml.safe_load((ROOT / "livekit.yaml").read_text())) <= set(told)
