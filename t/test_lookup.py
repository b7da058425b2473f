"""The look-up: one link for each address, what the public sees and what not, and outside text that stays text."""

import html
import re
import urllib.parse
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.errors import Unavailable
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW, Cause
from spamcannibal.remote.lists import Accept, RemoteList
from spamcannibal.settings.gather import ReporterSettings
from spamcannibal.settings.robot import SubmitterSettings
from spamcannibal.store.stores import Hearsay, NewListing
from webkit import NOW, client, make_site

HOST, NET, V6, TOLD, ADMIN, CLEAR = (
    "203.0.113.7", "203.0.112.0/24", "2001:db9:1:2::/64", "203.0.113.9", "203.0.113.10", "203.0.113.50",
)  # fmt: skip
SECRETS = ("F00DF00D", "reporter-a", "bob", "victim@example.org", "ticket 4711")
PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "\x00\x1b[2J\x07\x7f",
    "</pre></table><h1>owned",
    "&lt;b&gt;",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "a" * 5000,
]


def add(site, key, source="trap:main", at=NOW - 86400, **keys):
    keys.setdefault("flags", PUBLISHED)
    site.store.list([NewListing(parse_key(key), source=source, **keys)], at)


@contextmanager
def filled(path):
    lists = {"zen.example.org": RemoteList("zen.example.org", (Accept("127.0.0.2"),), url="https://zen.example.org/q")}
    with make_site(path, web={"url": "https://bl.example.net", "contact": "op@example.net"}) as site:
        site.lists = lambda: lists
        add(site, HOST, text="spam to a trap", evidence=b"Subject: buy\n\nhello", expiry_ms=int(NOW * 1000) + 9000)
        add(site, NET, "robot:F00DF00D", text="$ sent spam")
        add(site, V6, "gather:reporter-a", evidence=b"2 reports of reporter-a")
        told = Hearsay(
            (Cause("zen.example.org", b"\x7f\0\0\2", parse_addr(TOLD), "see zen"), Cause("US", b"\x7f\0\0\6"))
        )
        add(site, TOLD, "blcheck:zen.example.org", contrib=told, flags=0)
        add(site, ADMIN, "admin:bob", evidence=b"To: victim@example.org\nSubject: x\n\nwrite to victim@example.org now")
        yield site


@pytest.fixture
def site(tmp_path):
    with filled(tmp_path / "store") as made:
        yield made


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    """A site that all tests share, which change nothing."""
    with filled(tmp_path_factory.mktemp("same") / "store") as made:
        yield made


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("/lookup/203.0.113.7/32", HOST),
        ("/lookup/%20203.0.113.7", HOST),
        ("/lookup/203-0-113-7", HOST),
        ("/lookup/2001:DB9:1:2::/64", V6),
        ("/lookup/2001:db9:1:2::25/64", V6),
        ("/lookup/::ffff:203.0.113.7", HOST),
        ("/lookup/203.0.112.77/24.json", f"{NET}.json"),
        ("/lookup?q=+203.0.113.7", HOST),
        ("/lookup?q=203.0.112.9%2F24", NET),
    ],
)
def test_every_spelling_leads_to_one_link(same, asked, leads):
    answer = client(same).get(asked)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/lookup/{leads}"
    assert client(same).get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("/?203.0.113.7", f"/lookup?q={HOST}"),
        ("/?query=203.0.113.7", f"/lookup?q={HOST}"),
        ("/?page=lookup&lookup=203.0.113.7", f"/lookup?q={HOST}"),
        ("/?page=contact", "/removal"),
        ("/lookup", "/"),
    ],
)
def test_links_of_the_original_lead_on(same, asked, leads):
    answer = client(same).get(asked)
    assert (answer.status_code, answer.headers["Location"]) == (302, leads)


@pytest.mark.parametrize(
    "text", ["example.com", "1.2.3", "010.0.0.1", "1.2.3.4/33", "..", "1.2.3.4/../etc", "%3Cb%3E", "%ff"]
)
@pytest.mark.parametrize("form", ["", ".json", ".txt"])
def test_what_is_no_address_is_a_400_with_a_reason(same, text, form):
    answer = client(same).get(f"/lookup/{text}{form}")
    assert answer.status_code == 400 or (".." in text and answer.status_code in (308, 404))
    assert "not a" in answer.text or "prefix" in answer.text or ".." in text


def test_a_listed_address_is_told_why_since_when_and_how_to_get_off(site):
    site.names.ptr[parse_addr(HOST)] = ("mail.example.com",)
    page = client(site).get(f"/lookup/{HOST}").text
    for word in (
        "This address is listed", "spam to a trap", "mail to a spam trap", "Subject: buy", "2027-01-14T08:00:00Z",
        "2027-01-15T08:00:09Z", "mail.example.com", "bl.example.net", "127.0.0.2", f"/removal?address={HOST}",
    ):  # fmt: skip
        assert word in page, word
    assert client(site).get(f"/lookup/{HOST}.txt").text.startswith(f"{HOST} listed\n")


