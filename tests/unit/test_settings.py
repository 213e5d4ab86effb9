"""Settings: read once, from the environment and `.env`; a slip is one sentence that says how to mend it."""

import os
from pathlib import Path

import pytest

from switchboard.settings import OUR_PREFIXES, Settings, SettingsError, known_names


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(OUR_PREFIXES) or name in known_names():
            monkeypatch.delenv(name)


def read(tmp_path: Path, text: str = "") -> Settings:
    file = tmp_path / ".env"
    file.write_text(text)
    return Settings.read(file)


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.webhook_port, settings.agent_to_dispatch) == (8080, "friday-ai-agent")


def test_the_environment_counts_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    settings = read(tmp_path, "PORT=9000\nCONTROL_PORT=9002\n")
    assert (settings.webhook_port, settings.control_port) == (9001, 9002)


def test_what_is_empty_counts_as_not_set(tmp_path: Path) -> None:
    assert read(tmp_path, "PORT=\nREDIS_URL=\n").redis_url.startswith("redis://127.0.0.1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("LIVEKIT_URI=ws://h", "LIVEKIT_URI is no known setting: did you mean LIVEKIT_URL?"),
        ("SWITCHBOARD_COLOUR=red", "SWITCHBOARD_COLOUR is no known setting"),
        ("LIVEKIT_URL=livekit", "LIVEKIT_URL must be a URL that starts with ws:// or wss:// or http:// or https://"),
        ("LIVEKIT_URL=ws://h:99999", "LIVEKIT_URL has a port that is no number from 1 to 65535"),
        ("REDIS_URL=http://h", "REDIS_URL must be a URL that starts with redis://"),
        ("DATABASE_URL=mysql://h/db", "DATABASE_URL must be a URL that starts with postgresql://"),
        ("PORT=eighty", "PORT"),
        ("PORT=70000", "PORT"),
        ("SWITCHBOARD_LOG_LEVEL=loud", "SWITCHBOARD_LOG_LEVEL"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, line + "\n")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h:5432/db", "postgresql+asyncpg://h/db", "postgresql://u@/db?host=/run/postgres"]
)
def test_a_database_is_named_in_the_ways_that_are_common(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, f"DATABASE_URL={url}\n").database_url == url


def test_a_secret_does_not_show(tmp_path: Path) -> None:
    settings = read(tmp_path, f"LIVEKIT_API_SECRET={'s' * 32}\nSTT_API_KEY=hidden\n")
    assert "s" * 32 not in repr(settings)
    assert "hidden" not in str(settings)


def test_a_secret_in_a_wrong_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, "REDIS_URL=http://:hidden@h\n")
    assert "hidden" not in str(error.value)


def test_what_is_needed_and_missing_is_named_with_the_mend(tmp_path: Path) -> None:
    settings = read(tmp_path, "LIVEKIT_URL=ws://h\n")
    settings.need("LIVEKIT_URL")
    with pytest.raises(SettingsError, match="LIVEKIT_API_KEY is not set: set it in the environment or"):
        settings.need("LIVEKIT_URL", "LIVEKIT_API_KEY")


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="frozen"):
        read(tmp_path).webhook_port = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ['SWITCHBOARD_PRICES={"a', 'SWITCHBOARD_PRICES={"a": 3}', "REDIS_URI=redis://x"])
def test_prices_that_are_none_and_a_slip_in_the_file_are_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=text.split("=")[0]):
        read(tmp_path, text)
