"""blcheck on a real store with scripted answers: archive + settings + answers -> lists, archive, journal, counts."""

import random

import pytest

from jobkit import (
    CODE2,
    CODE9,
    DAY_S,
    MISSING,
    NOW,
    NOW_MS,
    SILENT,
    A,
    Asker,
    B,
    addr,
    listed,
    make_rules,
    named,
    remote,
    unknown,
)
from spamcannibal.addr import parse_key
from spamcannibal.breaker import Breaker, Caps
from spamcannibal.errors import NeverListed, Unavailable
from spamcannibal.guard import TABLES, parse_never_list
from spamcannibal.jobs import blcheck
from spamcannibal.jobs.blcheck import BlCheck, Plan
from spamcannibal.record import Cause, Checked
from spamcannibal.remote.verdict import Outcome, Verdict
from spamcannibal.store import examine
from spamcannibal.store.stores import NewListing
from storekit import check_whole, everything, open_store

LISTS = (remote(A), remote(B))
NO_CAPS = Caps()
V6 = "2001:db8:5::9"
STOPPED = Verdict(A, Outcome.UNKNOWN, reason="stopped")


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    check_whole(opened)
    opened.close()


def knock(store, *texts, last_ms=NOW_MS):
    store.archive([(addr(text), 1, last_ms, last_ms) for text in texts])


def run(store, asker=None, rules=None, caps=NO_CAPS, **plan):
    asker = asker or Asker(LISTS)
    rules = rules or make_rules(*asker.lists)
    plan.setdefault("clock", lambda: NOW)
    return BlCheck(store, rules, asker, Breaker(caps), Plan(**plan)).run()


def archived(store):
    return [key for key, _ in store.page("archive", None, 10**6)]


def test_a_hit_becomes_one_listing_with_all_that_it_needs(store):
    knock(store, "1.2.3.4", last_ms=NOW_MS - 5)
    asker = Asker(LISTS, {"1.2.3.4": [listed(A, "spam source", codes=(CODE9,)), listed(B)]})
    report = run(store, asker)
    listing = store.get_key(addr("1.2.3.4"))
    assert (listing.code, listing.flags, listing.contact_ms) == (bytes((127, 0, 0, 3)), 0, NOW_MS - 5)
    assert listing.expiry_ms == NOW_MS + 7 * DAY_S * 1000
    (change,) = store.read(0, 10)
    assert (change.source, change.text) == (f"blcheck:{A}", f"spam source, Blacklisted by: {A}")
    assert store.contrib(addr("1.2.3.4")).causes == (
        Cause(A, CODE9, addr("1.2.3.4"), "spam source"), Cause(B, CODE2, addr("1.2.3.4"), ""),
    )  # fmt: skip
    assert archived(store) == []
    assert report.counts == {"listed": 1}
    assert examine.hits(store).zones == {A: 1, B: 1}


def test_who_passes_leaves_the_archive_and_is_not_asked_about_while_fresh(store):
    asker = Asker(LISTS)
    for hours, asked in ((0, 1), (1, 0), (23, 0), (25, 1)):
        knock(store, "1.2.3.4")
        now = NOW + hours * 3600
        run(store, asker, clock=lambda now=now: now)
        assert len(asker.asked["verdicts"]) == asked
        asker.asked["verdicts"].clear()
        assert archived(store) == []
    assert examine.hits(store).passed == 2


def test_what_is_listed_or_never_listed_is_forgotten_without_a_question(store):
    knock(store, "1.2.3.4", "198.51.100.9", "127.0.0.5", "1.2.9.9")
    store.list([NewListing(parse_key("1.2.3.0/24")), NewListing(parse_key("1.2.9.0/24"))], NOW)
    knock(store, "1.2.3.4")
    asker = Asker(LISTS)
    report = run(store, asker)
    assert (asker.asked["verdicts"], archived(store)) == ([], [])
    assert report.counts == {"listed_already": 2, "never_listed": 2}
    assert examine.hits(store).never == 2
    assert store.last_seq() == 2


