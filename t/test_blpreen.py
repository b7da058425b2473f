"""blpreen on a real store with scripted answers: what is looked at, refreshed, removed, and what stays untouched."""

import pytest

from jobkit import (
    CODE2,
    DAY_S,
    MISSING,
    NOW,
    NOW_MS,
    SILENT,
    A,
    Asker,
    B,
    addr,
    cause,
    listed,
    make_rules,
    named,
    remote,
    unknown,
)
from spamcannibal.addr import listing_key, parse_key
from spamcannibal.breaker import Breaker, Caps
from spamcannibal.errors import Unavailable
from spamcannibal.guard import parse_never_list
from spamcannibal.jobs import blpreen
from spamcannibal.jobs.blpreen import BlPreen, Plan
from spamcannibal.record import HEARSAY_CODE, PUBLISHED, Action, Mode
from spamcannibal.store.stores import Amendment, Hearsay, NewListing
from storekit import check_whole, everything, open_store

LISTS = (remote(A, expires_s=9 * DAY_S), remote(B))
LATER_MS = NOW_MS + 3 * DAY_S * 1000
IP = "1.2.3.4"
NO_CAPS = Caps()


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    check_whole(opened)
    opened.close()


def hear(store, text, *zones, contact_ms=NOW_MS, expiry_ms=LATER_MS, about=True):
    """List an address on hearsay, as blcheck does."""
    key = listing_key(addr(text)) if "/" not in text else parse_key(text)
    causes = tuple(cause(zone, text if about else "") for zone in zones)
    item = NewListing(key, HEARSAY_CODE, "old text", "blcheck:x", expiry_ms=expiry_ms, contrib=Hearsay(causes))
    store.list([item], NOW - 1000)
    store.touch([(key[:16] if len(key) > 5 else key[:4], 1, contact_ms, contact_ms)])
    return key


def run(store, asker=None, rules=None, caps=NO_CAPS, **plan):
    asker = asker or Asker(LISTS)
    rules = rules or make_rules(*asker.lists)
    plan.setdefault("clock", lambda: NOW)
    return BlPreen(store, rules, asker, Breaker(caps, "removals"), Plan(**plan)).run()


@pytest.mark.parametrize("text", [IP, "2001:db8:5::9"])
def test_what_the_list_says_no_more_is_removed_and_what_it_says_is_refreshed(store, text):
    key = hear(store, text, A)
    store.amend(key, Amendment(mode=Mode.DROP, flags=PUBLISHED), "admin:me", NOW)
    asker = Asker(LISTS, {text: [listed(A, "new text")]})
    assert run(store, asker).counts == {"not_due": 0, "refreshed": 1}
    listing, change = store.get_key(key), store.change(store.last_seq())
    assert (listing.expiry_ms, listing.mode, listing.flags) == (NOW_MS + 9 * DAY_S * 1000, Mode.DROP, PUBLISHED)
    assert (change.action, change.source) == (Action.AMEND, f"blpreen:{A}")
    assert change.text == f"new text, Blacklisted by: {A}"
    assert store.contrib(key).causes == (cause(A, text, CODE2, "new text"),)
    report = run(store)
    assert report.counts == {"not_due": 0, "removed": 1}
    assert report.rows == [{"key": key, "done": "removed", "text": f"no longer listed by {A}"}]
    change = store.change(store.last_seq())
    assert (change.action, change.source, store.get_key(key)) == (Action.UNLIST, "blpreen", None)


@pytest.mark.parametrize(
    "answers", [[unknown(A)], [unknown(A, "set aside: lists everything")], [unknown(A, "SERVFAIL")]], ids=str
)
def test_unknown_removes_nothing_and_prolongs_nothing(store, answers):
    key = hear(store, IP, A)
    seq = store.last_seq()
    assert run(store, Asker(LISTS, {IP: answers})).counts == {"not_due": 0, "kept": 1}
    assert (store.get_key(key).expiry_ms, store.last_seq()) == (LATER_MS, seq)


def test_all_that_caused_an_entry_must_say_no(store):
    key = hear(store, IP, A, B)
    run(store, Asker(LISTS, {IP: [unknown(B)]}))
    assert store.get_key(key).expiry_ms == LATER_MS
    run(store, Asker(LISTS, {IP: [listed(B)]}))
    assert [each.zone for each in store.contrib(key).causes] == [B]
    run(store)
    assert store.get_key(key) is None


RECENT = {
    "knocked today": ({"contact_ms": NOW_MS - 3600_000}, True),
    "knocked a week ago": ({"contact_ms": NOW_MS - 8 * DAY_S * 1000}, False),
    "ends tomorrow": ({"contact_ms": 1, "expiry_ms": NOW_MS + 3600_000}, True),
    "ends later": ({"contact_ms": 1}, False),
    "never ends": ({"contact_ms": 1, "expiry_ms": 0}, False),
}


@pytest.mark.parametrize(("entry", "is_wanted"), RECENT.values(), ids=RECENT)
def test_only_what_knocked_lately_or_ends_soon_is_looked_at(store, entry, is_wanted):
    key = hear(store, IP, A, **entry)
    asker = Asker(LISTS)
    assert run(store, asker).counts["not_due"] == (not is_wanted)
    assert len(asker.asked["verdicts"]) == is_wanted
    assert (store.get_key(key) is None) == is_wanted
    run(store, asker, is_all=True)
    assert store.get_key(key) is None


def test_entries_with_evidence_stay(store):
    store.list([NewListing(addr(IP), text="proven", evidence=b"mail")], NOW)
    asker = Asker(LISTS)
    assert run(store, asker, is_all=True).counts == {}
    assert (store.last_seq(), asker.asked["verdicts"]) == (1, [])


