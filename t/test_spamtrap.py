"""The spam trap's decisions: who is a recipient, who may come, what a catch is and what it does to the list."""

import time
from contextlib import closing

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.breaker import Breaker, Caps
from spamcannibal.colours import COLOURS
from spamcannibal.commands.main import cli
from spamcannibal.errors import ConfigError
from spamcannibal.guard import parse_never_list
from spamcannibal.record import PROVEN_CODE, PUBLISHED
from spamcannibal.robot import spamtrap
from spamcannibal.robot.catcher import Catcher, Manner, Rules
from spamcannibal.robot.plan import Terms
from spamcannibal.robot.redact import Rules as Redaction
from spamcannibal.robot.spamtrap import Bounds, Traps, Visit, Visitors
from spamcannibal.store.batch import NewListing
from storekit import check_whole, open_store

TRAPS = Traps(["bait@example.org", "trap.example.net", ".pit.example"])
SPAM = b"From: Pills <a@bad.example>\r\nTo: bait@example.org\r\nSubject: cheap\r\n\r\nbuy, bait@example.org\r\n"
ENDS = Bounds(connections=3, per_source=2, per_minute=4)


class Log:
    def __init__(self):
        self.lines = []

    def emit(self, verb, /, **fields):
        self.lines.append((verb, fields))


@pytest.mark.parametrize(
    ("address", "sender", "answer"),
    [
        ("bait@example.org", "a@bad.example", spamtrap.OK),
        ("BAIT@Example.ORG.", "a@bad.example", spamtrap.OK),
        ("anybody@trap.example.net", "a@bad.example", spamtrap.OK),
        ("x@a.b.pit.example", "a@bad.example", spamtrap.OK),
        ("x@pit.example", "a@bad.example", spamtrap.NO_TRAP),
        ("postmaster@example.org", "a@bad.example", spamtrap.NO_TRAP),
        ("victim@elsewhere.example", "a@bad.example", spamtrap.NO_TRAP),
        ("victim%elsewhere.example@example.org", "a@bad.example", spamtrap.NO_TRAP),
        ("bait@example.org@elsewhere.example", "a@bad.example", spamtrap.NO_TRAP),
        ("x@sub.trap.example.net", "a@bad.example", spamtrap.NO_TRAP),
        ("trap.example.net", "a@bad.example", spamtrap.OK),  # taken as a domain: and nothing goes anywhere
        ("", "a@bad.example", spamtrap.NO_TRAP),
        ("bait@example.org", "<>", spamtrap.NO_BOUNCES),
        ("bait@example.org", "", spamtrap.NO_BOUNCES),
        ("postmaster@example.org", "<>", spamtrap.NO_TRAP),
    ],
)
def test_only_traps_are_recipients_and_bounces_are_not_theirs(address, sender, answer):
    assert TRAPS.answer(address, sender, 0) == answer


def test_a_star_takes_whatever_comes_up_to_the_limit():
    traps = Traps(["*"])
    assert traps.answer("x@y.example", "a@b", spamtrap.RECIPIENTS_LIMIT - 1) == spamtrap.OK
    assert traps.answer("x@y.example", "a@b", spamtrap.RECIPIENTS_LIMIT).startswith("452")


@given(st.text(), st.text())
def test_no_recipient_or_sender_breaks_the_answer(address, sender):
    assert TRAPS.answer(address, sender, 0)[:4] in ("250 ", "550 ")


@given(st.text(), st.text(), st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_whatever_a_peer_says_makes_two_fields_and_no_more(helo, sender, addr):
    lines = spamtrap.trace(Visit(addr, helo, sender, ()), "trap.example.org", "now").split(b"\r\n")
    assert [line.split(b" ")[0] for line in lines] == [b"Return-Path:", b"Received:", b"\tby", b""]


def test_connections_are_bounded_in_all_by_source_and_by_the_minute():
    one, other = parse_addr("192.0.2.1"), parse_addr("192.0.2.2")
    visitors = Visitors(ENDS)
    assert [visitors.come(one, 0.0) for _ in range(3)] == ["", "", "per_source"]
    assert visitors.come(other, 0.0) == "" and visitors.come(other, 0.0) == "connections"
    visitors.go(one)
    assert visitors.come(one, 0.0) == ""
    visitors.go(one)
    assert visitors.come(one, 0.0) == "" and not visitors.go(one)
    assert visitors.come(one, 0.0) == "per_minute"
    assert visitors.come(one, 15.0) == ""  # a quarter of a minute, a quarter of four


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 30)), max_size=60))
def test_no_bound_is_ever_passed(steps):
    visitors, inside, now = Visitors(ENDS), [], 0.0
    for source, leaves, wait in steps:
        now += wait
        key = bytes((192, 0, 2, source))
        if leaves and inside:
            visitors.go(inside.pop())
        elif not visitors.come(key, now):
            inside.append(key)
        assert len(visitors) == len(inside) <= ENDS.connections
        assert all(inside.count(each) <= ENDS.per_source for each in inside)


def test_sources_are_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(spamtrap, "SOURCES", 100)
    visitors = Visitors(Bounds(10, 10, 1))
    for i in range(1000):
        key = i.to_bytes(4, "big")
        assert visitors.come(key, 0.0) == ""
        visitors.go(key)
    assert len(visitors._left) == 100
    assert visitors.come((999).to_bytes(4, "big"), 0.0) == "per_minute"


