"""A browser as control sees one: it keeps its cookies, shows its session's token, and has an address of its own."""

from http.cookies import SimpleCookie
from itertools import count
from typing import Any

from tests.control_service import Answer, ControlService

# The service believes what a proxy at this address says of its clients.
PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}
_addresses = count(1)


def own_address() -> dict[str, str]:
    """The headers of somebody whose tries count for nobody else's."""
    at = next(_addresses)
    return {"X-Forwarded-For": f"198.18.{at // 250}.{at % 250 + 1}"}


class Browser:
    """`cookie` is empty before it has signed in, and after it has signed out. `bearer` is a key to show besides."""

    def __init__(self, control: ControlService, address: dict[str, str] | None = None) -> None:
        self._control = control
        self._address = address or own_address()
        self.cookie = ""
        self.csrf = ""
        self.bearer = ""

    async def ask(self, method: str, path: str, *, forged: bool = False, **more: Any) -> Answer:
        """`forged`: without the token, as a page of another site would make the browser ask."""
        headers = self._address | dict(more.pop("headers", {}))
        if self.cookie:
            headers["Cookie"] = self.cookie
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if self.csrf and not forged:
            headers.setdefault("X-CSRFToken", self.csrf)
        answer = await self._control.request(method, path, key=None, headers=headers, **more)
        for name, morsel in SimpleCookie(answer.headers.get("Set-Cookie", "")).items():
            self.cookie = f"{name}={morsel.value}" if morsel.value else ""
        return answer

    async def sign_in(self, token: str) -> Answer:
        answer = await self.ask("POST", "/sign-in", json={"token": token})
        if answer.status == 200:
            self.csrf = answer.body["csrf_token"]
        return answer


async def user(control: ControlService, handle: str, role: str = "viewer", **more: Any) -> dict[str, Any]:
    """A new user."""
    made = await control.request("POST", "/users", json={"handle": handle, "role": role, **more})
    assert made.status == 201, made
    return dict(made.body)


async def link(control: ControlService, user_id: str) -> str:
    """A new sign-in token of this user."""
    made = await control.request("POST", f"/users/{user_id}/links")
    assert made.status == 201, made
    return str(made.body["token"])


async def signed_in(control: ControlService, user_id: str) -> Browser:
    """A browser in which this user has signed in."""
    browser = Browser(control)
    answer = await browser.sign_in(await link(control, user_id))
    assert answer.status == 200, answer
    return browser
