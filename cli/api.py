"""Control's HTTP API, asked with the first admin's key of the home."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from cli.fault import CommandFailed
from local import state
from switchboard.settings import Settings

_TIMEOUT_S = 10.0


class Refused(CommandFailed):
    """Control answered, and does not do it; the text is its sentence."""


@dataclass(frozen=True, slots=True)
class Api:
    """Every call raises `CommandFailed` with one sentence when it does not succeed."""

    url: str
    key: str

    @classmethod
    def of(cls, settings: Settings) -> "Api":
        """The API of the stack that runs in the home, else the one that `CONTROL_URL` names."""
        home = settings.home.absolute()
        running = state.current(home)
        url = (running.status.urls.control if running else None) or settings.control_url
        return cls(url, _key(home, url))

    def get(self, *path: str, **query: str) -> Any:
        return self._ask("GET", path, query=query)

    def pages(self, *path: str) -> list[Any]:
        """All entries of a list, over its pages."""
        found, cursor = [], None
        while True:
            page = self.get(*path, **({"cursor": str(cursor)} if cursor else {}))
            found += page[path[-1]]
            cursor = page["next"]
            if not cursor:
                return found

    def post(self, *path: str, body: object) -> Any:
        return self._ask("POST", path, body=body)

    def put(self, *path: str, body: object) -> Any:
        return self._ask("PUT", path, body=body)

    def delete(self, *path: str) -> None:
        self._ask("DELETE", path)

    def _ask(
        self, method: str, path: tuple[str, ...], *, query: dict[str, str] | None = None, body: object = None
    ) -> Any:
        url = "/".join((self.url, *(quote(part, safe="") for part in path)))
        try:
            status, text = asyncio.run(self._exchange(method, url, query, body))
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise CommandFailed(f"control does not answer at {self.url}: start it with `switchboard up`.") from None
        if status >= 400:
            raise Refused(_said(status, text))
        return json.loads(text) if text else None

    async def _exchange(self, method: str, url: str, query: dict[str, str] | None, body: object) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.request(method, url, params=query, json=body, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text()


def _key(home: Path, url: str) -> str:
    file = home / "admin.key"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        raise CommandFailed(
            f"{file} is not there: `switchboard up` makes it; for {url} put an admin's key into it."
        ) from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read ({error.strerror}): run this as its owner.") from None


def _said(status: int, text: str) -> str:
    if status == 401:
        return "control refuses the key in admin.key: put a valid admin's key there."
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"control answers {status}: see its log."
