"""Reports to abuse contacts: only what was proven by those who may, to whom RDAP or settings name, so many a day."""

import email
import email.policy
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

import robotkit
from robotsite import Site, make_cast
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.errors import Unavailable, WireError
from spamcannibal.robot import rdap, whois
from spamcannibal.store.batch import NewListing

ADDRESS = parse_addr("203.0.113.9")


def entity(*addresses, roles=("abuse",), entities=()):
    card = ["vcard", [["version", {}, "text", "4.0"], *(["email", {}, "text", each] for each in addresses)]]
    return {"objectClassName": "entity", "roles": list(roles), "vcardArray": card, "entities": list(entities)}


ENTITIES = [entity("abuse@net.example"), entity("x@y.example", roles=["noc"])]
ANSWER = {"objectClassName": "ip network", "entities": ENTITIES}


@pytest.mark.parametrize(
    ("entities", "want"),
    [
        ([entity("abuse@net.example")], ("abuse@net.example",)),
        ([entity("noc@net.example", roles=["technical"])], ()),
        ([entity(roles=["registrant"], entities=[entity("abuse@net.example")])], ("abuse@net.example",)),
        ([entity("a@net.example", "b@net.example"), entity("a@net.example")], ("a@net.example", "b@net.example")),
        ([entity("not an address", "-oX@net.example", "x@net.example\nBcc: y@z.example")], ()),
        ([entity(*(f"a{n}@net.example" for n in range(99)))], tuple(f"a{n}@net.example" for n in range(5))),
        ([None, 1, {"roles": "abuse"}, {"roles": ["abuse"], "vcardArray": [1]}, entity()], ()),
        ({}, ()),
    ],
)
def test_contacts_are_the_mail_addresses_of_abuse_entities(entities, want):
    assert rdap.abuse_contacts(json.dumps({"entities": entities}).encode()) == want


@pytest.mark.parametrize("document", [b"", b"[]", b"nonsense", b'"x"', b"[" * 100_000, b"\xff"])
def test_what_is_no_rdap_answer_is_refused(document):
    with pytest.raises(WireError):
        rdap.abuse_contacts(document)


JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["abuse", "email", "a@b.example"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["entities", "roles", "vcardArray", "x"]), inner, max_size=4)
    ),
)


@given(JSON)
def test_any_json_gives_contacts_or_is_refused(value):
    try:
        assert all("@" in each for each in rdap.abuse_contacts(json.dumps(value).encode()))
    except WireError:
        assert not isinstance(value, dict)


def test_the_longest_net_names_the_contact():
    wide, close = rdap.Contact((parse_key("203.0.113.0/24"),), ("wide@x.example",)), rdap.Contact(
        (parse_key("2001:db8::/32"), parse_key("203.0.113.0/28")), ("close@x.example",)
    )
    assert rdap.known_contact(ADDRESS, [wide, close]) == ("close@x.example",)
    assert rdap.known_contact(parse_addr("203.0.113.99"), [wide, close]) == ("wide@x.example",)
    assert rdap.known_contact(parse_addr("192.0.2.1"), [wide, close]) == ()


