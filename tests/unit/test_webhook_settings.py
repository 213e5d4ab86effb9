"""Where personas are asked for, and what may be called."""

from pathlib import Path

import pytest

from switchboard.settings import Settings
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