def test_our_own_rules_judge_their_entries(store):
    for n, zone in enumerate(("BlackList", "in-addr.arpa", "genericPTR", "XA"), 1):
        for half in (0, 100):
            hear(store, f"9.9.9.{half + n}", zone)
    rules = make_rules(
        *LISTS, block="9.9.9.1", missing_ptr=True, generic="@", countries="XA",
        country_of=[("9.9.9.4", "XA"), ("9.9.9.104", "XB")],
    )  # fmt: skip
    asker = Asker(LISTS, {}, {"9.9.9.2": MISSING, "9.9.9.3": named("9-9-9-3.example.net")})
    assert run(store, asker, rules).counts == {"not_due": 0, "refreshed": 4, "removed": 4}
    assert [key[3] for key, _ in store.page("tarpit", None, 99)] == [1, 2, 3, 4]
    assert {listing.expiry_ms - NOW_MS for _, listing in store.page("tarpit", None, 99)} == {
        days * DAY_S * 1000 for days in (30, 2, 3, 4)
    }
    assert sorted(key[3] for key in asker.asked["pointers"]) == [2, 3, 102, 103]
    silent = Asker(LISTS, {}, {"9.9.9.2": SILENT, "9.9.9.3": SILENT})
    assert run(store, silent, rules).counts == {"not_due": 0, "refreshed": 2, "kept": 2}


def test_what_left_the_settings_is_not_asked_about_and_ends_in_its_time(store):
    for n, zone in enumerate(("gone.example", "BlackList", "in-addr.arpa", "genericPTR", "XA"), 1):
        hear(store, f"9.9.9.{n}", zone)
    before = everything(store)
    asker = Asker(LISTS)
    assert run(store, asker).counts == {"not_due": 0, "kept": 5}
    assert everything(store) == before
    assert asker.asked == {"verdicts": [], "pointers": [], "zones": []}


def test_only_the_lists_that_caused_entries_are_asked_each_group_once(store):
    hear(store, "9.9.9.1", A)
    hear(store, "9.9.9.2", A)
    hear(store, "9.9.9.3", B, A)
    hear(store, "9.9.9.4", "gone.example")
    asker = Asker(LISTS)
    run(store, asker)
    assert sorted(asker.asked["zones"]) == [(A,), (A, B)]
    assert len(asker.asked["verdicts"]) == 3


def test_a_network_without_its_address_is_left_alone(store):
    key = hear(store, "9.9.9.0/24", A, about=False)
    assert run(store).counts == {"not_due": 0, "kept": 1}
    assert store.get_key(key) is not None


def test_what_the_never_list_forbids_by_now_is_removed_without_a_question(store):
    key = hear(store, IP, A)
    before, store.guard = store.guard, parse_never_list("1.2.0.0/16", (), "never-list")
    asker = Asker(LISTS, {IP: [listed(A)]})
    assert run(store, asker).counts == {"not_due": 0, "removed": 1}
    assert (store.get_key(key), asker.asked["verdicts"]) == (None, [])
    assert store.change(store.last_seq()).text == "the never-list forbids it"
    store.guard = before


@pytest.mark.parametrize("answer", [[], [listed(A, "new")]], ids=["removal", "refreshment"])
@pytest.mark.parametrize("meanwhile", ["proven", "removed", "amended"])
def test_what_somebody_changed_meanwhile_is_left_as_it_is(store, meanwhile, answer):
    key = hear(store, IP, A)
    asker = Asker(LISTS, {IP: answer})
    acts = {
        "proven": lambda _: store.list([NewListing(key, text="proof", evidence=b"mail")], NOW),
        "removed": lambda _: store.unlist([key], "admin:me", "sorry", NOW),
        "amended": lambda _: store.amend(key, Amendment(expiry_ms=0), "admin:me", NOW),
    }
    asker.before = acts[meanwhile]
    report = run(store, asker)
    assert report.counts == {"not_due": 0, "changed_meanwhile": 1}
    assert (store.last_seq(), report.rows) == (2, [])
    assert (store.get_key(key) is None) == (meanwhile == "removed")


def test_the_breaker_of_removals_holds_back_and_exits_with_1(store):
    for n in range(10):
        hear(store, f"9.9.{n}.1", A)
    report = run(store, caps=Caps(per_run=4))
    assert (report.counts, report.exit_code) == ({"not_due": 0, "removed": 4, "held_back": 6}, 1)
    assert "4 removals in this run" in report.trips[0]
    assert run(store).counts == {"not_due": 0, "removed": 6}


def test_a_dry_run_tells_the_same_and_leaves_no_trace(store):
    for n in range(10):
        hear(store, f"9.9.{n}.1", A)
    asker = Asker(LISTS, {f"9.9.{n}.1": [listed(A)] for n in range(4)} | {"9.9.9.1": [unknown(A)]})
    before = everything(store)
    dry = run(store, asker, is_dry=True)
    assert everything(store) == before
    real = run(store, asker)
    assert (dry.counts, dry.rows) == (real.counts, real.rows)
    assert real.counts == {"not_due": 0, "removed": 5, "refreshed": 4, "kept": 1}


def test_stopped_or_cut_off_the_page_under_way_changes_nothing(store, monkeypatch):
    monkeypatch.setattr(blpreen, "PAGE_LIMIT", 3)
    for n in range(9):
        hear(store, f"9.9.{n}.1", A)
    asker, seen = Asker(LISTS), []
    asker.before = seen.append
    report = run(store, asker, stop=lambda: len(seen) > 4)
    assert (report.is_stopped, report.counts["removed"]) == (True, 3)
    assert store.counts()["tarpit"] == 6

    def fail(_):
        raise Unavailable("no resolver answers")

    asker.before = fail
    report = run(store, asker)
    assert (report.exit_code, store.counts()["tarpit"]) == (75, 6)