class Place:
    """A store with a catcher."""

    def __init__(self, store, never="@special\n198.51.100.0/24\n", **manner):
        self.store = store
        self.store.guard = parse_never_list(never, [], "never-list")
        self.log = Log()
        self.breaker = Breaker(Caps(per_hour=3))
        redaction = Redaction(addresses=("bait@example.org",), limit_bytes=2000)
        terms = Terms(rules=redaction, text="$ hit a trap", expires_s=3600.0)
        rules = Rules(TRAPS, Manner(terms, **manner), lambda now: self.breaker)
        self.catcher = Catcher(store, rules, self.log)

    def take(self, source, raw=SPAM, is_cut=False):
        return self.catcher.take(
            Visit(parse_addr(source), "bad.example", "a@bad.example", ("bait@example.org",)), raw, is_cut
        )


@pytest.fixture
def store(tmp_path):
    with closing(open_store(tmp_path / "db")) as opened:
        yield opened
        check_whole(opened)


@pytest.mark.parametrize(("source", "key"), [("203.0.113.9", "203.0.113.9"), ("2001:db9::9", "2001:db9::/64")])
def test_a_catch_is_listed_and_published_with_the_message_as_evidence_without_the_trap(store, source, key):
    place = Place(store)
    assert place.take(source).startswith("550")
    (change,) = store.read(0, 10)
    assert (change.key, change.source, change.text) == (parse_key(key), "trap:main", "$ hit a trap")
    assert (change.code, change.flags) == (PROVEN_CODE, PUBLISHED)
    assert abs(change.expiry_ms / 1000 - time.time() - 3600) < 60
    (piece,) = store.evidence(parse_key(key))
    assert piece.source == "trap:main"
    assert (
        b"Subject: cheap" in piece.body
        and source.encode() in piece.body
        and b"Received: from bad.example" in piece.body
    )
    assert b"bait" not in piece.body


def test_more_mail_of_one_source_is_more_evidence_and_a_later_end(store):
    place = Place(store)
    place.take("203.0.113.9")
    first = store.get_key(parse_key("203.0.113.9"))
    place.take("203.0.113.9", SPAM.replace(b"cheap", b"cheaper"))
    assert len(store.evidence(parse_key("203.0.113.9"))) == 2
    assert store.get_key(parse_key("203.0.113.9")).expiry_ms >= first.expiry_ms
    assert place.breaker.trips == []


@pytest.mark.parametrize("colour", ["white", "yellow", "nobl"])
@pytest.mark.parametrize("key", ["203.0.113.9", "203.0.113.0/24"])
def test_an_exception_of_the_host_or_of_its_network_wins(store, colour, key):
    store.list([NewListing(parse_key(key), COLOURS[colour].code, source="gather:mx", flags=COLOURS[colour].flags)], 1.0)
    place = Place(store)
    assert place.take("203.0.113.9").startswith("550")
    assert store.last_seq() == 1 and place.catcher.counts == {"spared": 1}


def test_brown_is_no_exception_and_does_not_hide_one(store):
    brown, white = COLOURS["brown"], COLOURS["white"]
    host, net = parse_key("203.0.113.9"), parse_key("203.0.113.0/24")
    store.list([NewListing(host, brown.code, source="gather:mx", flags=brown.flags)], 1.0)
    store.list([NewListing(net, white.code, source="gather:mx", flags=white.flags)], 1.0)
    place = Place(store)
    place.take("203.0.113.9")
    assert place.catcher.counts == {"spared": 1}
    store.unlist([net], "admin:test", "", 2.0)
    place.take("203.0.113.9")
    assert store.get_key(host).flags == PUBLISHED and store.get_key(host).code == PROVEN_CODE


def test_the_never_list_the_breaker_and_automatic_answers_hold(store):
    place = Place(store)
    assert place.take("198.51.100.9").startswith("550")
    assert place.take("203.0.113.1", b"Auto-Submitted: auto-replied\r\n" + SPAM).startswith("550")
    assert store.last_seq() == 0 and place.catcher.counts == {"spared": 1, "answers": 1}
    answers = [place.take(f"203.0.113.{i}")[:3] for i in range(10, 15)]
    assert answers == ["550"] * 3 + ["451"] * 2 and store.counts()["tarpit"] == 3
    assert sum(verb == "TROUBLE" for verb, _ in place.log.lines) == 1


def test_what_is_too_long_is_a_catch_and_told_so(store):
    assert Place(store).take("203.0.113.9", is_cut=True).startswith("552")
    assert store.counts()["tarpit"] == 1


def test_accepting_is_a_choice_and_observing_lists_nothing(store):
    place = Place(store, answer="accept", is_observing=True)
    assert place.take("203.0.113.9").startswith("250")
    assert store.last_seq() == 0 and place.catcher.counts == {"would_list": 1}


def test_a_trap_for_nobody_does_not_start(tmp_path):
    (tmp_path / "sc.toml").write_text("[trap]\nlisten = ['127.0.0.1:2525']\n")
    with pytest.raises(ConfigError, match=r"trap\.recipients: none, want addresses or domains"):
        CliRunner().invoke(cli, ["-c", str(tmp_path / "sc.toml"), "trap"], catch_exceptions=False)


@given(raw=st.binary(max_size=300))
def test_no_message_is_a_fault(raw):
    assert spamtrap.is_answer(raw) in (True, False)


def test_any_bytes_are_evidence(store):
    place = Place(store)
    for i, raw in enumerate([b"", b"\0\xff" * 500, b"\r\n\r\n", b"a" * 100_000]):
        assert place.take(f"203.0.{113 + i}.9", raw).startswith("550" if i < 3 else "451")  # the breaker's third