def test_what_other_lists_told_us_links_to_them_and_can_t_be_asked_off_here(same):
    page = client(same).get(f"/lookup/{TOLD}").text
    assert '<a href="https://zen.example.org/q"' in page
    assert "its country" in page
    assert f"/removal?address={TOLD}" not in page
    assert "ask the lists that told us" in page
    (entry,) = client(same).get(f"/lookup/{TOLD}.json").json["entries"]
    assert [cause["url"] for cause in entry["lists"]] == ["https://zen.example.org/q", None]


def test_names_that_can_t_be_had_are_not_known_rather_than_none(site):
    web = client(site)
    assert "not known now" in web.get(f"/lookup/{HOST}").text
    site.names.ptr[parse_addr(HOST)] = ()
    site.clock.now += 61
    page = web.get(f"/lookup/{HOST}").text
    assert "not known now" not in page
    assert re.search(r"<dt>Reverse DNS</dt>\s*<dd>none</dd>", page)


def test_one_that_is_not_listed_is_told_when_it_was(site):
    site.store.unlist([parse_key(HOST)], "admin:bob", "ticket 4711", NOW)
    page = client(site).get(f"/lookup/{HOST}").text
    assert "is not listed" in page
    assert "It was until 2027-01-15T08:00:00Z; it ended by the operator" in page
    assert client(site).get(f"/lookup/{HOST}.json").json["ended"]["text"] == ""
    assert "never-list" in client(site).get("/lookup/198.51.100.9").text


@pytest.mark.parametrize(("flags", "word"), [(EXCLUDED, "keeps the address"), (SHADOW, "on trial")])
def test_an_entry_that_refuses_nobody_says_so(site, flags, word):
    add(site, CLEAR, flags=PUBLISHED | flags)
    page = client(site).get(f"/lookup/{CLEAR}").text
    assert "is not listed" in page
    assert word in page


def test_the_public_sees_kinds_of_sources_never_persons(site):
    site.store.unlist([parse_key(HOST)], "admin:bob", "ticket 4711", NOW)
    web = client(site)
    for path in (HOST, NET, V6, TOLD, ADMIN, "203.0.112.0/21", "2001:db9:1:2::7"):
        for form in ("", ".json", ".txt"):
            shown = web.get(f"/lookup/{path}{form}").text
            assert not [secret for secret in SECRETS if secret in shown], path


def test_evidence_that_nobody_redacted_is_redacted_on_its_way_out(same):
    page = client(same).get(f"/lookup/{ADMIN}").text
    assert "Subject: x" in page
    assert "[recipient]" in page


def test_only_the_address_itself_is_told_that_it_connected(site):
    site.store.archive([(parse_addr(CLEAR), 3, 1_799_990_000_000, 1_799_999_000_000)])
    web = client(site)
    for form in ("", ".json", ".txt"):
        assert "2027-01-15T07:43:20Z" not in web.get(f"/lookup/{CLEAR}{form}").text
    own = {"X-Forwarded-For": CLEAR}
    assert "2027-01-15T07:43:20Z" in web.get(f"/lookup/{CLEAR}", headers=own).text
    assert f"/lookup/{CLEAR}" in web.get("/", headers=own).text
    assert "it is listed" in web.get("/", headers={"X-Forwarded-For": HOST}).text


def test_a_prefix_shows_what_is_listed_in_it(site):
    shown = client(site).get("/lookup/203.0.112.0/23.json").json
    assert [entry["key"] for entry in shown["inside"]["entries"]] == [NET, HOST, TOLD, ADMIN]
    assert shown["inside"]["is_whole"]
    assert not shown["listed"]
    many = [NewListing(parse_key(f"203.0.115.{number}"), flags=PUBLISHED) for number in range(120)]
    site.store.list(many, NOW)
    shown = client(site).get("/lookup/203.0.115.0/24.json").json["inside"]
    assert (len(shown["entries"]), shown["is_whole"]) == (100, False)
    page = client(site).get("/lookup/203.0.115.0/24").text
    assert "The first 100 entries" in page
    inner = client(site).get("/lookup/203.0.112.128/25")
    assert "This network is listed" in inner.text


def test_a_client_that_prefers_json_gets_it(same):
    answer = client(same).get(f"/lookup/{HOST}", headers={"Accept": "application/json"})
    assert answer.json["listed"] is True
    assert "Accept" in answer.headers["Vary"]


