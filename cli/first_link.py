"""The link by which the first admin comes in: in a file of the home until somebody has signed in as an admin."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from local.files import write_private

FILE = "sign-in.link"
_ASK_S = 2.0


def renew(home: Path, control: str) -> Path | None:
    """A file, for its owner alone, with a new link; None when an admin has signed in, or control does not say.

    Blocks for a moment. A link that was there goes.
    """
    file = home / FILE
    try:
        file.unlink(missing_ok=True)
        key = (home / "admin.key").read_text().strip()
        admins = [one for one in _ask(f"{control}/users?limit=200", key)["users"] if one["role"] == "admin"]
        if any(one["signed_in_at"] for one in admins):
            return None
        first = min(admins, key=lambda one: str(one["created_at"]))
        write_private(file, _ask(f"{control}/users/{first['id']}/links", key, method="POST")["link"] + "\n")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return file


def read(home: Path) -> str:
    """The link; empty when there is none."""
    try:
        return (home / FILE).read_text().strip()
    except OSError:
        return ""


def _ask(url: str, key: str, method: str = "GET") -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 (the address is our own)
    with urllib.request.urlopen(request, timeout=_ASK_S) as answer:  # noqa: S310
        return json.load(answer)
