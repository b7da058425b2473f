"""The application as a whole: who may come how often, headers, errors, and outside text made harmless."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr
from spamcannibal.errors import ConfigError, Replaced, Unavailable
from spamcannibal.inert import inert, inert_lines
from spamcannibal.web.limits import Limiter
from spamcannibal.web.visitor import NOBODY, neighbourhood, visitor
from webkit import client, make_site

LOCAL = ("127.0.0.0/8", "local")


@pytest.fixture
def site(tmp_path):
    with make_site(tmp_path / "store") as site:
        yield site


@pytest.mark.parametrize("path", ["/", "/nothing", "/static/style.css", "/static/../app.py", "/%00", "/%ff%fe"])
def test_every_answer_has_the_headers_that_keep_browsers_safe(site, path):
    answer = client(site).get(path)
    assert answer.status_code < 500
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_nothing_comes_from_elsewhere(site):
    page = client(site).get("/").text
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page)
    assert "<style" not in page
    assert not re.search(r"<[^>]+ (?:style|on\w+)=", page)


def test_a_visitor_is_told_to_wait_and_others_are_not(tmp_path):
    with make_site(tmp_path / "store", web={"per_minute": 3}) as site:
        web = client(site)
        asked = [web.get("/", headers={"X-Forwarded-For": "192.0.2.1"}) for _ in range(4)]
        assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
        assert int(asked[3].headers["Retry-After"]) > 0
        assert web.get("/", headers={"X-Forwarded-For": "192.0.2.2"}).status_code == 200
        site.clock.now += 61
        assert web.get("/", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/nothing.json", "/nothing.txt"])
def test_an_error_comes_in_the_form_that_was_asked_for(site, path):
    answer = client(site).get(path)
    kinds = {"": "text/html", "json": "application/problem+json", "txt": "text/plain"}
    assert answer.status_code == 404
    assert answer.content_type.startswith(kinds[path.partition(".")[2]])


def test_a_body_that_is_too_long_is_refused(site):
    answer = client(site).post("/", data={"x": io.BytesIO(b"x" * 300_000)}, content_type="multipart/form-data")
    assert answer.status_code in (405, 413)


@pytest.mark.parametrize("error", [Unavailable("later"), Replaced("gone"), ConfigError("no such directory")])
def test_a_store_that_is_away_is_a_page_that_says_so(site, error):
    web = client(site)

    @web.application.get("/broken")
    def broken():
        raise error

    answer = web.get("/broken")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "not available now" in answer.text
    assert site.is_over is isinstance(error, Replaced)


def test_a_fault_of_ours_is_logged_and_tells_the_visitor_nothing(site):
    web = client(site)

    @web.application.get("/broken")
    def broken():
        raise RuntimeError("secret <b>")

    answer = web.get("/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in site.log._stream.getvalue()


@given(st.text())
def test_inert_text_has_nothing_invisible_and_one_line(text):
    for shown in (inert(text), inert_lines(text).replace("\n", "").replace("\t", "")):
        assert shown.isprintable()
        assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", shown)


def test_plain_text_stays_as_it_is():
    assert inert("Grüße, 漢字 <b>&") == "Grüße, 漢字 <b>&"
    assert inert("a" * 11, 10) == "a" * 10 + "…"
    assert inert_lines("a\r\nb\tc\x1b") == "a\nb\tc\\x1b"


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "wanted"),
    [
        ("192.0.2.1", "203.0.113.9", LOCAL, "192.0.2.1"),
        ("127.0.0.1", "203.0.113.9", LOCAL, "203.0.113.9"),
        ("127.0.0.1", "1.2.3.4, 203.0.113.9", LOCAL, "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, 127.0.0.5", LOCAL, "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, nonsense", LOCAL, "127.0.0.1"),
        ("127.0.0.1", "", LOCAL, "127.0.0.1"),
        ("", "203.0.113.9", LOCAL, "203.0.113.9"),
        ("", "203.0.113.9", (), "0.0.0.0"),
        (None, "", LOCAL, "0.0.0.0"),
        ("127.0.0.1", "2001:db8::1", LOCAL, "2001:db8::1"),
        ("127.0.0.1", "203.0.113.9", (), "127.0.0.1"),
    ],
)
def test_only_trusted_proxies_say_who_asks(remote, forwarded, proxies, wanted):
    assert visitor(remote, forwarded, proxies) == parse_addr(wanted)


def test_visitors_are_told_apart_by_address_or_network():
    assert neighbourhood(parse_addr("2001:db8::1:2:3:4")) == parse_addr("2001:db8::")
    assert neighbourhood(NOBODY) == NOBODY


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 50))
def test_nobody_gets_more_than_his_rate_and_a_burst(steps, per_minute):
    limiter, now, allowed = Limiter(per_minute), 0.0, 0
    for step in steps:
        now += step
        allowed += limiter.wait_s(b"a", now) == 0
    assert allowed <= per_minute + now * per_minute / 60 + 1


def test_the_table_of_visitors_is_bounded():
    limiter = Limiter(1, size=10)
    for number in range(100):
        assert limiter.wait_s(bytes((number,)), 0.0) == 0.0
    assert limiter.wait_s(bytes((99,)), 0.0) > 0