def test_rules_go_before_lists_and_spare_their_questions(store):
    knock(store, "1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6")
    rules = make_rules(
        *LISTS, block="1.1.1.1", missing_ptr=True, generic="@", countries="XA", country_of=[("1.1.1.4", "XA")]
    )
    pointers = {"1.1.1.2": MISSING, "1.1.1.3": named("1-1-1-3.example.net"), "1.1.1.6": SILENT}
    asker = Asker(LISTS, {"1.1.1.5": [listed(A)]}, pointers)
    run(store, asker, rules)
    assert {key: listing.code[3] for key, listing in store.page("tarpit", None, 99)} == {
        addr("1.1.1.1"): 5, addr("1.1.1.2"): 4, addr("1.1.1.3"): 7, addr("1.1.1.4"): 6, addr("1.1.1.5"): 3,
    }  # fmt: skip
    assert asker.asked["pointers"] == [addr(f"1.1.1.{n}") for n in (2, 3, 4, 5, 6)]
    assert asker.asked["verdicts"] == [addr("1.1.1.5"), addr("1.1.1.6")]
    assert archived(store) == [addr("1.1.1.6")]
    assert {change.source for change in store.read(0, 9)} == {
        "blcheck:BlackList", "blcheck:in-addr.arpa", "blcheck:genericPTR", "blcheck:XA", f"blcheck:{A}",
    }  # fmt: skip


def test_without_lists_nobody_is_asked(store):
    knock(store, "1.1.1.1", "1.1.1.2")
    BlCheck(store, make_rules(block="1.1.1.1"), None, Breaker(Caps()), Plan(clock=lambda: NOW)).run()
    assert [key for key, _ in store.page("tarpit", None, 9)] == [addr("1.1.1.1")]
    assert archived(store) == []


def test_the_unsure_stay_so_many_runs_and_then_pass_with_a_note(store):
    asker = Asker(LISTS, {"1.2.3.4": [unknown(A, "SERVFAIL")]})
    knock(store, "1.2.3.4")
    for turn in (1, 2):
        report = run(store, asker, unknown_runs=3)
        assert report.counts == {"unsure": 1}
        assert report.rows == [{"key": addr("1.2.3.4"), "done": "unsure", "text": f"{A}: SERVFAIL"}]
        assert report.summary() == f"blcheck: unsure 1; no answer from {A} 1"
        assert not report.has_news
        assert store.page("checked", None, 9) == [(addr("1.2.3.4"), Checked(NOW_MS, turn))]
        assert archived(store) == [addr("1.2.3.4")]
    report = run(store, asker, unknown_runs=3)
    assert report.rows == [{"key": addr("1.2.3.4"), "done": "passed unsure", "text": f"{A}: SERVFAIL"}]
    assert (archived(store), store.page("checked", None, 9)) == ([], [(addr("1.2.3.4"), Checked(NOW_MS, 0))])
    assert (examine.hits(store).given_up, store.last_seq()) == (1, 0)


def test_an_answer_in_between_begins_the_count_anew(store):
    asker = Asker(LISTS, {"1.2.3.4": [unknown(A)]})
    knock(store, "1.2.3.4")
    run(store, asker, unknown_runs=3)
    run(store, Asker(LISTS), unknown_runs=3)
    knock(store, "1.2.3.4")
    run(store, asker, unknown_runs=3, fresh_s=-1)
    assert dict(store.page("checked", None, 9))[addr("1.2.3.4")].unknown == 1


def test_who_passed_while_the_clock_was_wrong_is_not_fresh_until_then(store):
    knock(store, "1.2.3.4")
    BlCheck(store, make_rules(*LISTS), Asker(LISTS), Breaker(Caps()), Plan(clock=lambda: NOW + 365 * DAY_S)).run()
    knock(store, "1.2.3.4")
    asker = Asker(LISTS, {"1.2.3.4": [listed(A)]})
    assert run(store, asker).counts == {"listed": 1}


def test_of_an_ipv6_network_one_address_is_asked_about_and_its_knocks_count_for_the_listing(store):
    knock(store, "2001:db8:5::1", last_ms=NOW_MS - 9)
    knock(store, V6, "2001:db8:6::1", last_ms=NOW_MS)
    asker = Asker(LISTS, {"2001:db8:5::1": [listed(A)]})
    report = run(store, asker)
    assert asker.asked["verdicts"] == [addr("2001:db8:5::1"), addr("2001:db8:6::1")]
    key = parse_key("2001:db8:5::/64")
    assert (store.get_key(key).contact_ms, store.contrib(key).causes[0].addr) == (NOW_MS - 9, addr("2001:db8:5::1"))
    assert report.counts == {"listed": 1, "passed": 1, "next_run": 1}
    assert run(store, asker).counts == {"listed_already": 1}
    assert (archived(store), store.get_key(key).contact_ms) == ([], NOW_MS)
    knock(store, "2001:db8:6::2")
    assert run(store, asker).counts == {"fresh": 1}


