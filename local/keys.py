"""The secrets of one installation: made on first start, kept in `SWITCHBOARD_HOME/keys.json`."""

import json
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.files import write_private
from switchboard.settings import SettingsError


def _token() -> str:
    return secrets.token_urlsafe(36)


class Keys(BaseModel):
    """All are random; the LiveKit secret is longer than the 32 characters the server asks for."""

    model_config = ConfigDict(frozen=True)

    livekit_api_key: str = Field(default_factory=lambda: f"API{secrets.token_hex(6)}", min_length=3)
    livekit_api_secret: str = Field(default_factory=_token, min_length=32)
    internal_token: str = Field(default_factory=_token, min_length=32)
    redis_password: str = Field(default_factory=_token, min_length=16)


def load_or_make(home: Path) -> Keys:
    """The keys of `home`, made when there are none. Raises `SettingsError` when the file is no key file."""
    file = home / "keys.json"
    if not file.exists():
        keys = Keys()
        write_private(file, keys.model_dump_json(indent=2))
        return keys
    try:
        return Keys.model_validate(json.loads(file.read_text()))
    except (OSError, ValueError, ValidationError):
        raise SettingsError(f"{file} is no key file: move it away, and the next start makes a new one.") from None
