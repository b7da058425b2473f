"""What mail servers reported, in the store: over whose listings it goes, and that one forbidden key stops no other."""

import pytest

from spamcannibal.addr import parse_key
from spamcannibal.colours import COLOURS
from spamcannibal.record import Cause
from spamcannibal.store.batch import Hearsay, NewListing
from spamcannibal.store.reports import Done, list_reported
from storekit import check_whole, open_store

NOW = 1_800_000_000.0
KEY = parse_key("203.0.113.7")
TOLD = Hearsay((Cause("other.example", bytes((127, 0, 0, 3))),))


@pytest.fixture
def store(tmp_path):
    made = open_store(tmp_path / "store")
    yield made
    check_whole(made)
    made.close()


def reported(colour, key=KEY, by="mx1"):
    code, flags = COLOURS[colour]
    return NewListing(key, code, "because", f"gather:{by}", expiry_ms=int((NOW + 86400) * 1000), flags=flags)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("source", "contrib", "changes"),
    [
        (None, None, (*COLOURS,)),
        ("gather:mx2", None, (*COLOURS,)),
        ("admin:me", None, ()),
        ("robot:0123", None, ()),
        ("import:file", None, ()),
        ("blcheck:other.example", TOLD, ("black",)),
    ],
    ids=str,
)
def test_a_report_changes_reports_and_proves_hearsay_and_nothing_else(store, colour, source, contrib, changes):
    if source:
        store.list([NewListing(KEY, source=source, contrib=contrib)], NOW - 10)
    before = store.get_key(KEY)
    (done,) = list_reported(store, [reported(colour)], NOW)
    if colour in changes:
        assert done is Done.LISTED
        listing = store.get_key(KEY)
        assert (listing.code, listing.flags) == COLOURS[colour] and store.contrib(KEY) is None
    else:
        assert done is Done.KEPT and store.get_key(KEY) == before


def test_one_forbidden_key_stops_no_other(store):
    keys = [parse_key(text) for text in ("203.0.113.1", "198.51.100.1", "203.0.113.2", "198.51.0.0/16", "10.0.0.1")]
    done = list_reported(store, [reported("black", key) for key in keys], NOW)
    assert [what.value for what in done] == ["listed", "forbidden", "listed", "forbidden", "listed"]
    assert [change.key for change in store.read(0, 10)] == [keys[0], keys[2], keys[4]]


def test_what_is_listed_so_already_makes_no_record(store):
    for _ in range(3):
        assert list_reported(store, [reported("black")] * 2, NOW) == [Done.LISTED] * 2
    assert store.last_seq() == 1


def test_the_last_of_several_decisions_about_a_key_holds(store):
    list_reported(store, [reported("brown"), reported("black"), reported("white")], NOW)
    assert store.get_key(KEY).code == COLOURS["white"].code
    assert [change.code[3] for change in store.history(KEY)] == [4, 2, 1]