def test_many_pages_are_settled_in_transactions_of_at_most_a_thousand(store, monkeypatch):
    texts = [f"9.{n >> 8}.{n & 255}.1" for n in range(2500)]
    knock(store, *texts)
    bad = texts[::3]
    settled = []
    before = examine.settle

    def settle(store, done, now):
        settled.append(len(done.done))
        before(store, done, now)

    monkeypatch.setattr(examine, "settle", settle)
    report = run(store, Asker(LISTS, {text: [listed(A)] for text in bad}))
    assert report.counts == {"listed": len(bad), "passed": 2500 - len(bad)}
    assert sorted(key for key, _ in store.page("tarpit", None, 9999)) == sorted(map(addr, bad))
    assert (sum(settled), archived(store)) == (2500, [])
    assert max(settled) <= 1000


def test_an_archive_page_of_forgotten_ones_is_settled_too(store):
    knock(store, *(f"198.51.100.{n}" for n in range(200)), *(f"127.0.{n >> 8}.{n & 255}" for n in range(2000)))
    assert run(store).counts == {"never_listed": 2200}
    assert archived(store) == []


@pytest.mark.parametrize(
    ("caps", "counts"),
    [
        (Caps(per_run=3), {"listed": 3, "held_back": 1, "passed": 0}),
        (Caps(per_source=2), {"listed": 4, "held_back": 4, "passed": 1}),
        (Caps(per_net=1), {"listed": 7, "held_back": 1, "passed": 1}),
    ],
    ids=["run", "source", "net"],
)
def test_breakers_hold_back_keep_in_the_archive_and_exit_with_1(store, caps, counts):
    bad = {f"9.0.{n}.1": [listed(A if n % 2 else B)] for n in range(7)} | {"9.0.6.2": [listed(A)]}
    knock(store, *bad, "9.1.1.1")
    report = run(store, Asker(LISTS, bad), caps=caps)
    assert {name: report.counts[name] for name in counts} == counts
    assert (report.exit_code, len(report.trips)) == (1, 2 if caps.per_source else 1)
    assert store.counts()["tarpit"] == counts["listed"]
    assert len(archived(store)) == 9 - counts["listed"] - counts["passed"]
    run(store, Asker(LISTS, bad))
    assert (store.counts()["tarpit"], archived(store)) == (8, [])


def test_a_dry_run_tells_the_same_and_leaves_no_trace(store):
    bad = {f"9.0.{n}.1": [listed(A)] for n in range(50)}
    knock(store, *bad, "1.1.1.1", "198.51.100.1", "1.1.1.2", V6)
    asker = Asker(LISTS, bad | {"1.1.1.2": [unknown(A)]})
    before = everything(store)
    dry = run(store, asker, is_dry=True, unknown_runs=1)
    assert everything(store) == before
    real = run(store, asker, unknown_runs=1)
    assert (dry.counts, dry.zones, dry.rows) == (real.counts, real.zones, real.rows)
    assert dry.document() | {"dry_run": False} == real.document()


def test_when_told_to_stop_what_is_decided_is_written_and_the_rest_stays_uncounted(store):
    texts = [f"9.0.0.{n}" for n in range(100)]
    knock(store, *texts)
    asker = Asker(LISTS, {text: [listed(A)] for text in texts[:10]} | {text: [STOPPED] for text in texts[10:]})
    stopped = []
    asker.before = lambda one: stopped.append(one) if one == addr("9.0.0.9") else None
    report = run(store, asker, stop=lambda: bool(stopped))
    assert report.is_stopped
    assert report.counts == {"listed": 10, "next_run": 90}
    assert (store.counts()["tarpit"], len(archived(store)), store.page("checked", None, 9)) == (10, 90, [])


def test_when_the_network_goes_down_what_is_decided_is_written_and_the_end_is_75(store):
    knock(store, "9.0.0.1", "9.0.0.2", "9.0.0.3")
    asker = Asker(LISTS, {"9.0.0.1": [listed(A)]})

    def fail(one):
        if one == addr("9.0.0.2"):
            raise Unavailable("no resolver answers")

    asker.before = fail
    report = run(store, asker)
    assert (report.exit_code, report.unavailable, report.counts) == (75, "no resolver answers", {"listed": 1})
    assert (store.counts()["tarpit"], archived(store)) == (1, [addr("9.0.0.2"), addr("9.0.0.3")])