def hostile(site, payload):
    """Put a payload wherever outside text can stand, and return the pages that show it."""
    cut = payload.encode("utf-8", "replace")
    add(site, "203.0.114.1", "trap:" + payload[:60], text=payload[:2000], evidence=cut)
    add(site, "203.0.114.2", "admin:" + payload[:60], text=payload[:2000], evidence=b"Subject: " + cut + b"\n\n" + cut)
    told = Hearsay((Cause(payload[:200], b"\x7f\0\0\2", b"", payload[:1000]),))
    add(site, "203.0.114.3", "blcheck:" + payload[:60], contrib=told)
    site.store.unlist([parse_key("203.0.114.2")], "admin:" + payload[:60], payload[:1000], NOW)
    for number in (1, 3):
        site.names.ptr[parse_addr(f"203.0.114.{number}")] = (payload, f"{payload}.example.com")
        site.names.a[payload] = (parse_addr(f"203.0.114.{number}"),)
    pages = [f"/lookup/203.0.114.{number}" for number in (1, 2, 3)]
    quoted = urllib.parse.quote(payload[:1000], errors="replace")
    return [
        *pages, "/lookup/203.0.114.0/24", "/removal?address=203.0.114.1", "/removal?address=203.0.114.3",
        f"/lookup?q={quoted}", f"/lookup/{quoted}", f"/?{quoted}", f"/removal?address={quoted}", f"/?page={quoted}",
        f"/removal/request/{quoted}", f"/removal/confirm/{quoted}", f"/removal/confirm/x.{quoted}",
    ]  # fmt: skip


class Markup(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def check_inert(answer):
    """Assert that a page holds no script, no handler, no control character, and nothing of another direction."""
    assert answer.status_code < 500
    text = answer.get_data().decode()
    markup = Markup()
    markup.feed(text)
    tags = [tag for tag, _ in markup.tags]
    assert [attrs["src"] for tag, attrs in markup.tags if tag == "script"] in ([], ["/static/comfort.js"])
    assert not {"img", "svg", "iframe", "object", "b", "style", "base"} & set(tags)
    for _, attrs in markup.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            assert re.match(r"/(?!/)|#|mailto:op@|https://zen\.|$", attrs.get(name) or "")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", html.unescape(text))
    assert "49{%" not in text


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_outside_text_stays_text_in_every_field(site, payload):
    pages = hostile(site, payload)
    web = client(site)
    for path in pages:
        answer = web.get(path)
        if answer.content_type.startswith("text/html"):
            check_inert(answer)
        assert answer.status_code in (200, 302, 303, 400, 404, 410), path
    for number in (1, 2, 3):
        assert web.get(f"/lookup/203.0.114.{number}.txt").status_code == 200
        assert web.get(f"/lookup/203.0.114.{number}.json").content_type == "application/json"
    fields = {"address": payload, "how": payload, "reply": payload, "message": payload}
    check_inert(web.post("/removal", data=fields))
    check_inert(web.post("/removal", data={**fields, "address": "203.0.114.1"}))
    check_inert(web.post("/removal", data={**fields, "address": "203.0.114.1", "how": f"mail {payload}"}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text(max_size=80) | st.from_regex(r"[0-9a-fA-F:./%]{1,60}", fullmatch=True),
    form=st.sampled_from(["", ".json"]),
)
def test_no_text_that_is_looked_up_breaks_the_page(same, text, form):
    web = client(same) if not hasattr(same, "web") else same.web
    same.web = web
    same.clock.now += 1
    answer = web.get(f"/lookup/{urllib.parse.quote(text, safe='/:', errors='replace')}{form}")
    assert answer.status_code in (200, 302, 308, 400, 404)
    if answer.content_type.startswith("text/html") and answer.status_code != 308:
        check_inert(answer)


@pytest.mark.parametrize(
    "path", [f"/lookup/{HOST}", f"/lookup/{HOST}.json", "/", f"/removal?address={HOST}", "/removal/request/x"]
)
def test_a_database_that_is_away_is_a_page_that_says_so(site, path):
    def gone():
        raise Unavailable("away")

    site.opened, site._store = gone, None
    answer = client(site).get(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "not available now" in answer.text
    assert client(site).get("/policy").status_code == 200


def test_the_policy_tells_what_the_settings_say(tmp_path):
    sections = {
        "robot": {"submitter": (SubmitterSettings("alice", "F" * 40), SubmitterSettings("eve", "E" * 40))},
        "gather": {"reporter": (ReporterSettings("mx-secret", ("192.0.2.25",)),)},
        "remote": {"lists": ("zen.example.org",)},
        "trap": {"recipients": ("trap-secret@example.org",)},
        "removal": {"quiet_s": 3 * 86400.0},
        "web": {"contact": "op@example.net"},
    }
    with make_site(tmp_path / "store", **sections) as site:
        page = client(site).get("/policy").text
    for word in ("2 people whom we know", "weigh 2 or more within 1 hour", "zen.example.org", "Spam traps", "3 days",
                 "7.2.0.192.bl.example.net", "op@example.net", "::ffff:7f00:2", "It costs nothing"):  # fmt: skip
        assert word in page, word
    assert not [word for word in ("alice", "mx-secret", "192.0.2.25", "trap-secret", "FFFF") if word in page]


def test_removal_that_is_switched_off_is_offered_nowhere(tmp_path):
    with make_site(tmp_path / "store", removal={"enabled": False}) as site:
        add(site, HOST)
        web = client(site)
        assert "switched off" in web.get(f"/removal?address={HOST}").text
        assert web.post("/removal", data={"address": HOST, "how": "dns"}).status_code == 400
        assert f"/removal?address={HOST}" not in web.get(f"/lookup/{HOST}").text
