"""Every operation that control describes: asked with generated requests, by nobody, and for what is another's."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import hypothesis
import pytest
import pytest_asyncio
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.browser import PROXY, Browser, link, signed_in, user
from tests.control_service import INTERNAL_TOKEN, Answer, ControlService, control_service
from tests.noting_model import noting_model
from tests.promises import promise

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = ("/health", "/metrics", "/sign-in")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12
BODY = {"name": "mine", "role": "admin"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control() -> AsyncIterator[ControlService]:
    # A model that works: without one personas answer 503.
    async with noting_model() as model, control_service(**PROXY, LLM_BASE_URL=f"{model.url}/first/v1") as running:
        yield running


def operations(schema: BaseSchema) -> list[APIOperation[Any, Any, Any, Any]]:
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


@promise("control.api.fuzz")
async def test_generated_requests_meet_documented_answers_alone(control: ControlService) -> None:
    key = control.admin_key

    def ask() -> int:
        schema = schemathesis.openapi.from_url(f"{control.base}/openapi.json")
        with requests.Session() as session:
            for operation in operations(schema):
                shown = INTERNAL_TOKEN if operation.path.startswith("/internal") else key
                for mode in GenerationMode:
                    fuzz(operation, mode, session, {"Authorization": f"Bearer {shown}"})
        return len(operations(schema))

    assert await asyncio.to_thread(ask) > 25
    assert "Traceback" not in control.log()


def fuzz(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    session: requests.Session,
    headers: dict[str, str],
) -> None:
    """Asks one operation again and again; raises for an answer that its description does not have."""
    asked = hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    @asked
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def each(case: schemathesis.Case[Any]) -> None:
        case.validate_response(case.call(session=session, headers=headers), checks=CHECKS)

    try:
        each()
    except hypothesis.errors.Unsatisfiable:
        # An operation without parameters cannot be asked wrongly.
        assert mode is GenerationMode.NEGATIVE


@promise("control.api.fuzz")
async def test_without_credentials_every_operation_but_the_open_ones_is_a_401(control: ControlService) -> None:
    schema = (await control.request("GET", "/openapi.json", key=None)).body
    nobody = Browser(control)
    forged: tuple[dict[str, str], ...] = (
        {},
        {"Cookie": "switchboard=" + "x" * 43},
        {"Authorization": "Basic YTpi"},
        {"X-CSRFToken": "x"},
    )
    for path, method, _operation in described(schema):
        place = path.replace("{", "").replace("}", "")
        for headers in forged:
            answer = await nobody.ask(method, place, headers=headers, json={})
            assert path in OPEN or (answer.status, answer.body["code"]) == (401, "unauthorized"), (method, path)


def described(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def places(path: str, operation: dict[str, Any], given: str) -> list[str]:
    """The addresses of an operation with `given` in each place where it takes a parameter."""
    value = quote(given, safe="")
    whole = path
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            whole = whole.replace(f"{{{parameter['name']}}}", value)
    queries = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    found = [whole] if whole != path else []
    return found + [f"{whole}?{name}={value}" for name in queries]


@promise("access.others")
async def test_nobody_gets_or_changes_what_is_anothers_by_its_id(control: ControlService) -> None:
    schema = (await control.request("GET", "/openapi.json", key=None)).body
    canary = f"canary{uuid4().hex[:8]}"
    ann = await user(control, f"{canary}-ann", "operator", name=f"{canary} Ann")
    browser = await signed_in(control, ann["id"])
    key = await a_key(control, ann["id"], f"{canary} key")
    unused = await link(control, ann["id"])
    [session] = (await browser.ask("GET", "/browser-sessions")).body["browser_sessions"]
    chat = (await browser.ask("POST", "/chats", json={"title": f"{canary} chat"})).body["chat_id"]
    forgotten = (await browser.ask("POST", "/chats", json={"title": f"{canary} gone"})).body["chat_id"]
    receipt = (await browser.ask("DELETE", f"/conversations/{forgotten}")).body["receipt_id"]
    own = (ann["id"], session["id"], key["id"], chat, receipt)
    ids = (*own, ann["handle"], unused.partition(".")[0], f"user:{ann['handle']}")
    others = await strangers(control)
    for stranger in others:
        expected = 403 if (await stranger.ask("GET", "/me")).body["role"] == "viewer" else 404
        for path in ("run", "stream"):
            got = await stranger.ask("POST", f"/agents/default/{path}", json={"input": "x", "session_id": chat})
            assert got.status == expected
            assert canary not in whole(got)
    for path, method, operation in described(schema):
        for stranger in others:
            if method == "GET":
                assert canary not in whole(await stranger.ask("GET", path.replace("{", "").replace("}", "")))
            guess = str(uuid4())
            nobodys = [await stranger.ask(method, place, json=BODY) for place in places(path, operation, guess)]
            for theirs in ids:
                for place, same in zip(places(path, operation, theirs), nobodys, strict=True):
                    got = await stranger.ask(method, place, json=BODY)
                    said = whole(got).replace(quote(theirs, safe=""), "").replace(theirs, "")
                    assert canary not in said, (method, place)
                    assert got.status < 500
                    if theirs in own:
                        assert same.status == got.status, (method, place)
                        # Where a list begins, and what is wrong with an id as a date, depends on its digits.
                        assert got.status in (200, 400) or whole(same).replace(guess, "") == said, (method, place)
    now = await control.request("GET", f"/users/{ann['id']}")
    assert (await browser.ask("GET", "/me")).body["user"] == now.body
    mine = (await control.request("GET", "/me", key=key["key"])).body
    assert (mine["user"]["name"], mine["role"]) == (f"{canary} Ann", "operator")
    assert (await Browser(control).sign_in(unused)).status == 200


async def a_key(control: ControlService, owner: str, name: str) -> dict[str, Any]:
    body = {"name": name, "role": "admin", "user_id": owner}
    return dict((await control.request("POST", "/api-keys", json=body)).body)


async def strangers(control: ControlService) -> list[Browser]:
    """A viewer and an operator, each by session and by a key, which is an admin's in its own words."""
    found = []
    for role in ("viewer", "operator"):
        ben = await user(control, f"ben-{role}", role)
        found.append(await signed_in(control, ben["id"]))
        by_key = Browser(control)
        by_key.bearer = (await a_key(control, ben["id"], "ben's"))["key"]
        found.append(by_key)
    return found


def whole(answer: Answer) -> str:
    return json.dumps(answer.body)
