"""What the jobs read and write of the store, and what their report keeps."""

import pytest

from jobkit import CODE2, NOW, NOW_MS, A, addr, cause
from spamcannibal import layout
from spamcannibal.addr import format_addr, parse_key
from spamcannibal.errors import NeverListed
from spamcannibal.jobs.report import ROWS_LIMIT, Report
from spamcannibal.record import HEARSAY_CODE, Cause, Checked
from spamcannibal.store import examine, sweep
from spamcannibal.store.examine import Known, Settlement
from spamcannibal.store.stores import Hearsay, NewListing
from storekit import check_whole, everything, open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    check_whole(opened)
    opened.close()


def heard(text, *zones):
    causes = tuple(Cause(zone, CODE2) for zone in zones)
    return NewListing(parse_key(text), HEARSAY_CODE, "x", "blcheck:x", contrib=Hearsay(causes))


def test_an_address_is_known_by_any_listing_around_it_and_by_its_note(store):
    store.list([NewListing(parse_key("1.2.3.0/24")), NewListing(parse_key("2001:db8::/64"))], NOW)
    examine.settle(store, Settlement(checked={addr("5.5.5.5"): Checked(NOW_MS, 2)}), NOW)
    texts = ("1.2.3.4", "1.2.4.4", "5.5.5.5", "2001:db8::5", "2001:db8:1::5")
    addrs = [addr(text) for text in texts]
    assert examine.known(store, addrs, addrs) == [
        Known(True, None), Known(False, None), Known(False, Checked(NOW_MS, 2)), Known(True, None), Known(False, None),
    ]  # fmt: skip


def test_a_settlement_happens_whole_or_not_at_all(store):
    store.archive([(addr(text), 1, 1, 1) for text in ("1.1.1.1", "2.2.2.2", "198.51.100.7")])
    before = everything(store)
    forbidden = Settlement(
        listings=[heard("1.1.1.1", A), heard("198.51.100.7", A)],
        done=[addr("1.1.1.1"), addr("198.51.100.7"), addr("2.2.2.2")],
        checked={addr("2.2.2.2"): Checked(NOW_MS)},
        passed=1,
    )
    with pytest.raises(NeverListed):
        examine.settle(store, forbidden, NOW)
    assert everything(store) == before


def test_notes_of_who_passed_are_bounded_and_have_room_again_after_a_sweep(store, monkeypatch):
    monkeypatch.setattr(examine, "NOTES_LIMIT", 3)
    texts = [f"9.9.9.{n}" for n in range(5)]

    def note(unknown=0, ms=NOW_MS):
        examine.settle(store, Settlement(checked={addr(text): Checked(ms, unknown) for text in texts}), NOW)
        rows = store.page("checked", None, 9)
        return {format_addr(key): (checked.checked_ms, checked.unknown) for key, checked in rows}

    assert note() == dict.fromkeys(texts[:3], (NOW_MS, 0))
    assert note(ms=NOW_MS + 1) == dict.fromkeys(texts[:3], (NOW_MS + 1, 0))  # what is there is kept current
    assert note(unknown=1) == dict.fromkeys(texts, (NOW_MS, 1))  # of the unsure, who stay in the archive, all
    assert sweep.old_checked(store, NOW_MS + 1, NOW_MS + 1, dry_run=False, stop=lambda: False) == 5
    assert len(note()) == 3


def test_hits_count_new_listings_only_by_each_cause(store):
    assert examine.hits(store) is None
    examine.settle(store, Settlement(listings=[heard("1.1.1.1", "a", "b"), heard("1.1.1.2", "b")]), NOW)
    examine.settle(store, Settlement(listings=[heard("1.1.1.2", "c"), heard("1.1.1.3", "b")], passed=3), NOW + 9)
    found = examine.hits(store)
    assert (found.since_ms, found.passed, list(found.zones.items())) == (NOW_MS, 3, [("b", 3), ("a", 1)])


def test_only_so_many_zones_are_counted_the_most_frequent_ones(store, monkeypatch):
    monkeypatch.setattr(examine, "ZONES_LIMIT", 3)
    for n in range(8):
        zones = [f"z{m}" for m in range(n, 8)]
        examine.settle(store, Settlement(listings=[heard(f"1.1.1.{n}", *zones)]), NOW)
    assert len(examine.hits(store).zones) == 3


def test_hearsay_is_paged_in_key_order_without_what_is_proven(store):
    for n in range(9):
        store.list([heard(f"1.1.1.{n}", A) if n % 3 else NewListing(addr(f"1.1.1.{n}"), evidence=b"x")], NOW)
    found, after = [], None
    while page := examine.hearsay(store, after, 2):
        found += page
        after = page[-1].key
    assert [entry.key[3] for entry in found] == [1, 2, 4, 5, 7, 8]
    assert {entry.contrib.causes for entry in found} == {(cause(A),)}
    assert [entry.listing.seq for entry in found] == [2, 3, 5, 6, 8, 9]


def test_a_page_of_hearsay_without_listings_is_not_the_end(store):
    store.list([heard("1.1.1.9", A)], NOW)
    row = layout.pack_contrib(store.contrib(addr("1.1.1.9")))
    orphans = [addr(f"1.1.1.{n}") for n in range(5)]
    store.env.run(lambda txn: [store.env.db("blcontrib").put(key, row, txn) for key in orphans])
    assert [entry.key for entry in examine.hearsay(store, None, 2)] == [addr("1.1.1.9")]
    assert examine.hearsay(store, addr("1.1.1.9"), 2) == []
    store.env.run(lambda txn: [store.env.db("blcontrib").delete(key, txn) for key in orphans])


def test_a_report_keeps_so_many_rows_and_all_numbers():
    report = Report("blcheck")
    for _ in range(ROWS_LIMIT + 5):
        report.counts["listed"] += 1
        report.note(bytes(4), "listed")
    assert (len(report.rows), report.summary()) == (ROWS_LIMIT, f"blcheck: listed {ROWS_LIMIT + 5}")


def test_minor_notes_leave_room_for_the_others():
    report = Report("blcheck")
    for _ in range(ROWS_LIMIT):
        report.note(bytes(4), "unsure", is_minor=True)
    report.note(bytes(4), "listed")
    assert (len(report.rows), report.rows[-1]["done"]) == (ROWS_LIMIT // 2 + 1, "listed")


@pytest.mark.parametrize(
    ("report", "code", "has_news"),
    [
        (Report("x"), 0, False),
        (Report("x", counts={"passed": 5, "unsure": 2}), 0, False),
        (Report("x", counts={"listed": 1}), 0, True),
        (Report("x", trips=["breaker"]), 1, True),
        (Report("x", trips=["breaker"], unavailable="no resolver"), 75, True),
    ],
)
def test_exit_codes_and_what_is_news(report, code, has_news):
    assert (report.exit_code, report.has_news) == (code, has_news)
