"""Who may ask what of control."""

from typing import Any, cast

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from control import access
from control.access import Actor, GuardedRoute, Needs, Open, Role, declared
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


def test_only_health_and_metrics_are_open_to_everyone() -> None:
    assert {route.path for route in routes() if isinstance(declared(route.dependant), Open)} == {
        "/health",
        "/metrics",
    }


def test_changes_need_an_operator_or_an_admin() -> None:
    for route in routes():
        guard = declared(route.dependant)
        if isinstance(guard, Needs) and route.methods != {"GET"} and guard.role is not None:
            needed = Role.OPERATOR if route.path.startswith(("/calls/web", "/blocklist", "/tasks")) else Role.ADMIN
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
    keys = {access.new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) >= 43 and key.encode() not in access.hashed(key) for key in keys)
