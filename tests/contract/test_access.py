"""Users, roles, invites, keys and the audit log over HTTP: the real process, a real Postgres, a real Redis."""

import asyncio
import io
import json
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from rich.console import Console

from cli import first_link
from cli.report import StackPrinter
from control.access.tokens import hashed
from control.db.migrate import FOLDER, migrate
from control.db.pool import open_database
from local.stack import Stack
from local.state import Urls
from tests.browser import PROXY, Browser, link, signed_in, user
from tests.control_service import INTERNAL_TOKEN, ControlService, control_service
from tests.e2e.stack import LocalStack
from tests.facts import until
from tests.postgres_server import fresh_database, query
from tests.promises import promise

pytestmark = pytest.mark.asyncio(loop_scope="module")

# How somebody stops being an admin.
TAKEN_AWAY: tuple[tuple[str, dict[str, Any]], ...] = (("DELETE", {}), ("PATCH", {"json": {"role": "operator"}}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control() -> AsyncIterator[ControlService]:
    """One service for all tests that leave it whole."""
    async with control_service(**PROXY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_control() -> AsyncIterator[ControlService]:
    """A service of the test's own, over an empty database."""
    async with control_service(**PROXY) as running:
        yield running


@asynccontextmanager
async def users_held(control: ControlService) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """No user is changed while the body runs; gives what returns once so many requests wait for that."""
    connect: Any = asyncpg.connect
    connection = await connect(control.database_url)
    look = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def waiting(requests: int) -> None:
        async def held_up() -> bool:
            return len(await query(control.database_url, look)) == requests

        await until(held_up)

    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users IN SHARE MODE")
            yield waiting
    finally:
        await connection.close()


async def first_admin(control: ControlService) -> str:
    return str((await control.request("GET", "/me")).body["user"]["id"])


@promise("access.roles")
async def test_a_changed_role_and_a_removal_count_from_the_next_request_on(control: ControlService) -> None:
    quinn = await user(control, "quinn", "admin", may_listen=True)
    browser = await signed_in(control, quinn["id"])
    key = (await browser.ask("POST", "/api-keys", json={"name": "quinn's", "role": "admin", "may_listen": True})).body
    assert key["user_id"] == quinn["id"]
    mine = (await control.request("GET", "/me", key=key["key"])).body
    assert (mine["user"]["id"], mine["via"], mine["csrf_token"], mine["may_listen"]) == (
        quinn["id"],
        "api_key",
        None,
        True,
    )
    changed = await control.request("PATCH", f"/users/{quinn['id']}", json={"role": "viewer", "may_listen": False})
    assert (changed.status, changed.body["role"], changed.body["name"]) == (200, "viewer", "quinn")
    assert (await browser.ask("GET", "/users")).status == 403
    assert (await control.request("GET", "/users", key=key["key"])).status == 403
    mine = (await control.request("GET", "/me", key=key["key"])).body
    assert (mine["role"], mine["may_listen"]) == ("viewer", False)
    unused = await link(control, quinn["id"])
    assert (await control.request("DELETE", f"/users/{quinn['id']}")).status == 204
    assert (await browser.ask("GET", "/me")).status == 401
    assert (await control.request("GET", "/me", key=key["key"])).status == 401
    assert (await Browser(control).sign_in(unused)).status == 401
    tried: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("GET", f"/users/{quinn['id']}", {}),
        ("PATCH", f"/users/{quinn['id']}", {"json": {"role": "admin"}}),
        ("POST", f"/users/{quinn['id']}/links", {}),
        ("DELETE", f"/users/{quinn['id']}", {}),
    )
    for method, path, more in tried:
        assert (await control.request(method, path, **more)).status == 404, method
    body = {"name": "k", "role": "viewer", "user_id": quinn["id"]}
    assert (await control.request("POST", "/api-keys", json=body)).status == 400
    assert (await user(control, "quinn"))["id"] != quinn["id"]


@promise("access.roles")
async def test_a_key_may_listen_only_when_it_and_its_owner_may(control: ControlService) -> None:
    for owner_may, key_may in ((True, False), (False, True), (True, True)):
        owner = await user(control, f"listener-{owner_may}-{key_may}", may_listen=owner_may)
        body = {"name": "k", "role": "admin", "may_listen": key_may, "user_id": owner["id"]}
        key = (await control.request("POST", "/api-keys", json=body)).body["key"]
        mine = (await control.request("GET", "/me", key=key)).body
        assert (mine["may_listen"], mine["role"]) == (owner_may and key_may, "viewer")


@promise("access.roles")
async def test_who_signs_in_while_they_are_removed_has_no_session_after(control: ControlService) -> None:
    rex = await user(control, "rex")
    token, browser = await link(control, rex["id"]), Browser(control)
    async with users_held(control) as waiting:
        removal = asyncio.ensure_future(control.request("DELETE", f"/users/{rex['id']}"))
        await waiting(1)
        entry = asyncio.ensure_future(browser.sign_in(token))
        await waiting(2)
    assert ((await removal).status, (await entry).status) == (204, 401)


@promise("access.invites")
async def test_an_invited_admin_comes_in_once_and_rules_only_then(own_control: ControlService) -> None:
    control = own_control
    body = {"handle": "rosa", "name": "Rosa", "role": "admin"}
    made = await control.request("POST", "/invites", json=body)
    assert (made.status, made.body["user"]["joined_at"]) == (201, None)
    assert (await control.request("POST", "/invites", json=body)).status == 409
    admin = await first_admin(control)
    assert (await control.request("DELETE", f"/users/{admin}")).status == 409
    rosa = Browser(control)
    assert (await rosa.sign_in(made.body["token"])).body["user"]["joined_at"] is not None
    assert (await Browser(control).sign_in(made.body["token"])).status == 401
    invited = (await rosa.ask("POST", "/invites", json={"handle": "sam", "role": "operator"})).body
    assert invited["user"]["created_by"] == "user:rosa"
    assert (await rosa.ask("DELETE", f"/users/{invited['user']['id']}")).status == 204
    assert (await Browser(control).sign_in(invited["token"])).status == 401
    # The first admin's key is the one of the command line; without another it stays.
    refused = await rosa.ask("DELETE", f"/users/{admin}")
    assert (refused.status, "key" in refused.body["message"]) == (409, True)
    key = (await rosa.ask("POST", "/api-keys", json={"name": "rosa's", "role": "admin"})).body["key"]
    assert (await rosa.ask("DELETE", f"/users/{admin}")).status == 204
    assert (await control.request("GET", "/me")).status == 401
    assert (await control.request("GET", "/me", key=key)).body["user"]["handle"] == "rosa"


@promise("access.last_admin")
async def test_of_two_admins_who_remove_or_demote_each_other_at_once_one_stays(own_control: ControlService) -> None:
    control = own_control
    await control.request("PATCH", f"/users/{await first_admin(control)}", json={"name": "Chief"})
    for how in ("removed", "demoted"):
        one, other = [await user(control, f"{name}-{uuid4().hex[:6]}", "admin") for name in ("one", "other")]
        browsers = [await signed_in(control, each["id"]) for each in (one, other)]
        # The first admin out of the way, so that these two are all there are.
        await query(control.database_url, "UPDATE users SET role = 'viewer' WHERE handle = 'admin'")
        more: dict[str, Any] = {} if how == "removed" else {"json": {"role": "viewer"}}
        method = "DELETE" if how == "removed" else "PATCH"
        async with users_held(control) as waiting:
            asked = asyncio.gather(
                browsers[0].ask(method, f"/users/{other['id']}", **more),
                browsers[1].ask(method, f"/users/{one['id']}", **more),
            )
            await waiting(2)
        answers = await asked
        assert sorted(answer.status for answer in answers) == [204 if how == "removed" else 200, 409], how
        left = await query(control.database_url, "SELECT 1 FROM users WHERE role = 'admin' AND removed_at IS NULL")
        assert len(left) == 1
        await query(control.database_url, "UPDATE users SET role = 'admin' WHERE handle = 'admin'")
        await query(
            control.database_url, "UPDATE users SET removed_at = now() WHERE handle <> 'admin' AND removed_at IS NULL"
        )


@promise("access.last_admin")
async def test_the_last_lasting_admins_key_stays_whoever_has_it(own_control: ControlService) -> None:
    control = own_control
    body = {"handle": "ida", "role": "admin"}
    ida = (await control.request("POST", "/invites", json=body)).body["user"]["id"]
    lasting = {"name": "ida's", "role": "admin", "user_id": ida}
    key = (await control.request("POST", "/api-keys", json=lasting)).body["key"]
    keys = (await control.request("GET", "/api-keys")).body["api_keys"]
    first = next(one["id"] for one in keys if one["name"] == "first admin")
    assert (await control.request("DELETE", f"/api-keys/{first}", key=key)).status == 204
    for method, more in TAKEN_AWAY:
        refused = await control.request(method, f"/users/{ida}", key=key, **more)
        assert (refused.status, "key" in refused.body["message"]) == (409, True), method


@promise("access.last_admin")
async def test_the_last_admin_is_neither_removed_nor_demoted(own_control: ControlService) -> None:
    control = own_control
    admin = await first_admin(control)
    for method, more in TAKEN_AWAY:
        refused = await control.request(method, f"/users/{admin}", **more)
        assert (refused.status, refused.body["code"]) == (409, "conflict")
    assert (await control.request("PATCH", f"/users/{admin}", json={"role": "admin"})).status == 200
    assert (await control.request("PATCH", f"/users/{admin}", json={"may_listen": False})).body["may_listen"] is False


@promise("access.audit")
async def test_every_change_is_on_record_and_no_token_is(own_control: ControlService) -> None:
    control = own_control
    admin = await first_admin(control)
    xena = await user(control, "xena", "admin")
    made = (await control.request("POST", f"/users/{xena['id']}/links")).body
    browser = Browser(control)
    await browser.sign_in(made["token"])
    invited = (await browser.ask("POST", "/invites", json={"handle": "yara", "role": "viewer"})).body
    await browser.ask("PATCH", f"/users/{invited['user']['id']}", json={"role": "operator"})
    await browser.ask("PATCH", f"/users/{invited['user']['id']}", json={"role": "operator"})
    await browser.ask("DELETE", f"/users/{invited['user']['id']}")
    cookie, csrf = browser.cookie, browser.csrf
    await browser.ask("POST", "/sign-out")
    page = (await control.request("GET", "/audit?limit=3")).body
    entries = list(page["audit"])
    while page["next"]:
        page = (await control.request("GET", f"/audit?limit=3&cursor={page['next']}")).body
        entries += page["audit"]
    told = [(one["actor"], one["action"]) for one in reversed(entries) if one["actor"] != "first start"]
    assert told == [
        ("key:first admin", "user.made"),
        ("key:first admin", "link.made"),
        ("user:xena", "session.opened"),
        ("user:xena", "user.invited"),
        ("user:xena", "link.made"),
        ("user:xena", "user.changed"),
        ("user:xena", "user.removed"),
        ("user:xena", "session.revoked"),
    ]
    assert {one["user_id"] for one in entries if one["actor"] == "user:xena"} == {xena["id"]}
    assert {one["user_id"] for one in entries if one["actor"] == "key:first admin"} == {admin}
    only = (
        await control.request("GET", f"/audit?actor=user:xena&action=link.made&subject={invited['user']['id']}")
    ).body
    assert [one["subject"] for one in only["audit"]] == [invited["user"]["id"]]
    assert (await control.request("GET", "/audit?actor=user:nobody")).body == {"audit": [], "next": None}
    everything = json.dumps(entries) + control.log()
    for secret in (
        made["token"],
        invited["token"],
        cookie.partition("=")[2],
        csrf,
        control.admin_key,
        INTERNAL_TOKEN,
    ):
        assert secret not in everything
        assert secret.rpartition(".")[2] not in everything


@promise("access.migrated")
async def test_keys_that_are_older_than_users_are_the_first_admins(
    own_control: ControlService, tmp_path: Path
) -> None:
    control = own_control
    await control.end()
    key = control.admin_key
    for file in FOLDER.glob("000[1-5]_*.sql"):
        shutil.copy(file, tmp_path)
    async with fresh_database() as older:
        async with open_database(older) as database, database.session() as connection:
            assert await migrate(connection, tmp_path) == [1, 2, 3, 4, 5]
        made = "INSERT INTO api_keys (id, name, role, hash, created_by) VALUES ($1, $2, $2, $3, 'first start')"
        for role, shown in (("admin", key), ("viewer", "sb_" + "v" * 43)):
            await query(older, made, uuid4(), role, hashed(shown))
        control.settings["DATABASE_URL"] = older
        await control.start()
        first = (await control.request("GET", "/me", key=key)).body
        assert (first["user"]["handle"], first["role"], first["may_listen"]) == ("admin", "admin", True)
        viewer = (await control.request("GET", "/me", key="sb_" + "v" * 43)).body
        assert (viewer["user"], viewer["role"], viewer["may_listen"]) == (first["user"], "viewer", False)
        assert len((await control.request("GET", "/api-keys", key=key)).body["api_keys"]) == 2
        await control.end()


@promise("access.stored")
async def test_what_opens_a_door_is_stored_as_a_hash_alone(control: ControlService) -> None:
    zoe = await user(control, "zoe")
    token = await link(control, zoe["id"])
    browser = await signed_in(control, zoe["id"])
    key = (await control.request("POST", "/api-keys", json={"name": "z", "role": "viewer"})).body["key"]
    names = await query(control.database_url, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    stored = ""
    for table in names:
        rows = await query(control.database_url, f"SELECT t::text AS row FROM {table['name']} t")  # noqa: S608
        stored += "\n".join(row["row"] for row in rows)
    assert zoe["id"] in stored
    for secret in (token.partition(".")[2], browser.cookie.partition("=")[2], browser.csrf, key):
        assert secret not in stored
        assert secret.encode().hex() not in stored


@promise("access.first_link")
async def test_the_first_admins_link_is_in_a_closed_file_and_on_a_terminal_alone(own_control: ControlService) -> None:
    control = own_control

    async def printed(out: io.StringIO) -> str:
        stack = Stack(control.home, (), {}, {}, Urls(control=control.base), {})
        await asyncio.to_thread(StackPrinter(Console(file=out, highlight=False)).up, stack, 1.0)
        return out.getvalue()

    file = control.home / first_link.FILE
    for out in (io.StringIO(), Terminal()):
        said = await printed(out)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert str(file) in said
        assert (first_link.read(control.home) in said) == out.isatty()
    browser = Browser(control)
    assert (await browser.sign_in(first_link.read(control.home).partition("#")[2])).body["user"]["handle"] == "admin"
    assert str(file) not in await printed(Terminal())
    assert not file.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@promise("access.cli")
async def test_users_are_added_listed_let_in_and_removed_from_the_command_line(own_control: ControlService) -> None:
    control = own_control

    async def run(*words: str) -> tuple[int, str]:
        stack = LocalStack(control.home, {"CONTROL_URL": control.base})
        done = await asyncio.to_thread(stack.run, "user", *words)
        return done.returncode, done.stdout + done.stderr

    status, said = await run("add", "Ann@example.com", "--role", "operator", "--name", "Ann", "--may-listen")
    assert (status, said.splitlines()[0]) == (0, "ann@example.com: operator.")
    ann = Browser(control)
    entered = await ann.sign_in(said.splitlines()[1].partition("#")[2])
    assert (entered.status, entered.body["user"]["may_listen"]) == (200, True)
    status, said = await run("link", "admin")
    assert (status, (await Browser(control).sign_in(said.strip().partition("#")[2])).status) == (0, 200)
    listed = json.loads((await run("list", "--json"))[1])
    assert [(one["handle"], one["role"]) for one in listed] == [("admin", "admin"), ("ann@example.com", "operator")]
    assert "Ann" in (await run("list"))[1]
    for words, sentence in (
        (("add", "ann@example.com"), "There is a user ann@example.com already."),
        (("add", "b", "--role", "king"), "role: "),
        (("add", "not a handle"), "handle: "),
        (("link", "nobody"), "there is no user 'nobody'"),
        (("remove", "admin"), "admin is the last admin"),
    ):
        status, said = await run(*words)
        assert (status, said.count("\n")) == (2, 1), said
        assert sentence in said
    assert await run("remove", "ANN@example.com") == (0, "ann@example.com: removed.\n")
    assert (await ann.ask("GET", "/me")).status == 401
