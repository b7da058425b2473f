"""The pages of administration: who gets in, who may what, that a change is what was previewed, and text stays text."""

import re
import threading
from pathlib import Path

import pyotp
import pytest

from adminkit import COOKIE, HOST, PASSWORD, Browser, cheap_hashes, events, hidden, logged_in, users
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.errors import Unavailable
from spamcannibal.neverfile import LazyGuard
from spamcannibal.record import Cause
from spamcannibal.removal import Request
from spamcannibal.store.stores import Hearsay, NewListing
from spamcannibal.web import admin_list, pointers
from spamcannibal.web.admin import own_path
from spamcannibal.web.admin_access import RIGHTS
from spamcannibal.web.csrf import token
from spamcannibal.web.pasted import key_text, read_pasted
from spamcannibal.web.pointers import Pointers
from spamcannibal.web.removal_post import removals
from spamcannibal.web.signin import SignIn
from spamcannibal.web.users import ROLES, Role
from storekit import check_whole
from webkit import NOW, client, make_site

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "{{ 7*7 }}{% raw %}",
    "\u202eevil\u2066",
    "\x00\x1b[31m\x7f",
    "javascript:alert(1)",
    "a\r\nSet-Cookie: x=y",
    "\ud800" * 3,
    "x" * 5000,
    "../../etc/passwd",
    "%0d%0aX: y",
]


@pytest.fixture(autouse=True, scope="module")
def hashes():
    with cheap_hashes():
        yield


@pytest.fixture
def site(tmp_path):
    (tmp_path / "never-list").write_text("198.51.100.0/24\n# a remark\n")
    with make_site(tmp_path / "store", guard={"never_list": str(tmp_path / "never-list")}) as site:
        site.store.guard = LazyGuard(site.settings)
        yield site


def list_(site, *texts, **options):
    options.setdefault("source", "test")
    site.store.list([NewListing(parse_key(each), **options) for each in texts], site.clock())


def is_listed(site, text):
    return site.store.get_key(parse_key(text)) is not None


def last(site):
    return site.store.change(site.store.last_seq())


# Who may what.


def routes(site):
    """Give (endpoint, method, path) of every route below /admin, its variables filled in."""
    values = {"text": "192.0.2.7", "name": "nobody", "id_": "abc"}
    for rule in client(site).application.url_map.iter_rules():
        if rule.rule.startswith("/admin"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], rule.rule)
            for method in sorted(rule.methods - {"OPTIONS"}):
                yield rule.endpoint, method, path


def test_every_route_has_its_rights_and_every_right_a_route(site):
    found = {(endpoint, method) for endpoint, method, _ in routes(site) if method != "HEAD"}
    assert found == {(endpoint, method) for endpoint, rights in RIGHTS.items() for method in rights}


@pytest.mark.parametrize("role", [None, *ROLES])
def test_every_route_is_for_its_roles_and_no_other(site, role):
    users(site).add("keeper", "owner", PASSWORD, NOW)
    for endpoint, method, path in routes(site):
        browser = logged_in(site, role) if role else Browser(site)
        browser.get("/admin/login")
        least = RIGHTS[endpoint]["GET" if method == "HEAD" else method]
        data = {"token": token(browser.secret)} if method == "POST" else None
        answer = browser.web.open(path, method=method, data=data, base_url=f"http://{HOST}")
        where = f"{role} {method} {path}: {answer.status_code}"
        assert answer.status_code < 500, where
        if least is None or (role and Role[role.upper()] >= least):
            assert answer.status_code not in (401, 405), where
            assert "Only who is" not in answer.text, where
            assert "/login" not in answer.headers.get("Location", "") or endpoint == "admin.logout", where
        elif role is None and method in ("GET", "HEAD"):
            assert answer.status_code == 303, where
            assert "/admin/login" in answer.headers["Location"], where
        else:
            assert answer.status_code == (403 if role else 401), where


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_is_taken(site, method):
    for path in ("/admin/", "/admin/add", "/admin/login"):
        assert logged_in(site, "owner").web.open(path, method=method, base_url=f"http://{HOST}").status_code == 405


def test_a_get_changes_nothing(site):
    list_(site, "192.0.2.7")
    before = site.store.env.read(lambda: site.store.env.db("journal").items())
    names = [name for name, _ in users(site).all()]
    owner = logged_in(site, "owner")
    for _, method, path in routes(site):
        if method == "GET":
            for query in ("?do=remove&lines=192.0.2.7&reason=x", "?draft=x", "?at=192.0.2.7"):
                owner.get(path + query)
    assert site.store.env.read(lambda: site.store.env.db("journal").items()) == before
    assert [name for name, _ in users(site).all()] == [*names, "owner"]


# Getting in.


def test_without_users_the_page_says_how_to_make_the_first(site):
    page = Browser(site).get("/admin/", follow_redirects=True)
    assert "spamcannibal user add" in page.text


def test_a_login_begins_a_new_session_and_ends_the_old(site):
    browser = logged_in(site, "owner")
    old = browser.secret
    browser.web.set_cookie(COOKIE, "planted-by-somebody", domain=HOST)
    answer = browser.post("/admin/login", {"user": "owner", "password": PASSWORD})
    assert answer.status_code == 303
    assert browser.secret not in ("planted-by-somebody", old)
    cookies = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith(f"{COOKIE}=")]
    assert len(cookies) == 1
    assert "HttpOnly" in cookies[0]
    assert "SameSite=Strict" in cookies[0]
    planted = Browser(site, "planted-by-somebody")
    assert planted.get("/admin/").status_code == 303
    assert browser.get("/admin/").status_code == 200


