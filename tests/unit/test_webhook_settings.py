"""Where personas are asked for, and what may be called."""

from pathlib import Path

import pytest

from switchboard.settings import Settings, SettingsError
from webhook.app import allowed_of, default_persona, persona_api_of


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTROL_URL", "http://control:8081")
    monkeypatch.setenv("INTERNAL_TOKEN", "internal")


def test_control_serves_personas_when_no_other_api_is_set() -> None:
    api = persona_api_of(Settings.read())
    assert (api.base, api.token) == ("http://control:8081/personas/by-number", "internal")


def test_an_api_that_is_set_never_gets_the_internal_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONA_API_BASE", "https://crm.example/p")
    api = persona_api_of(Settings.read())
    assert (api.base, api.token) == ("https://crm.example/p", "")


@pytest.mark.parametrize(
    ("base", "allowed"),
    [
        ("http://127.0.0.1:9/p", ["control:8081", "127.0.0.1:9"]),
        ("http://localhost/p", ["control:8081", "localhost:80"]),
        ("http://[::1]:9/p", ["control:8081", "::1"]),
        ("http://10.0.0.5/p", ["control:8081"]),
        ("https://crm.example/p", ["control:8081"]),
    ],
)
def test_a_persona_api_on_loopback_is_allowed_and_a_private_one_is_not(
    base: str, allowed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONA_API_BASE", base)
    assert allowed_of(Settings.read()) == allowed


def test_the_default_persona_can_answer() -> None:
    assert default_persona()["welcome_message"]


@pytest.mark.parametrize("allowed", ["crm.internal", "crm.internal:9", "10.0.0.0/8"])
def test_plain_http_to_a_host_that_is_not_allowed_is_refused_at_start(
    allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "http://10.0.0.5:9/p" if "/" in allowed else "http://crm.internal:9/p"
    monkeypatch.setenv("PERSONA_API_BASE", base)
    with pytest.raises(SettingsError, match="https"):
        persona_api_of(Settings.read())
    monkeypatch.setenv("SWITCHBOARD_OUTBOUND_ALLOWED", allowed)
    assert persona_api_of(Settings.read()).base == base


def test_an_api_address_with_a_query_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONA_API_BASE", "https://crm.example/p?key=1")
    with pytest.raises(SettingsError, match="PERSONA_API_BASE"):
        persona_api_of(Settings.read())