def test_proof_that_came_meanwhile_stands_above_what_a_list_says(store):
    knock(store, "1.2.3.4")
    asker = Asker(LISTS, {"1.2.3.4": [listed(A)]})
    asker.before = lambda one: store.list([NewListing(one, text="proven", evidence=b"mail")], NOW)
    run(store, asker)
    assert (store.contrib(addr("1.2.3.4")), len(store.evidence(addr("1.2.3.4"))), store.last_seq()) == (None, 1, 1)
    assert examine.hits(store) is None


GUARDED = """\
@special
@private
@resolvers
@own
198.51.100.0/24
203.0.113.64/26
2001:db8:77::/48
"""
OWN = [parse_key("192.0.2.25"), parse_key("2001:db8:1::25")]
INSERTS = {
    "own exchanger": "192.0.2.25", "own exchanger by IPv6": "2001:db8:1::25", "beside our IPv6": "2001:db8:1::99",
    "private": "10.1.2.3", "unique local": "fd00::1", "loopback": "127.0.0.9", "configured": "198.51.100.7",
    "configured IPv6": "2001:db8:77:1::1", "inside a part": "203.0.113.70",
}  # fmt: skip
WIDE = ["198.51.0.0/16", "192.0.2.0/24", "203.0.113.0/24", "203.0.113.64/27", "2001:db8::/32", "0.0.0.0/0", "::/0"]


@pytest.fixture
def guarded(store):
    before, store.guard = store.guard, parse_never_list(GUARDED, OWN, "never-list")
    yield store
    store.guard = before


@pytest.mark.parametrize("text", INSERTS.values(), ids=INSERTS)
def test_no_rule_and_no_list_ever_lists_the_never_listed(guarded, text):
    knock(guarded, text)
    block = f"{text}\n198.51.0.0/16\n192.0.2.0/23\n"
    rules = make_rules(*LISTS, block=block, missing_ptr=True, countries="XA", country_of=[(text, "XA")])
    report = run(guarded, Asker(LISTS, {text: [listed(A), listed(B)]}, {text: MISSING}), rules)
    assert (report.counts, guarded.counts()["tarpit"], archived(guarded)) == ({"never_listed": 1}, 0, [])


def test_public_resolvers_are_never_listed(guarded):
    texts = [prefix.split("/")[0] for prefix, _ in TABLES["@resolvers"]]
    assert len(texts) > 10
    knock(guarded, *texts)
    report = run(guarded, Asker(LISTS, {text: [listed(A)] for text in texts}))
    assert (guarded.counts()["tarpit"], report.counts["listed"]) == (0, 0)


@pytest.mark.parametrize("text", WIDE)
def test_networks_around_or_inside_a_guarded_one_are_refused_by_every_way_in(guarded, text):
    item = NewListing(parse_key(text), text="x")
    entry = examine.Refresh(1, item)
    for insert in (
        lambda: guarded.list([item], NOW),
        lambda: examine.settle(guarded, examine.Settlement(listings=[item]), NOW),
        lambda: examine.recheck(guarded, [entry], [], "blpreen", NOW),
    ):
        with pytest.raises(NeverListed):
            insert()
    assert (guarded.counts()["tarpit"], guarded.last_seq()) == (0, 0)


def test_an_ipv6_network_with_a_guarded_address_in_it_is_not_listed_for_another(guarded):
    knock(guarded, "2001:db8:1::666")
    assert run(guarded, Asker(LISTS, {"2001:db8:1::666": [listed(A)]})).counts == {"never_listed": 1}


def test_no_order_of_runs_lists_twice_or_loses_anybody(store, monkeypatch):
    monkeypatch.setattr(blcheck, "PAGE_LIMIT", 7)
    monkeypatch.setattr(blcheck, "SETTLE_LIMIT", 5)
    dice = random.Random(7)
    texts = [f"9.0.{n}.{m}" for n in range(20) for m in range(10)]
    bad = {text for text in texts if dice.random() < 0.4}
    knock(store, *texts)
    asker = Asker(LISTS)
    limit = 0
    while archived(store):
        asker.table = {
            addr(text): [unknown(A)] if dice.random() < 0.3 else [listed(A)] * (text in bad) for text in texts
        }
        limit += 37
        asked = iter(range(limit))
        run(store, asker, stop=lambda asked=asked: next(asked, None) is None, unknown_runs=1000)
    assert {key for key, _ in store.page("tarpit", None, 9999)} == set(map(addr, bad))
    assert store.last_seq() == len(bad) == examine.hits(store).zones[A]
    assert examine.hits(store).passed == len(texts) - len(bad)
