"""cleanup: what is over goes, what is not stays, orphans are found, a dry run tells the same and leaves no trace."""

import pytest

from jobkit import A, addr, cause
from spamcannibal import layout
from spamcannibal.breaker import Breaker, Caps
from spamcannibal.jobs.cleanup import Cleanup, Plan
from spamcannibal.record import HEARSAY_CODE, Action, Checked, Contrib, Piece
from spamcannibal.store import examine, sweep
from spamcannibal.store.check import check
from spamcannibal.store.examine import Settlement
from spamcannibal.store.prune import floor
from spamcannibal.store.stores import Hearsay, NewListing
from storekit import check_whole, everything, open_store

NOW = 1_700_000_000.0
DAY_S = 86_400
NO_CAPS = Caps()


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    check_whole(opened)
    opened.close()


def ms(days_ago):
    return int((NOW - days_ago * DAY_S) * 1000)


def run(store, caps=NO_CAPS, **plan):
    plan.setdefault("clock", lambda: NOW)
    return Cleanup(store, Breaker(caps, "removals"), Plan(**plan)).run()


def fill(store):
    """Something of everything that is over, and beside it what is not."""
    for n in range(5):
        store.list([NewListing(bytes((9, 0, 0, n)), text=f"old {n}", expiry_ms=ms(n - 1))], NOW - 200 * DAY_S)
    heard = Hearsay((cause(A),))
    store.list([NewListing(bytes((9, 0, 1, 1)), HEARSAY_CODE, expiry_ms=ms(-9), contrib=heard)], NOW - 100 * DAY_S)
    store.unlist([bytes((9, 0, 0, 4))], "admin:me", "", NOW - 99 * DAY_S)
    store.list([NewListing(bytes((9, 0, 2, 1)))], NOW - 80 * DAY_S)
    store.archive([(bytes((8, 0, 0, n)), 1, 1, ms(n * 10)) for n in range(6)])
    notes = {bytes((7, 0, 0, n)): Checked(ms(n), n % 2) for n in range(4)}
    notes |= {bytes((7, 0, 1, n)): Checked(ms(-n)) for n in range(4)}  # from while the clock was wrong
    examine.settle(store, Settlement(checked=notes), NOW)


def test_what_is_over_goes_and_the_rest_stays(store):
    fill(store)
    report = run(store, archive_days=30, journal_days=90, checked_s=2 * DAY_S)
    assert +report.counts == {"expired": 3, "archive": 2, "checked": 2, "journal": 2}
    assert [key for key, _ in store.page("tarpit", None, 99)] == [
        bytes((9, 0, 0, 0)), bytes((9, 0, 1, 1)), bytes((9, 0, 2, 1)),
    ]  # fmt: skip
    assert [key[3] for key, _ in store.page("archive", None, 99)] == [0, 1, 2, 3]
    assert [tuple(key[2:]) for key, _ in store.page("checked", None, 99)] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    assert floor(store) == 7
    assert store.text(store.get_key(bytes((9, 0, 0, 0)))) == "old 0"
    assert list(check(store)) == []
    assert +run(store, checked_s=2 * DAY_S).counts == {}


def test_a_dry_run_tells_the_same_and_leaves_no_trace(store):
    fill(store)
    before = everything(store)
    dry = run(store, is_dry=True)
    assert everything(store) == before
    real = run(store)
    # What expires in this very run is in the journal, and too young to leave it.
    assert (dry.counts, dry.rows) == (real.counts, real.rows)


def test_the_breaker_of_removals_stops_expiry_and_nothing_else(store):
    fill(store)
    report = run(store, caps=Caps(per_run=2))
    assert (report.counts["expired"], report.counts["archive"], report.exit_code) == (2, 2, 1)
    assert run(store).counts["expired"] == 1


def test_many_expire_in_pages(store, monkeypatch):
    monkeypatch.setattr(sweep, "PAGE_LIMIT", 7)
    store.list([NewListing(bytes((9, 0, n >> 8, n & 255)), expiry_ms=1 + n) for n in range(50)], NOW)
    assert run(store, is_dry=True).counts["expired"] == 50
    assert run(store).counts["expired"] == 50
    assert store.counts()["tarpit"] == 0


def test_who_knocks_while_the_archive_is_swept_stays(store, monkeypatch):
    store.archive([(bytes((8, 0, 0, n)), 1, 1, 1) for n in range(3)])
    transact = store.transact

    def knock_first(*arguments, **options):
        store.archive([(bytes((8, 0, 0, 1)), 1, ms(0), ms(0))])
        return transact(*arguments, **options)

    monkeypatch.setattr(store, "transact", knock_first)
    assert sweep.old_contacts(store, ms(30), False, lambda: False) == 2
    assert [key[3] for key, _ in store.page("archive", None, 9)] == [1]


def damage(store):
    """Rows that belong to nothing: as a failing disk or a hand would leave them."""
    store.list([NewListing(bytes((9, 0, 0, n)), text="x", expiry_ms=ms(-5)) for n in range(6)], NOW)
    contrib = layout.pack_contrib(Contrib(HEARSAY_CODE, 0, (cause(A),)))

    def write(batch):
        batch.put("evidence", addr("5.5.5.5"), layout.pack_evidence([Piece(1, "x", b"y")]))
        batch.put("blcontrib", addr("5.5.5.6"), contrib)
        batch.put("blcontrib", bytes((9, 0, 0, 0)), contrib)
        batch.put("expiry", layout.pack_seq(7) + addr("5.5.5.7"), b"")
        batch.put("expiry", layout.pack_seq(7) + bytes((9, 0, 0, 1)), b"")
        batch.drop("evidence", bytes((9, 0, 0, 2)))
        batch.tally.evidence += 1
        batch.tally.blcontrib += 2

    store.transact(NOW, write)


def test_orphans_go_and_the_store_is_whole_again(store):
    damage(store)
    assert len(list(check(store))) >= 5
    before = everything(store)
    found = run(store, is_dry=True)
    assert everything(store) == before
    report = run(store)
    assert report.counts["orphans"] == 6
    assert {(row["key"], row["done"]) for row in report.rows if row["done"] != "expired"} == {
        (addr("5.5.5.5"), "orphan of evidence"), (addr("5.5.5.6"), "orphan of blcontrib"),
        (bytes((9, 0, 0, 0)), "orphan of blcontrib"), (layout.pack_seq(7) + addr("5.5.5.7"), "orphan of expiry"),
        (layout.pack_seq(7) + bytes((9, 0, 0, 1)), "orphan of expiry"), (bytes((9, 0, 0, 2)), "orphan of tarpit"),
    }  # fmt: skip
    assert found.counts["orphans"] >= 6
    assert list(check(store)) == []
    change = store.change(store.last_seq())
    assert (change.action, change.source, change.text) == (Action.UNLIST, "cleanup", sweep.NO_REASON)


def test_told_to_stop_it_ends_between_steps_and_the_store_is_whole(store):
    fill(store)
    report = run(store, stop=lambda: True)
    assert report.is_stopped
    assert store.counts()["tarpit"] == 6


def test_log_files_that_no_recovery_needs_are_removed(store, tmp_path):
    for n in range(60):
        items = [NewListing(bytes((9, n, i >> 8, i & 255)), evidence=bytes(900)) for i in range(500)]
        store.list(items, NOW)
    run(store)
    assert len(list((tmp_path / "store").glob("log.*"))) <= 2
