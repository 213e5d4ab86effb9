"""Signing in, sessions, forged changes and limits over HTTP: the real process, a real Postgres, a real Redis."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.browser import PROXY, Browser, link, own_address, signed_in, user
from tests.control_service import Answer, ControlService, control_service
from tests.postgres_server import query
from tests.promises import promise

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        await query(control.database_url, f"UPDATE sign_in_links SET expires_at = expires_at - interval '{age}'")  # noqa: S608
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
        await query(control.database_url, f"UPDATE browser_sessions SET {statement} WHERE user_id = $1", lee["id"])  # noqa: S608
        assert (await browser.ask("GET", "/me")).status == expected, statement
        # Using it once more keeps it going.
        assert (await browser.ask("GET", "/calls")).status == expected, statement
        await query(control.database_url, "DELETE FROM browser_sessions WHERE user_id = $1", lee["id"])


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