class Server(BaseHTTPRequestHandler):
    """Answers by path; `asked` keeps what was asked for."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        place = self.path.removeprefix("/").partition("/")[0]
        if place in ("loop", "away"):
            self.send_response(302)
            self.send_header("Location", self.path if place == "loop" else f"/ok{self.path.removeprefix('/away')}")
            self.end_headers()
            return
        self.send_response({"none": 404, "busy": 503}.get(place, 200))
        self.end_headers()
        if place == "long":
            self.wfile.write(b" " * (whois.DOCUMENT_LIMIT_BYTES + 1))
        elif place == "slow":
            for _ in range(1000):
                self.wfile.write(b" ")
                time.sleep(0.02)
        else:
            self.wfile.write(json.dumps(ANSWER).encode())

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    Server.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def base():
    with serving() as url:
        yield url


@pytest.mark.parametrize("place", ["ok", "away"])
def test_rdap_is_asked_over_http_and_may_lead_elsewhere(base, place):
    assert json.loads(whois.ask(f"{base}/{place}/", ADDRESS, 20)) == ANSWER
    assert Server.asked[-1].endswith("/ip/203.0.113.9")
    assert whois.ask(f"{base}/ok", parse_addr("2001:db8::9"), 20)
    assert Server.asked[-1] == "/ok/ip/2001:db8::9"


def test_who_is_not_known_has_no_answer(base):
    assert whois.ask(f"{base}/none", ADDRESS, 20) is None


@pytest.mark.parametrize("place", ["loop", "busy", "long"])
def test_an_answer_out_of_bounds_is_none_now(base, place):
    with pytest.raises(Unavailable):
        whois.ask(f"{base}/{place}", ADDRESS, 20)


def test_a_slow_or_absent_server_does_not_hold_us_up(base):
    for url in (f"{base}/slow", "http://127.0.0.1:1"):
        with pytest.raises(Unavailable):
            whois.ask(url, ADDRESS, 0.3)


def test_no_redirect_leads_from_https_to_http():
    from urllib.error import URLError
    from urllib.request import Request

    careful = whois._Careful()
    with pytest.raises(URLError):
        careful.redirect_request(Request("https://x.example/"), None, 302, "", {}, "http://x.example/")
    for old, new in (("https://x.example/", "file:///etc/passwd"), ("http://x.example/", "ftp://x.example/")):
        with pytest.raises(URLError):
            careful.redirect_request(Request(old), None, 302, "", {}, new)


# The command.

COMPLAINT = """
[complaint]
sender = "abuse-out@example.net"
organisation = "Example Net"
rdap = "{rdap}"
per_contact_per_day = 2
copies = ["copy@example.net"]
[[complaint.contact]]
nets = ["192.0.2.0/24"]
addresses = ["abuse@known.example"]
"""


@pytest.fixture(scope="module")
def cast():
    with robotkit.People() as people:
        yield make_cast(people)


@pytest.fixture
def site(tmp_path, cast, base):
    made = Site(tmp_path, cast)
    with (tmp_path / "spamcannibal.toml").open("a") as file:
        file.write(COMPLAINT.format(rdap=f"{base}/ok"))
    return made


def list_one(site, address, source, evidence=b"From: x@bad.example\nSubject: pills\n\nbuy\n"):
    with site.store() as store:
        store.list([NewListing(parse_key(address), source=source, evidence=evidence)], time.time())


def row(site, *words):
    done = site.run("report", *words, "--json")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    (found,) = json.loads(done.stdout)
    return done.exit_code, found


def test_nothing_is_sent_unless_asked(site):
    list_one(site, "203.0.113.9", "robot:X")
    code, found = row(site, "203.0.113.9")
    assert (code, found["done"]) == (0, "would be sent")
    assert (found["contacts"], found["from"]) == (["abuse@net.example"], "RDAP")
    assert site.sent() == []
    shown = site.run("report", "203.0.113.9", "--show").stdout
    assert email.message_from_string(shown).get_content_type() == "multipart/report"


@pytest.mark.parametrize("form", ["arf", "xarf"])
def test_a_report_goes_to_the_contact_with_the_public_evidence(site, cast, form):
    assert site.robot(cast["alice"].report(robotkit.spam("203.0.113.9"))).exit_code == 0
    for path in site.sent():
        path.unlink()
    (site.path / "sent.args").unlink()
    code, found = row(site, "203.0.113.9", "--send", "--form", form)
    assert (code, found["done"]) == (0, "sent")
    (mail,) = site.answers()
    assert (mail["To"], mail["Auto-Submitted"]) == ("abuse@net.example", "auto-generated")
    arguments = (site.path / "sent.args").read_text()
    assert arguments == "-i -f abuse-out@example.net -- abuse@net.example copy@example.net\n"
    text = site.sent()[0].read_text()
    assert "user@example.net" not in text
    if form == "arf":
        assert "Source-IP: 203.0.113.9" in text and "cheap pills" in text
    else:
        document = next(part for part in mail.walk() if part.get_content_type() == "application/json")
        assert json.loads(document.get_content())["source_identifier"] == "203.0.113.9"


def test_a_known_contact_is_written_to_without_asking(site):
    list_one(site, "192.0.2.9", "admin:root")
    asked = len(Server.asked)
    code, found = row(site, "192.0.2.9")
    assert (code, found["contacts"], found["from"]) == (0, ["abuse@known.example"], "settings")
    assert len(Server.asked) == asked


def test_an_ipv6_host_is_reported_by_its_network(site):
    list_one(site, "2001:db8:1:2::/64", "robot:X")
    for address in ("2001:db8:1:2::9", "2001:db8:1:2::/64"):
        assert row(site, address)[0] == 0
    assert Server.asked[-2:] == ["/ok/ip/2001:db8:1:2::9", "/ok/ip/2001:db8:1:2::"]


@pytest.mark.parametrize("source", ["gather:mx1", "import:list", "blcheck:x", "robot"])
def test_what_others_could_have_caused_is_not_sent_on(site, source):
    list_one(site, "203.0.113.9", source)
    code, found = row(site, "203.0.113.9", "--send")
    assert code == 1 and "nothing that a submitter or admin proved" in found["done"]
    assert site.sent() == []


def test_who_is_not_listed_is_not_reported(site):
    assert row(site, "203.0.113.9", "--send") == (
        1,
        {"address": "203.0.113.9", "contacts": None, "from": None, "is_done": False, "done": "not listed"},
    )


def test_a_contact_gets_so_many_reports_a_day(site):
    for number in range(3):
        list_one(site, f"203.0.113.{number}", "robot:X")
    assert [row(site, f"203.0.113.{number}", "--send")[0] for number in range(3)] == [0, 0, 1]
    assert "got 2 reports within a day" in row(site, "203.0.113.2", "--send")[1]["done"]
    assert len(site.sent()) == 2
    list_one(site, "192.0.2.9", "robot:X")
    assert row(site, "192.0.2.9", "--send")[0] == 0


def test_a_mail_that_is_not_taken_is_told(site):
    list_one(site, "203.0.113.9", "robot:X")
    site.sendmail.write_text("#!/bin/sh\nexit 75\n")
    code, found = row(site, "203.0.113.9", "--send")
    assert code == 1 and "robot.sendmail" in found["done"]


def test_without_a_sender_there_are_no_reports(tmp_path, cast):
    done = Site(tmp_path, cast).run("report", "203.0.113.9")
    assert "complaint.sender: missing" in str(done.exception) and done.exception.exit_code == 78
