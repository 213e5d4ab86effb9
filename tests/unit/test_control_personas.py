"""Personas as people write them, read strictly."""

from pathlib import Path
from typing import Any

import pytest

from control.personas import files
from control.personas.document import DocumentError, checked, served
from switchboard.settings import SettingsError


def test_a_persona_is_kept_as_written_with_fields_that_nobody_knows() -> None:
    given = {"personaName": "Harbor", "conversationStructure": {"open": ["greet"]}, "crm_id": 7, "memory": True}
    assert checked(given) == given


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"voice": 3}, "voice"),
        ({"facts": "none"}, "facts"),
        ({"temperature": 9}, "temperature"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"memory": "perhaps"}, "memory"),
        ({"version": 3}, "version"),
        ({"crm": {"apiKey": "abc"}}, "crm.apiKey"),
        ({"password": "abc"}, "password"),
        ({"tools_config": [{"auth_token": "abc"}]}, "tools_config.0.auth_token"),
        ({"personality": "Use sk-abcdefghijklmnopqrstuvwx to log in."}, "personality"),
    ],
)
def test_what_a_call_would_forgive_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(DocumentError, match=f"^{named}: "):
        checked(given)


@pytest.mark.parametrize(
    "given",
    [
        {"pronunciations": {"password": "pass word", "token": "toe-ken"}},
        {"max_tokens": 100},
        {"personality": "You are the bearer of good news. Never ask for a password."},
        {"variables": {"wifi_name": "Harbor"}, "password": ""},
    ],
)
def test_words_that_only_sound_secret_are_taken(given: dict[str, Any]) -> None:
    assert checked(given) == given


def test_a_persona_beyond_256_kib_is_refused() -> None:
    with pytest.raises(DocumentError, match="256 KiB"):
        checked({"notes": "x" * 300_000})


def test_a_persona_is_served_with_its_name_slug_and_version() -> None:
    assert served({"name": "Harbor", "voice": "v"}, "harbor", 3) == {
        "name": "Harbor",
        "voice": "v",
        "persona_name": "Harbor",
        "slug": "harbor",
        "version": "3",
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("slug: [", "line 1"),
        ("- a list", "fields of a persona"),
        ("slug: Not A Slug", "slug"),
        ("slug: ok\nnumbers: +15550100001", "numbers"),
        ("slug: ok\nnumbers: [15550100001]", "numbers"),
        ("slug: ok\nvoice: [a]", "voice"),
        ("slug: ok\nsecret: abc", "secret"),
    ],
)
def test_a_broken_file_is_named_with_its_field(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        files.read(path)
    assert "broken.yaml" in str(caught.value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_bundled_personas_are_whole() -> None:
    found = {path.stem: files.read(path) for path in files.bundled().glob("*.yaml")}
    assert found["default"][0] == "default"
    assert found["harbor-hotel"][1] == ["+15550100001"]
    assert found["maple-dental"][1] == ["+15550100002"]
