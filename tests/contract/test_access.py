"""Users, sign-in, sessions and the audit log over HTTP: the real process, a real Postgres, a real Redis."""

import asyncio
import io
import json
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from rich.console import Console

from cli import first_link
from cli.report import StackPrinter
from local.stack import Stack
from local.state import Urls
from tests.browser import PROXY, Browser, link, own_address, signed_in, user
from tests.control_service import INTERNAL_TOKEN, Answer, ControlService, control_service
from tests.e2e.stack import LocalStack
from tests.facts import until
from tests.postgres_server import query
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


async def change(control: ControlService, statement: str, *args: object) -> None:
    """Changes what is stored, which is how time passes here."""
    connect: Any = asyncpg.connect
    connection = await connect(control.database_url)
    try:
        await connection.execute(statement, *args)
    finally:
        await connection.close()


@asynccontextmanager
async def users_held(control: ControlService, *, waiting: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """No user is changed while the body runs; gives what returns once so many requests wait for that."""
    connect: Any = asyncpg.connect
    connection = await connect(control.database_url)
    look = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def held_up() -> bool:
        return len(await query(control.database_url, look)) == waiting

    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users IN SHARE MODE")
            yield lambda: until(held_up)
    finally:
        await connection.close()


async def first_admin(control: ControlService) -> str:
    return str((await control.request("GET", "/me")).body["user"]["id"])


async def retry_after(answer: Answer) -> int:
    assert (answer.status, answer.body["code"]) == (429, "too_many"), answer
    return int(answer.headers["Retry-After"])


@promise("access.sign_in")
async def test_a_link_signs_in_once_and_looking_at_it_does_not_count(control: ControlService) -> None:
    ann = await user(control, "Ann@Example.com", "operator", name="Ann")
    assert (ann["handle"], ann["signed_in_at"]) == ("ann@example.com", None)
    made = (await control.request("POST", f"/users/{ann['id']}/links")).body
    assert made["link"] == f"{control.base}/sign-in#{made['token']}"
    browser = Browser(control)
    for method in ("GET", "GET", "HEAD"):
        looked = await browser.ask(method, "/sign-in")
        assert (looked.status, browser.cookie) == (200 if method == "GET" else 405, "")
    assert "default-src 'none'" in (await browser.ask("GET", "/sign-in")).headers["Content-Security-Policy"]
    entered = await browser.sign_in(made["token"])
    assert (entered.status, entered.body["user"]["name"]) == (200, "Ann")
    assert entered.headers["Cache-Control"] == "no-store"
    me = (await browser.ask("GET", "/me")).body
    assert (me["actor"], me["via"], me["role"]) == ("user:ann@example.com", "session", "operator")
    assert me["csrf_token"] == browser.csrf
    assert me["user"]["signed_in_at"] is not None
    again = await Browser(control).sign_in(made["token"])
    assert (again.status, again.body["code"]) == (401, "unauthorized")


@promise("access.sign_in")
async def test_of_many_who_use_one_link_at_once_one_comes_in(control: ControlService) -> None:
    ben = await user(control, "ben")
    token = await link(control, ben["id"])
    # As many as an account may try in a minute, over several processes' worth of connections.
    answers = await asyncio.gather(*(Browser(control).sign_in(token) for _ in range(5)))
    assert sorted(one.status for one in answers) == [200, 401, 401, 401, 401]


@promise("access.sign_in")
async def test_a_link_expires_after_ten_minutes_and_an_invite_after_seven_days(control: ControlService) -> None:
    late = await user(control, "late")
    for lasts, age, expected in (
        ("link", "590 s", 200),
        ("link", "601 s", 401),
        ("invite", "167 h", 200),
        ("invite", "169 h", 401),
    ):
        if lasts == "link":
            token = await link(control, late["id"])
        else:
            body = {"handle": f"late-{expected}", "role": "viewer"}
            token = (await control.request("POST", "/invites", json=body)).body["token"]
        await change(control, f"UPDATE sign_in_links SET expires_at = expires_at - interval '{age}'")  # noqa: S608
        assert (await Browser(control).sign_in(token)).status == expected, (lasts, age)
        assert (await Browser(control).sign_in(token)).status == 401


@promise("access.sign_in")
async def test_what_is_wrong_with_a_link_is_not_told(control: ControlService) -> None:
    eve = await user(control, "eve")
    token, gone = await link(control, eve["id"]), await link(control, eve["id"])
    assert (await Browser(control).sign_in(gone)).status == 200
    wrong_secret = token[:33] + "x" * 43
    never = f"{uuid4().hex}.{'y' * 43}"
    answers = [await Browser(control).sign_in(one) for one in (gone, wrong_secret, never, "", "nonsense", "\0" * 76)]
    assert {(one.status, json.dumps(one.body)) for one in answers} == {(401, json.dumps(answers[0].body))}
    assert (await Browser(control).ask("POST", "/sign-in", json={"token": 1})).status == 400
    assert (await Browser(control).ask("POST", "/sign-in", json={"token": "x" * 201})).status == 400


@promise("access.cookie")
async def test_the_cookie_is_closed_to_scripts_and_other_sites_and_over_https_to_the_wire(
    control: ControlService,
) -> None:
    kim = await user(control, "kim")
    plain = await Browser(control).sign_in(await link(control, kim["id"]))
    attributes = plain.headers["Set-Cookie"].lower()
    assert attributes.startswith("switchboard=")
    for said in ("httponly", "samesite=strict", "path=/", "max-age=604800"):
        assert said in attributes
    assert "secure" not in attributes
    secure = Browser(control, own_address() | {"X-Forwarded-Proto": "https"})
    answer = await secure.sign_in(await link(control, kim["id"]))
    assert answer.headers["Set-Cookie"].startswith("__Host-switchboard=")
    assert "secure" in answer.headers["Set-Cookie"].lower()
    assert (await secure.ask("GET", "/me")).status == 200
    # A cookie that another host of the domain could have set does not count over https.
    secure.cookie = secure.cookie.replace("__Host-", "")
    assert (await secure.ask("GET", "/me")).status == 401


@promise("access.cookie")
async def test_a_session_ends_when_it_idles_and_after_its_time_whatever_its_use(control: ControlService) -> None:
    lee = await user(control, "lee")
    for statement, expected in (
        ("last_used_at = last_used_at - interval '11 hours'", 200),
        ("last_used_at = last_used_at - interval '13 hours'", 401),
        ("expires_at = expires_at - interval '6 days'", 200),
        ("expires_at = expires_at - interval '7 days'", 401),
    ):
        browser = await signed_in(control, lee["id"])
        await change(control, f"UPDATE browser_sessions SET {statement} WHERE user_id = $1", lee["id"])  # noqa: S608
        assert (await browser.ask("GET", "/me")).status == expected, statement
        # Using it once more keeps it going.
        assert (await browser.ask("GET", "/calls")).status == expected, statement
        await change(control, "DELETE FROM browser_sessions WHERE user_id = $1", lee["id"])


@promise("access.csrf")
async def test_a_change_by_cookie_needs_the_token_of_that_session(control: ControlService) -> None:
    mia = await user(control, "mia", "operator")
    browser, other = await signed_in(control, mia["id"]), await signed_in(control, mia["id"])
    body: dict[str, Any] = {"json": {"number": "+15550199"}}
    assert (await browser.ask("GET", "/blocklist", forged=True)).status == 200
    refused = await browser.ask("POST", "/blocklist", forged=True, **body)
    assert (refused.status, "X-CSRFToken" in refused.body["message"]) == (403, True)
    for wrong in ("", "x", other.csrf, browser.csrf + "x", "\N{SNOWMAN}".encode().decode("latin-1")):
        refused = await browser.ask("POST", "/blocklist", headers={"X-CSRFToken": wrong}, **body)
        assert refused.status == 403, wrong
    assert (await browser.ask("POST", "/blocklist", **body)).status == 201
    assert (await browser.ask("DELETE", "/blocklist/+15550199", forged=True)).status == 403
    assert (await browser.ask("DELETE", "/blocklist/+15550199")).status == 204
    by_form = await other.ask("POST", "/sign-out", forged=True, data={"csrf_token": browser.csrf})
    assert by_form.status == 403
    by_form = await other.ask("POST", "/sign-out", forged=True, data={"csrf_token": other.csrf})
    assert (by_form.status, other.cookie) == (204, "")
    many = "&".join(f"a{at}=1" for at in range(200)) + f"&csrf_token={browser.csrf}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await browser.ask("POST", "/sign-out", forged=True, data=many, headers=form)).status == 403


@promise("access.csrf")
async def test_a_key_needs_no_token_and_a_page_of_another_site_signs_nobody_in(control: ControlService) -> None:
    nia = await user(control, "nia")
    browser = await signed_in(control, nia["id"])
    key = f"Bearer {control.admin_key}"
    # What is in the header counts, and a key that is not good is not mended by a cookie.
    body: dict[str, Any] = {"json": {"handle": "by-key", "role": "viewer"}}
    assert (await browser.ask("POST", "/users", forged=True, headers={"Authorization": key}, **body)).status == 201
    assert (await browser.ask("GET", "/me", headers={"Authorization": "Bearer sb_none"})).status == 401
    token = await link(control, nia["id"])
    for site in ("cross-site", "same-site"):
        refused = await Browser(control).ask(
            "POST", "/sign-in", json={"token": token}, headers={"Sec-Fetch-Site": site}
        )
        assert refused.status == 403
    as_text = {"Content-Type": "text/plain"}
    refused = await Browser(control).ask("POST", "/sign-in", data=json.dumps({"token": token}), headers=as_text)
    assert refused.status == 400
    same = await Browser(control).ask(
        "POST", "/sign-in", json={"token": token}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert same.status == 200


@promise("access.revoked")
async def test_sessions_are_listed_and_revoked_one_by_one_and_all_at_once(control: ControlService) -> None:
    oda = await user(control, "oda")
    first, second, third = [await signed_in(control, oda["id"]) for _ in range(3)]
    listed = (await first.ask("GET", "/browser-sessions")).body["browser_sessions"]
    assert [one["current"] for one in listed] == [False, False, True]
    assert {one["user_id"] for one in listed} == {oda["id"]}
    assert (await first.ask("DELETE", f"/browser-sessions/{listed[1]['id']}")).status == 204
    assert (await second.ask("GET", "/me")).status == 401
    assert (await first.ask("DELETE", f"/browser-sessions/{listed[1]['id']}")).status == 404
    unused = await link(control, oda["id"])
    assert (await first.ask("DELETE", "/browser-sessions")).status == 204
    for browser in (first, third):
        assert (await browser.ask("GET", "/me")).status == 401
    assert (await Browser(control).sign_in(unused)).status == 401
    fourth = await signed_in(control, oda["id"])
    seen = (await control.request("GET", f"/browser-sessions?user_id={oda['id']}")).body["browser_sessions"]
    assert len(seen) == 1
    assert (await control.request("DELETE", f"/browser-sessions?user_id={oda['id']}")).status == 204
    assert (await fourth.ask("GET", "/me")).status == 401
    assert (await control.request("GET", f"/browser-sessions?user_id={uuid4()}")).status == 404


@promise("access.revoked")
async def test_signing_out_ends_the_session_for_whoever_has_its_cookie(control: ControlService) -> None:
    pia = await user(control, "pia")
    browser, other = await signed_in(control, pia["id"]), await signed_in(control, pia["id"])
    kept = browser.cookie
    assert (await browser.ask("POST", "/sign-out")).status == 204
    assert browser.cookie == ""
    browser.cookie = kept
    assert (await browser.ask("GET", "/me")).status == 401
    assert (await other.ask("GET", "/me")).status == 200
    assert (await control.request("POST", "/sign-out")).status == 400


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
        await change(control, "UPDATE users SET role = 'viewer' WHERE handle = 'admin'")
        more: dict[str, Any] = {} if how == "removed" else {"json": {"role": "viewer"}}
        method = "DELETE" if how == "removed" else "PATCH"
        async with users_held(control, waiting=2) as both_came_in:
            asked = asyncio.gather(
                browsers[0].ask(method, f"/users/{other['id']}", **more),
                browsers[1].ask(method, f"/users/{one['id']}", **more),
            )
            await both_came_in()
        answers = await asked
        assert sorted(answer.status for answer in answers) == [204 if how == "removed" else 200, 409], how
        left = await query(control.database_url, "SELECT 1 FROM users WHERE role = 'admin' AND removed_at IS NULL")
        assert len(left) == 1
        await change(control, "UPDATE users SET role = 'admin' WHERE handle = 'admin'")
        await change(control, "UPDATE users SET removed_at = now() WHERE handle <> 'admin' AND removed_at IS NULL")


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


@promise("access.throttle")
async def test_tries_are_limited_for_an_account_from_wherever_they_come(own_control: ControlService) -> None:
    control = own_control
    tess, uma = await user(control, "tess"), await user(control, "uma")
    token = await link(control, tess["id"])
    wrong = token[:33] + "x" * 43
    for _ in range(5):
        assert (await Browser(control).sign_in(wrong)).status == 401
    assert 0 < await retry_after(await Browser(control).sign_in(token)) <= 60
    assert (await Browser(control).sign_in(await link(control, uma["id"]))).status == 200
    # A link that never was is counted as one that is, so that nobody can tell them apart.
    never = f"{uuid4().hex}.{'y' * 43}"
    assert [(await Browser(control).sign_in(never)).status for _ in range(6)] == [401] * 5 + [429]


@promise("access.throttle")
async def test_tries_are_limited_for_an_address_with_redis_and_without(own_control: ControlService) -> None:
    control = own_control
    address, other = own_address(), own_address()
    tries = [await Browser(control, address).sign_in("nonsense") for _ in range(21)]
    assert [one.status for one in tries] == [401] * 20 + [429]
    assert 0 < await retry_after(tries[-1]) <= 60
    await control.redis.stop()
    assert (await Browser(control, address).sign_in("nonsense")).status == 429
    vera = await user(control, "vera")
    assert (await Browser(control, other).sign_in(await link(control, vera["id"]))).status == 200
    more = [await Browser(control, other).sign_in("nonsense") for _ in range(20)]
    assert [one.status for one in more] == [401] * 19 + [429]
    await control.redis.start()
    assert (await Browser(control).sign_in(await link(control, vera["id"]))).status == 200
    assert control.log().count("sign_ins_counted_alone") == 1


@promise("access.throttle")
async def test_what_somebody_says_of_their_address_counts_from_a_trusted_proxy_alone() -> None:
    async with control_service() as control:
        tries = [await Browser(control).sign_in("nonsense") for _ in range(21)]
        assert [one.status for one in tries] == [401] * 20 + [429]
        over_https = Browser(control, own_address() | {"X-Forwarded-Proto": "https"})
        assert (await over_https.sign_in("nonsense")).status == 429
        other = Browser(control)
        assert (await other.ask("GET", "/sign-in")).status == 200


@promise("access.throttle")
async def test_processes_count_tries_together_and_a_hanging_redis_holds_nobody_up(
    own_control: ControlService,
) -> None:
    control = own_control
    address = own_address()
    assert [(await Browser(control, address).sign_in("x")).status for _ in range(20)] == [401] * 20
    # Another process knows what this one counted.
    await control.end()
    await control.start()
    assert (await Browser(control, address).sign_in("x")).status == 429
    walt = await user(control, "walt")
    token = await link(control, walt["id"])
    control.redis.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            assert (await Browser(control).sign_in(token)).status == 200
    finally:
        control.redis.signal(signal.SIGCONT)


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
