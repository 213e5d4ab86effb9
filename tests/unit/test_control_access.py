"""Who may ask what of control."""

import base64
import hashlib
import re
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from control.access import Actor, GuardedRoute, Needs, Open, Role, cookies, declared, page, tokens
from control.access.throttle import network_of
from control.access.tokens import LinkToken
from control.app import PUBLIC_PATHS, ROUTERS, Parts, create_app
from control.errors import Forbidden, Unauthorized


def routes() -> list[APIRoute]:
    return [cast(APIRoute, route) for router in ROUTERS for route in router.routes]


def test_every_route_declares_who_may_ask() -> None:
    assert len(routes()) > 15
    for route in routes():
        assert isinstance(route, GuardedRoute), route.path
        assert declared(route.dependant) is not None, route.path


def test_nothing_is_served_beside_the_declared_routes_and_the_description() -> None:
    app = create_app(cast(Parts, None))
    beside = {path for route in app.routes if (path := getattr(route, "path", None))}
    assert beside == set(PUBLIC_PATHS)
    assert set(app.openapi()["paths"]) == {route.path for route in routes()}


def test_a_route_without_a_declaration_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="/open declares no role"):
        router.get("/open")(lambda: None)


def test_only_health_metrics_and_sign_in_are_open_to_everyone() -> None:
    assert {route.path for route in routes() if isinstance(declared(route.dependant), Open)} == {
        "/health",
        "/metrics",
        "/sign-in",
    }


def test_changes_of_more_than_ones_own_sessions_need_an_operator_or_an_admin() -> None:
    for route in routes():
        guard = declared(route.dependant)
        if isinstance(guard, Needs) and not (route.methods or set()) <= {"GET", "HEAD"} and guard.role is not None:
            own = (
                Role.VIEWER
                if route.path.startswith(("/sign-out", "/browser-sessions", "/chats", "/conversations"))
                else Role.ADMIN
            )
            acts = route.path.startswith(("/calls/", "/agents", "/blocklist", "/tasks"))
            needed = Role.OPERATOR if acts else own
            assert guard.role is needed, route.path


@pytest.mark.parametrize(
    ("needs", "role", "refusal"),
    [
        (Needs(Role.VIEWER), Role.VIEWER, None),
        (Needs(Role.VIEWER), Role.ADMIN, None),
        (Needs(Role.OPERATOR), Role.VIEWER, Forbidden),
        (Needs(Role.ADMIN), Role.OPERATOR, Forbidden),
        (Needs(Role.ADMIN), None, Forbidden),
        (Needs(None, internal=True), None, None),
        (Needs(None, internal=True), Role.ADMIN, Forbidden),
        (Needs(Role.VIEWER, internal=True), None, None),
        (Needs(Role.VIEWER, internal=True), Role.VIEWER, None),
    ],
)
def test_a_role_opens_what_it_and_lower_ones_may(needs: Needs, role: Role | None, refusal: Any) -> None:
    if refusal is None:
        needs.admits(Actor("someone", role))
        return
    with pytest.raises(refusal):
        needs.admits(Actor("someone", role))


def test_nobody_is_asked_to_show_a_key() -> None:
    with pytest.raises(Unauthorized, match="Bearer"):
        Needs(Role.VIEWER).admits(None)


def test_keys_are_long_and_never_the_same_and_kept_as_hashes() -> None:
    keys = {tokens.new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) >= 43 and key.encode() not in tokens.hashed(key) for key in keys)


def test_what_the_installation_does_by_itself_is_nobodys() -> None:
    with pytest.raises(Forbidden, match="nobody's"):
        _ = Actor("internal", None).owner
    assert Actor("key:k", Role.VIEWER, UUID(int=1)).owner == UUID(int=1)


def test_a_links_token_is_read_as_it_was_written_and_nothing_else_is_one() -> None:
    token = LinkToken(uuid4(), tokens.new_secret())
    assert LinkToken.read(str(token)) == token
    for none in (
        "",
        ".",
        "x",
        str(token)[1:],
        f"{token} ",
        f"{token}\n",
        str(token).upper(),
        "0" * 32 + "." + "é" * 43,
    ):
        assert LinkToken.read(none) is None, none


def test_the_token_of_a_change_is_bound_to_its_session_and_does_not_show_it() -> None:
    one, other = tokens.new_secret(), tokens.new_secret()
    assert cookies.csrf_token(one) == cookies.csrf_token(one) != cookies.csrf_token(other)
    assert cookies.csrf_token(one) not in one


@pytest.mark.parametrize(
    ("scheme", "known_by", "secure"),
    [
        ("http", "", False),
        ("http", "http://calls.example.com", False),
        ("https", "", True),
        ("wss", "", True),
        ("http", "https://calls.example.com", True),
    ],
)
def test_a_cookie_is_for_https_where_browsers_use_it(scheme: str, known_by: str, secure: bool) -> None:
    parts = SimpleNamespace(settings=SimpleNamespace(control_public_url=known_by))
    app = SimpleNamespace(state=SimpleNamespace(parts=parts))
    kind = "websocket" if scheme.startswith("ws") else "http"
    headers = [(b"host", b"inside"), (b"cookie", b"switchboard=plain; __Host-switchboard=closed")]
    scope = {"type": kind, "scheme": scheme, "path": "/", "headers": headers, "app": app}
    connection = HTTPConnection(scope)
    assert cookies.is_secure(connection) is secure
    assert cookies.shown(connection) == ("closed" if secure else "plain")


def test_the_page_behind_a_link_runs_its_own_script_alone() -> None:
    policy = page.HEADERS["Content-Security-Policy"]
    script = re.findall(r"<script>(.*?)</script>", page.HTML, re.DOTALL)
    [digest] = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in script)
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert not re.search(r"\son\w+=|\sstyle=|src=|href=", page.HTML)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("a name", "unknown"),
    ],
)
def test_tries_are_counted_for_what_one_customer_has_for_himself(address: str, counted: str) -> None:
    assert network_of(address) == counted