def test_logout_ends_the_session_also_for_who_kept_the_cookie(site):
    browser = logged_in(site, "viewer")
    thief = Browser(site, browser.secret)
    assert thief.get("/admin/").status_code == 200
    assert browser.post("/admin/logout").status_code == 303
    assert browser.secret == ""
    assert thief.get("/admin/").status_code == 303


def test_waiting_does_not_tell_which_names_there_are(site):
    for name in ("alice", "bob"):
        users(site).add(name, "viewer", PASSWORD, NOW)
    door = SignIn(site)
    other = next(name for name in ("somebody", "anybody") if door._mark(name) != door._mark("nobody"))
    for name in ("nobody", "alice"):
        browser = Browser(site)
        answers = [browser.log_in(name, "wrong password").status_code for _ in range(7)]
        assert answers == [403] * 5 + [429] * 2
    assert Browser(site).log_in(other, "wrong password").status_code == 403
    assert Browser(site).log_in("bob", "wrong password").status_code == 403


def test_guessing_is_answered_alike_then_has_to_wait(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    browser = Browser(site)
    answers = [browser.log_in("alice", "wrong" * 4), browser.log_in("nobody", "wrong" * 4)]
    assert [answer.status_code for answer in answers] == [403, 403]
    told = [re.search(r'class="error"[^>]*>([^<]*)', answer.text)[1] for answer in answers]
    assert told[0] == told[1]
    for _ in range(5):
        last_answer = browser.log_in("alice", "wrong" * 4)
    assert last_answer.status_code == 429
    assert int(last_answer.headers["Retry-After"]) > 0
    assert browser.log_in("alice").status_code == 429
    site.clock.now += 31
    assert browser.log_in("alice").status_code == 303
    lines = events(site, "LOGIN")
    assert all("ok=false" in line for line in lines[:-1])
    assert not any("wrong" * 4 in line or PASSWORD in line for line in site.log._stream.getvalue().splitlines())


def test_strange_passwords_are_wrong_ones(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    browser = Browser(site)
    for password in ("\0" * 50, "x" * 200_000, PASSWORD + "\0", "\ud800" * 20, "", "é" * 512):
        site.clock.now += 4000
        browser.get("/admin/login")
        data = {"user": "alice", "password": password.encode("utf-8", "surrogatepass")}
        answer = browser.post("/admin/login", data)
        assert answer.status_code == 403
        assert "wrong" in answer.text


def test_strange_names_are_wrong_ones(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    for name in (*HOSTILE, "Alice\u0130", "\u0430lice", "alice\n", "*", ""):
        site.clock.now += 4000
        browser = Browser(site)
        browser.get("/admin/login")
        answer = browser.post("/admin/login", {"user": name.encode("utf-8", "replace"), "password": PASSWORD})
        # Blanks around a name are the keyboard's, not a name's.
        assert answer.status_code == (303 if name.strip() == "alice" else 403)


ELSEWHERE = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "/admin/\\..\\..",
    "/admin//evil.example",
    "/admin/../..//evil.example",
    "/admin@evil.example",
    "/adminx",
    "/",
    "javascript:alert(1)",
    "/admin/\r\nX: y",
    "/admin/?x=<script>",
    "",
]


def test_a_login_leads_to_a_page_of_ours_only(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    for path in ELSEWHERE:
        assert own_path(path) == ""
        answer = Browser(site).log_in("alice", next=path)
        assert answer.status_code == 303
        assert answer.headers["Location"] == "/admin/"


def test_a_login_leads_where_one_wanted_to(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    browser = Browser(site)
    answer = browser.get("/admin/journal?source=gather:*&since=24h")
    login = browser.web.get(answer.headers["Location"], base_url=f"http://{HOST}")
    answer = browser.post("/admin/login", {"user": "alice", "password": PASSWORD, "next": hidden(login.text, "next")})
    assert answer.headers["Location"] == "/admin/journal?source=gather:*&since=24h"


def test_under_a_prefix_all_stays_below_it(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    browser = Browser(site)
    base = f"http://{HOST}/cgi-bin/cannibal.cgi"
    browser.web.get("/admin/login", base_url=base)
    data = {"user": "alice", "password": PASSWORD, "next": "/admin/list", "token": token(browser.secret)}
    answer = browser.web.post("/admin/login", data=data, base_url=base)
    assert answer.headers["Location"] == "/cgi-bin/cannibal.cgi/admin/list"
    assert browser.web.get("/admin/list", base_url=base).status_code == 200


# Requests that were not meant.


def test_a_form_needs_the_token_of_its_session(site):
    list_(site, "192.0.2.7")
    editor, other = logged_in(site, "editor"), logged_in(site, "owner")
    data = {"lines": "192.0.2.7", "reason": "x"}
    for wrong in ("", "x", "0" * 64, token(other.secret), token(""), "\xff"):
        answer = editor.post("/admin/remove", {**data, "token": wrong})
        assert answer.status_code == 403
    assert (
        editor.web.post(f"/admin/remove?token={token(editor.secret)}", data=data, base_url=f"http://{HOST}").status_code
        == 403
    )
    assert editor.post("/admin/remove", data).status_code == 200
    assert len(events(site, "LOGIN")) == 7


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}.evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/admin/remove", "/admin/logout", "/admin/login"])
def test_what_another_site_sends_is_refused(site, path, headers):
    editor = logged_in(site, "editor")
    assert editor.post(path, {"user": "editor", "password": PASSWORD}, headers=headers).status_code == 403
    assert editor.get("/admin/").status_code == 200


def test_a_login_form_needs_a_token_too(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    data = {"user": "alice", "password": PASSWORD}
    assert Browser(site).web.post("/admin/login", data=data, base_url=f"http://{HOST}").status_code == 403
    browser = Browser(site)
    browser.get("/admin/login")
    assert browser.post("/admin/login", {**data, "token": token("")}).status_code == 403


# Over which wire.


def ask(site, base, headers=None, remote="127.0.0.1"):
    return client(site).get(
        "/admin/login", base_url=base, headers=headers or {}, environ_overrides={"REMOTE_ADDR": remote}
    )


@pytest.mark.parametrize(
    ("base", "headers", "url", "cookie", "is_safe"),
    [
        ("http://127.0.0.1:8025", {}, "", "spamcannibal=", True),
        ("http://localhost:8025", {}, "", "spamcannibal=", True),
        ("http://[::1]:8025", {}, "", "spamcannibal=", True),
        ("http://127.0.0.1:8025", {}, "https://bl.example", "spamcannibal=", True),
        ("http://127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, "", "__Host-spamcannibal=", False),
        ("http://bl.example", {"X-Forwarded-For": "192.0.2.1"}, "", "__Host-spamcannibal=", False),
        (
            "http://bl.example",
            {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"},
            "",
            "__Host-spamcannibal=",
            True,
        ),
        ("http://bl.example", {"X-Forwarded-For": "192.0.2.1"}, "https://bl.example", "__Host-spamcannibal=", True),
        ("https://bl.example", {}, "", "__Host-spamcannibal=", True),
        ("http://evil@127.0.0.1.example", {}, "", "__Host-spamcannibal=", False),
    ],
)
def test_cookies_fit_the_wire_and_passwords_go_over_no_open_one(tmp_path, base, headers, url, cookie, is_safe):
    with make_site(tmp_path / "store", web={"url": url}) as site:
        answer = ask(site, base, headers)
        line = answer.headers["Set-Cookie"]
        assert line.startswith(cookie)
        assert ("Secure" in line) is cookie.startswith("__Host-")
        assert "Path=/" in line
        assert "Domain" not in line
        assert ('name="password"' in answer.text) is is_safe


def test_who_is_no_proxy_does_not_say_that_it_is_https(tmp_path):
    with make_site(tmp_path / "store", web={"proxies": ("127.0.0.1",)}) as site:
        answer = ask(site, "http://bl.example", {"X-Forwarded-Proto": "https"}, "192.0.2.1")
        assert 'name="password"' not in answer.text


def test_only_named_networks_may_come(tmp_path):
    with make_site(tmp_path / "store", admin={"nets": ("192.0.2.0/24",)}) as site:
        web = client(site)
        for forwarded, status in (("192.0.2.7", 200), ("203.0.113.1", 403), ("2001:db8::1", 403)):
            assert web.get("/admin/login", headers={"X-Forwarded-For": forwarded}).status_code == status


def test_administration_can_be_switched_off(tmp_path):
    with make_site(tmp_path / "store", admin={"enabled": False}) as site:
        assert client(site).get("/admin/login").status_code == 404
        assert client(site).get("/admin/").status_code == 404


# A proxy that vouches.


def by_proxy(browser, path, name, remote="127.0.0.1", **options):
    headers = {"X-Remote-User": name} if name is not None else {}
    overrides = {"REMOTE_ADDR": remote}
    return browser.web.get(path, base_url=f"http://{HOST}", headers=headers, environ_overrides=overrides, **options)


def test_a_trusted_proxy_names_who_it_let_in(tmp_path):
    with make_site(tmp_path / "store", admin={"proxy_header": "X-Remote-User"}) as site:
        users(site).add("alice", "editor", PASSWORD, NOW)
        browser = Browser(site)
        assert "alice, editor" in by_proxy(browser, "/admin/", "alice").text
        secret = browser.secret
        assert by_proxy(browser, "/admin/add", "alice").status_code == 200
        assert browser.secret == secret
        assert by_proxy(browser, "/admin/users/", "alice").status_code == 403
        assert by_proxy(browser, "/admin/", None).status_code == 303, "the session is the proxy's to vouch for"
        for name in ("mallory", "alice, alice", "ALICE", "alice\x00", ".*", ""):
            assert by_proxy(Browser(site), "/admin/", name.replace("\x00", "%00")).status_code == 303
        assert by_proxy(Browser(site), "/admin/", "alice", "203.0.113.9").status_code == 303


def test_the_field_means_nothing_unless_it_is_asked_for(site):
    users(site).add("alice", "owner", PASSWORD, NOW)
    assert by_proxy(Browser(site), "/admin/", "alice").status_code == 303


# The account, and users.


def test_a_new_password_needs_the_old_and_ends_other_sessions(site):
    browser, other = logged_in(site, "viewer"), logged_in(site, "viewer")
    new = "an even better one"
    assert browser.post("/admin/account/password", {"password": "no", "new": new, "again": new}).status_code == 400
    wrong = {"password": PASSWORD, "new": new, "again": "other"}
    assert browser.post("/admin/account/password", wrong).status_code == 400
    weak = {"password": PASSWORD, "new": "short", "again": "short"}
    assert "too short" in browser.post("/admin/account/password", weak).text
    old = browser.secret
    answer = browser.post("/admin/account/password", {"password": PASSWORD, "new": new, "again": new})
    assert answer.status_code == 303
    assert browser.secret != old
    assert browser.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 303
    assert Browser(site, old).get("/admin/").status_code == 303
    assert Browser(site).log_in("viewer", new).status_code == 303


def test_a_stolen_session_does_not_guess_the_password(site):
    browser = logged_in(site, "viewer")
    for _ in range(6):
        answer = browser.post("/admin/account/password", {"password": "guess", "new": "x", "again": "x"})
    assert "wait" in answer.text


def test_one_time_codes_are_proven_before_they_are_asked_for(site):
    browser = logged_in(site, "viewer")
    page = browser.get("/admin/account/").text
    secret = re.search(r"<dd class=\"mono\">([A-Z2-7]{32})<", page)[1]
    assert f"secret={secret}" in page
    assert "<svg" in page
    given = {"password": PASSWORD, "draft": hidden(page, "draft")}
    assert browser.post("/admin/account/code", {**given, "code": "000000"}).status_code == 400
    page = browser.get("/admin/account/").text
    secret = re.search(r"<dd class=\"mono\">([A-Z2-7]{32})<", page)[1]
    code = pyotp.TOTP(secret).at(NOW)
    given = {"password": PASSWORD, "draft": hidden(page, "draft"), "code": code}
    assert browser.post("/admin/account/code", given).status_code == 303
    assert Browser(site).log_in("viewer").status_code == 403
    assert Browser(site).log_in("viewer", code=code).status_code == 403, "it was used to prove the secret"
    site.clock.now += 60
    fresh = pyotp.TOTP(secret).at(NOW + 60)
    assert Browser(site).log_in("viewer", code=fresh).status_code == 303
    assert browser.post("/admin/account/code", {"password": PASSWORD}).status_code == 303
    assert Browser(site).log_in("viewer").status_code == 303
    assert secret not in site.log._stream.getvalue()


def test_an_owner_makes_changes_and_removes_users(site):
    owner = logged_in(site, "owner")
    new = {"user": "bob", "role": "viewer", "new": PASSWORD, "again": PASSWORD, "password": PASSWORD}
    assert owner.post("/admin/users/", {**new, "password": "no"}).status_code == 403
    assert owner.post("/admin/users/", {**new, "user": "Bob"}).status_code == 400
    assert owner.post("/admin/users/", {**new, "role": "king"}).status_code == 400
    assert owner.post("/admin/users/", new).status_code == 303
    bob = logged_in(site, "viewer", "bob")
    assert bob.get("/admin/").status_code == 200
    assert owner.post("/admin/users/bob", {"do": "role", "role": "editor", "password": PASSWORD}).status_code == 303
    assert bob.get("/admin/").status_code == 303, "his role is another: he logs in again"
    bob = logged_in(site, "editor", "bob")
    assert owner.post("/admin/users/bob", {"do": "remove", "password": PASSWORD}).status_code == 303
    assert bob.get("/admin/").status_code == 303
    for data in ({"do": "remove"}, {"do": "role", "role": "viewer"}, {"do": "nonsense"}):
        assert owner.post("/admin/users/owner", {**data, "password": PASSWORD}).status_code == 400
    users(site).add("eve", "owner", PASSWORD, NOW)
    secret = owner.secret
    assert owner.post("/admin/users/owner", {"do": "role", "role": "viewer", "password": PASSWORD}).status_code == 303
    assert owner.secret != secret
    assert owner.get("/admin/").status_code == 200
    assert owner.get("/admin/users/").status_code == 403
    assert any("does=user" in line and "whom=bob" in line for line in events(site, "ADMIN"))


# Adding and removing.


def add(browser, lines, **fields):
    data = {"lines": lines, "text": "spam", "mode": "default", "publish": "1", **fields}
    return browser.post("/admin/add", data)


def confirm(browser, page):
    return browser.post("/admin/confirm", {"draft": hidden(page.text, "draft")})


def test_what_was_previewed_is_what_is_listed_once_by_whom(site):
    editor = logged_in(site, "editor")
    list_(site, "192.0.2.128", "192.0.2.0/25")
    site.store.archive([(parse_addr("192.0.2.200"), 3, int(NOW * 1000), int(NOW * 1000))])
    seq = site.store.last_seq()
    page = add(
        editor,
        "192.0.2.0/24 # the net\n203.0.113.9, 198.51.100.7\n2001:db8::1",
        evidence="From: x\n\nbuy",
        expires="2d",
    )
    assert page.status_code == 200
    assert "198.51.100.0/24" in page.text
    assert re.search(r"1 addresses that connected", page.text)
    assert site.store.last_seq() == seq
    done = confirm(editor, page)
    assert "3 of 3" in done.text
    assert is_listed(site, "192.0.2.0/24")
    assert is_listed(site, "2001:db8::/64")
    assert not is_listed(site, "198.51.100.7")
    change = last(site)
    assert (change.source, change.text) == ("admin:editor", "spam")
    listing = site.store.get_key(parse_key("203.0.113.9"))
    assert listing.expiry_ms == int((NOW + 2 * 86400) * 1000)
    assert site.store.evidence(parse_key("203.0.113.9"))[0].body == b"From: x\n\nbuy"
    again = confirm(editor, page)
    assert again.status_code == 400
    assert "confirmed before" in again.text
    check_whole(site.store)


def test_a_preview_is_of_one_session_and_one_kind(site):
    list_(site, "192.0.2.7")
    editor, other = logged_in(site, "editor"), logged_in(site, "owner")
    page = editor.post("/admin/remove", {"lines": "192.0.2.7", "reason": "a mistake"})
    assert confirm(other, page).status_code == 400
    assert other.post("/admin/never/save", {"draft": hidden(page.text, "draft")}).status_code == 400
    site.clock.now += 1801
    editor = logged_in(site, "editor")
    assert confirm(editor, page).status_code == 400
    assert is_listed(site, "192.0.2.7")


def test_of_two_who_confirm_at_once_one_does_it(site):
    list_(site, "192.0.2.7")
    editor = logged_in(site, "editor")
    page = editor.post("/admin/remove", {"lines": "192.0.2.7", "reason": "a mistake"})
    found = []
    browsers = [Browser(site, editor.secret) for _ in range(4)]
    threads = [threading.Thread(target=lambda b=b: found.append(confirm(b, page).status_code)) for b in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 400, 400, 400]


def test_the_never_list_is_asked_again_when_it_is_done(site):
    editor = logged_in(site, "editor")
    page = add(editor, "192.0.2.7 192.0.2.8")
    Path(site.settings.guard.never_list).write_text("192.0.2.8\n")
    answer = confirm(editor, page)
    assert answer.status_code == 400
    assert "192.0.2.8" in answer.text
    assert not is_listed(site, "192.0.2.7")


def test_a_removal_needs_a_reason_and_takes_just_what_was_named(site):
    list_(site, "192.0.2.7", "192.0.2.0/24")
    editor = logged_in(site, "editor")
    assert editor.post("/admin/remove", {"lines": "192.0.2.7"}).status_code == 400
    page = editor.post("/admin/remove", {"lines": "192.0.2.7 192.0.2.9", "reason": "cleaned up"})
    assert "1, with their evidence" in page.text
    assert "1 of 1" in confirm(editor, page).text
    assert not is_listed(site, "192.0.2.7")
    assert is_listed(site, "192.0.2.0/24")
    assert (last(site).source, last(site).text) == ("admin:editor", "cleaned up")


def test_bad_lines_are_named_and_nothing_is_done(site):
    editor = logged_in(site, "editor")
    page = add(editor, "192.0.2.7\n\n192.0.2.300\n10.0.0.1/8\nevil<script>")
    assert page.status_code == 400
    for number in (3, 4, 5):
        assert f"Line {number}:" in page.text
    assert "<script>" not in page.text
    assert "192.0.2.7" in page.text, "what was pasted stays in the form"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text": ""}, "Say why"),
        ({"text": "x" * 2000}, "too long"),
        ({"evidence": "x" * 20_000}, "too long"),
        ({"expires": "soon"}, "no duration"),
        ({"mode": "nuke"}, "no such way"),
        ({"lines": " \n#\n"}, "at least one"),
    ],
)
def test_a_form_that_is_wrong_says_so(site, fields, says):
    answer = add(logged_in(site, "editor"), **{"lines": "192.0.2.7", **fields})
    assert answer.status_code == 400
    assert says in answer.text


def test_many_lines_are_taken_up_to_the_limit(tmp_path):
    with make_site(tmp_path / "store", admin={"lines": 2500}) as site:
        editor = logged_in(site, "editor")
        lines = [f"203.{n // 250}.{n % 250}.7" for n in range(2501)]
        assert add(editor, "\n".join(lines)).status_code == 400
        page = add(editor, "\n".join(lines[:2500]))
        assert "2500 of 2500" in confirm(editor, page).text
        assert site.store.counts()["tarpit"] == 2500


def test_marked_addresses_are_handed_on(site):
    editor = logged_in(site, "editor")
    page = editor.web.post(
        "/admin/add?from=marked",
        base_url=f"http://{HOST}",
        data={"token": token(editor.secret), "lines": ["192.0.2.1", "192.0.2.2"]},
    )
    assert "192.0.2.1\n192.0.2.2" in page.text


def test_pasted_words_are_read_as_list_add_reads_them():
    text = "192.0.2.1\r\n2001:db8::1 2001:db8::2/128;10.0.0.0/8,192.0.2.1 # x y z\nbad\n"
    found = read_pasted(text, 64, 10)
    assert [key_text(key, True) for key in found.keys] == [
        "192.0.2.1",
        "2001:db8::/64",
        "2001:db8::2/128",
        "10.0.0.0/8",
    ]
    assert [number for number, _ in found.mistakes] == [3]
    assert read_pasted("x\n" * 1000, 64, 10).wrong == 1000
    assert len(read_pasted("x\n" * 1000, 64, 10).mistakes) == 50


# The journal, and undo.


def test_what_was_done_can_be_taken_back_as_it_was_previewed(site):
    list_(site, "192.0.2.7", text="first", source="gather:a")
    list_(site, "192.0.2.8", source="gather:a")
    site.store.unlist([parse_key("192.0.2.7")], "admin:x", "oops", NOW)
    editor = logged_in(site, "editor")
    page = editor.get("/admin/journal?source=admin:*").text
    assert re.findall(r'name="seq" value="(\d+)"', page) == ["3"]
    assert editor.post("/admin/undo", {"seq": "3"}).status_code == 400, "no reason"
    page = editor.post("/admin/undo", {"seq": "3", "reason": "it still spams"})
    assert "listed" in page.text
    assert confirm(editor, page).status_code == 200
    assert is_listed(site, "192.0.2.7")
    assert last(site).source == "admin:editor"
    page = editor.post("/admin/undo", {"source": "gather:*", "since": "#0", "reason": "gone mad"})
    assert "change 4 by admin:editor is newer" in page.text
    confirm(editor, page)
    assert is_listed(site, "192.0.2.7")
    assert not is_listed(site, "192.0.2.8")
    check_whole(site.store)


def test_an_undo_is_not_done_if_it_would_be_another_by_now(site):
    list_(site, "192.0.2.7")
    editor = logged_in(site, "editor")
    page = editor.post("/admin/undo", {"seq": "1", "reason": "x"})
    site.store.unlist([parse_key("192.0.2.7")], "admin:x", "y", NOW)
    list_(site, "192.0.2.7", text="again")
    answer = confirm(editor, page)
    assert "changed meanwhile" in answer.text
    assert is_listed(site, "192.0.2.7")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"seq": "x"},
        {"seq": "99"},
        {"seq": "-1"},
        {"source": "x"},
        {"source": "x", "since": "soon"},
        {"seq": "9" * 40},
    ],
)
def test_an_undo_of_nothing_is_refused(site, data):
    assert logged_in(site, "editor").post("/admin/undo", {"reason": "x", **data}).status_code in (400, 503)


# The never-list.


def test_an_owner_edits_the_never_list(site):
    path = Path(site.settings.guard.never_list)
    list_(site, "192.0.2.7")
    owner = logged_in(site, "owner")
    assert "198.51.100.0/24" in owner.get("/admin/never/").text
    wrong = owner.post("/admin/never/", {"text": "192.0.2.0/23x\n@nonsense\n"})
    assert wrong.status_code == 400
    assert "never-list:1:" in wrong.text
    assert "never-list:2:" in wrong.text
    page = owner.post("/admin/never/", {"text": "192.0.2.0/24\r\n# new\r\n"})
    assert "192.0.2.7" in page.text
    assert path.read_text().startswith("198.51.100.0/24")
    mode = path.stat().st_mode
    done = owner.post("/admin/never/save", {"draft": hidden(page.text, "draft")})
    assert "Saved" in done.text
    assert path.read_text() == "192.0.2.0/24\n# new\n"
    assert path.stat().st_mode == mode
    assert path.with_name("never-list.old").read_text().startswith("198.51.100.0/24")
    assert is_listed(site, "192.0.2.7")
    editor = logged_in(site, "editor")
    assert 'Never to be listed</dt><dd class="error">1' in add(editor, "192.0.2.9 198.51.100.7").text


def test_a_never_list_that_changed_meanwhile_is_not_overwritten(site):
    path = Path(site.settings.guard.never_list)
    owner = logged_in(site, "owner")
    page = owner.post("/admin/never/", {"text": "192.0.2.0/24\n"})
    path.write_text("203.0.113.0/24\n")
    answer = owner.post("/admin/never/save", {"draft": hidden(page.text, "draft")})
    assert "changed meanwhile" in answer.text
    assert path.read_text() == "203.0.113.0/24\n"


def test_a_never_list_that_is_missing_or_being_written_is_left_alone(site):
    path = Path(site.settings.guard.never_list)
    owner = logged_in(site, "owner")
    page = owner.post("/admin/never/", {"text": "192.0.2.0/24\n"})
    path.with_name("never-list.new").write_text("half")
    answer = owner.post("/admin/never/save", {"draft": hidden(page.text, "draft")})
    assert answer.status_code == 500
    assert "somebody else writes it" in answer.text
    assert path.read_text().startswith("198.51.100.0/24")
    path.unlink()
    assert "is missing" in owner.get("/admin/never/").text
    assert owner.post("/admin/never/", {"text": "x"}).status_code == 400


# Looking.


def test_an_entry_shows_everything_to_editors_and_no_evidence_to_viewers(site):
    site.names.ptr[parse_addr("192.0.2.7")] = ("mx.example.org",)
    list_(site, "192.0.2.7", text="why", evidence=b"To: victim@example.org")
    list_(site, "192.0.2.0/24", contrib=Hearsay((Cause("zen.example", bytes((127, 0, 0, 2)), text="told"),)))
    page = logged_in(site, "editor").get("/admin/entry/192.0.2.7").text
    for part in ("mx.example.org", "victim@example.org", "zen.example", "why", "192.0.2.0/24"):
        assert part in page
    page = logged_in(site, "viewer").get("/admin/entry/192.0.2.7").text
    assert "victim" not in page
    assert "mx.example.org" in page
    net = logged_in(site, "viewer").get("/admin/entry/192.0.2.0/24")
    assert "Listed inside" in net.text


@pytest.mark.parametrize("path", ["/admin/entry/192.0.2.7%2f24", "/admin/entry/192-0-2-7", "/admin/entry/ 192.0.2.7"])
def test_an_address_has_one_page(site, path):
    answer = logged_in(site, "viewer").get(path)
    assert answer.status_code == 303
    assert re.fullmatch(r"/admin/entry/192\.0\.2\.[07](/24)?", answer.headers["Location"])


@pytest.mark.parametrize("page", ["entry", "net", "queue"])
def test_strange_paths_are_refused(site, page):
    editor = logged_in(site, "editor")
    for text in (*HOSTILE, "192.0.2", "1.2.3.4/99", "::/200", ""):
        answer = editor.get(f"/admin/{page}/{text.encode('utf-8', 'replace').decode()}")
        assert answer.status_code in (200, 303, 308, 400, 404), text
        assert "<script>alert" not in answer.text


def test_a_search_says_how_far_it_looked_and_goes_on(site, monkeypatch):
    monkeypatch.setattr(admin_list, "BUDGET", 4)
    list_(site, *(f"192.0.2.{number}" for number in range(10)), source="gather:a")
    list_(site, "192.0.2.200", source="robot:b", text="the one")
    viewer = logged_in(site, "viewer")
    path, found = "/admin/list?source=robot:*", ""
    for _ in range(3):
        page = viewer.get(path).text
        assert "looked at" in page
        found += page
        onward = re.search(r'href="([^"]*)" rel="next"', page)
        path = onward[1].replace("&amp;", "&") if onward else None
    assert path is None
    assert "the one" in found
    assert viewer.get("/admin/entry?address=192.0.2.3").headers["Location"] == "/admin/entry/192.0.2.3"
    assert "not a" in viewer.get("/admin/list?within=nonsense").text
    assert viewer.get("/admin/list?since=yesterday").status_code == 400
    assert viewer.get("/admin/list?since=%2399").status_code == 400


def test_a_network_shows_all_its_addresses_and_names_that_are_told_in_time(site):
    list_(site, "192.0.2.7", text="spam")
    site.store.archive([(parse_addr("192.0.2.9"), 1, int(NOW * 1000), int(NOW * 1000))])
    site.names.ptr = {parse_addr("192.0.2.7"): ("a.example",), parse_addr("192.0.2.8"): ()}
    viewer = logged_in(site, "viewer")
    assert viewer.get("/admin/net/192.0.2.7").headers["Location"] == "/admin/net/192.0.2.0/24"
    page = viewer.get("/admin/net/192.0.2.0/24").text
    assert page.count("/admin/entry/192.0.2.") == 257
    assert "a.example" not in page
    page = viewer.get("/admin/net/192.0.2.0/24?names=1").text
    assert "a.example" in page
    assert page.count("unknown</td>") == 254


def test_an_ipv6_network_shows_what_is_known_in_it(site):
    list_(site, "2001:db8:1:2::/64", "2001:db8:1:2::9/128", "2001:db8:2::/64")
    site.store.archive([(parse_addr("2001:db8:1:3::1"), 1, int(NOW * 1000), int(NOW * 1000))])
    viewer = logged_in(site, "viewer")
    page = viewer.get("/admin/net/2001:db8:1::/48").text
    for text in ("2001:db8:1:2::/64", "2001:db8:1:2::9", "2001:db8:1:3::1"):
        assert f">{text}<" in page
    assert "2001:db8:2::" not in page


def test_names_are_asked_at_once_remembered_and_given_up_in_time(monkeypatch):
    addrs = [bytes((192, 0, 2, n)) for n in range(40)]
    asked, stuck = [], threading.Event()

    class Slow:
        def pointers(self, addr):
            asked.append(addr)
            if addr[3] == 1:
                stuck.wait(30)
            if addr[3] == 2:
                raise RuntimeError("broken")
            return None if addr[3] == 3 else (f"h{addr[3]}.example",)

    monkeypatch.setattr(pointers, "WORKERS", 4)
    table = Pointers(Slow(), lambda: NOW, wait_s=0.5)
    found = table.names(addrs)
    assert [addr[3] for addr in addrs if found[addr] is None] == [1, 2, 3]
    count = len(asked)
    with table._turn:
        assert table.names(addrs) == found, "another page asks: what is known is told, and no more"
    assert len(asked) == count
    stuck.set()


def test_health_shows_services_and_lists(tmp_path):
    with make_site(
        tmp_path / "store", remote={"lists": ("bl.example",), "state_file": str(tmp_path / "r.json")}
    ) as site:
        page = logged_in(site, "viewer").get("/admin/health").text
        assert "bl.example" in page
        assert "not tested yet" in page


# Outside text.


def test_hostile_text_is_inert_wherever_it_comes_from(site):
    owner = logged_in(site, "owner")
    for text in HOSTILE:
        site.clock.now += 4000
        check_hostile(site, owner, text)


def check_hostile(site, owner, text):
    clean = text.encode("utf-8", "replace").decode()
    site.names.ptr[parse_addr("192.0.2.7")] = (clean,)
    list_(site, "192.0.2.7", text=clean, source=f"gather:{clean}", evidence=clean.encode())
    cause = Cause(clean[:200], bytes((127, 0, 0, 2)), text=clean)
    list_(site, "192.0.2.8", contrib=Hearsay((cause,)), source=clean)
    owner = logged_in(site, "owner")
    paths = [
        "/admin/",
        "/admin/entry/192.0.2.7",
        "/admin/entry/192.0.2.8",
        "/admin/net/192.0.2.0/24?names=1",
        "/admin/list",
        "/admin/journal",
    ]
    pages = [owner.get(path).text for path in paths]
    for name in ("within", "text", "source", "since", "until", "flag", "after", "before", "action", "next", "at"):
        for path in ("/admin/list", "/admin/journal", "/admin/add", "/admin/remove", "/admin/login"):
            answer = owner.get(path, query_string={name: clean})
            assert answer.status_code in (200, 303, 400), (path, name)
            pages.append(answer.text)
    for path, fields in (
        ("/admin/add", ("lines", "text", "evidence", "expires", "mode")),
        ("/admin/remove", ("lines", "reason")),
        ("/admin/undo", ("seq", "source", "since", "reason")),
        ("/admin/confirm", ("draft",)),
        ("/admin/never/", ("text",)),
        ("/admin/never/save", ("draft",)),
        ("/admin/users/", ("user", "role", "new", "password")),
        ("/admin/users/owner", ("do", "role", "password")),
        ("/admin/account/password", ("password", "new")),
        ("/admin/account/code", ("code", "draft", "password")),
    ):
        good = {"lines": "192.0.2.7", "text": "x", "mode": "default", "reason": "x", "seq": "1", "password": PASSWORD}
        for name in fields:
            answer = owner.post(path, {**good, name: clean})
            assert answer.status_code in (200, 303, 400, 403, 409, 413), (path, name, answer.status_code)
            pages.append(answer.text)
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b\x7f]", page)
        assert not re.search(r"<[a-z]+[^>]* (on\w+|style)=", re.sub('"[^"]*"', '""', page))


def test_a_store_that_is_away_is_said(site):
    owner = logged_in(site, "owner")

    def away():
        raise Unavailable("busy")

    site.close()
    site.opened = away
    answer = owner.get("/admin/")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


# The requests.


def queued(site):
    """Make a proven request about 203.0.113.7 that waits, and return its id."""
    now, id_ = site.clock(), "c0ffee0123456789c0ffee01"
    list_(site, "203.0.113.7", text="spam", source="admin:x")
    said = {"reply": "me@example.org", "message": "please\n<script>alert(1)</script>\u202e", "visitor": "192.0.2.1"}
    request = Request("203.0.113.7", "203.0.113.7", "mail", int(now * 1000), place="postmaster@example.com", **said)
    kept = removals(site)
    kept.add(id_, request, now, now + 1000)
    kept.move(id_, "proven", now, {})
    kept.move(id_, "queued", now, {"why": ("about entries of this kind the operator decides",)})
    return id_


@pytest.fixture
def asking(tmp_path):
    with make_site(tmp_path / "store", web={"url": "https://bl.example.net", "contact": "op@example.net"}) as site:
        yield site


def test_a_request_is_approved_with_a_reason_and_its_asker_told(asking):
    id_ = queued(asking)
    assert "203.0.113.7" in logged_in(asking, "viewer").get("/admin/queue/").text
    editor = logged_in(asking, "editor")
    page = editor.get(f"/admin/queue/{id_}").text
    assert "me@example.org" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page
    data = {"seq": hidden(page, "seq"), "do": "approve"}
    assert editor.post(f"/admin/queue/{id_}", data).status_code == 400, "no reason"
    assert editor.post(f"/admin/queue/{id_}", {**data, "reason": "they mended it"}).status_code == 303
    assert not is_listed(asking, "203.0.113.7")
    assert last(asking).source == "admin:editor"
    assert "they mended it" in last(asking).text
    assert any("me@example.org" in recipients for _, recipients, _ in asking.send.sent)
    again = editor.post(f"/admin/queue/{id_}", {**data, "reason": "again"})
    assert again.status_code == 409
    assert "Nothing waits" in editor.get("/admin/queue/").text


def test_a_request_is_refused_with_a_reason(asking):
    id_ = queued(asking)
    editor = logged_in(asking, "editor")
    data = {"seq": hidden(editor.get(f"/admin/queue/{id_}").text, "seq"), "reason": "it still spams"}
    assert editor.post(f"/admin/queue/{id_}", {**data, "do": "explode"}).status_code == 400
    assert editor.post(f"/admin/queue/{id_}", {**data, "do": "refuse"}).status_code == 303
    assert is_listed(asking, "203.0.113.7")
    assert removals(asking).get(id_, NOW).state == "refused"


def test_an_entry_that_changed_since_it_was_shown_is_shown_again(asking):
    id_ = queued(asking)
    editor = logged_in(asking, "editor")
    data = {"seq": hidden(editor.get(f"/admin/queue/{id_}").text, "seq"), "reason": "x", "do": "approve"}
    list_(asking, "203.0.113.7", text="it spammed again", source="trap:a")
    answer = editor.post(f"/admin/queue/{id_}", data)
    assert answer.status_code == 409
    assert "changed meanwhile" in answer.text
    assert is_listed(asking, "203.0.113.7")
    assert editor.get("/admin/queue/unknown").status_code == 404
