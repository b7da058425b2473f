"""The stores: a listing is one transaction with all that belongs to it; contacts are none; reads find the nearest."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spamcannibal import record
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.errors import AddrError, NeverListed, StoreError
from spamcannibal.record import HEARSAY_CODE, PROVEN_CODE, PUBLISHED, Action, Cause, Mode, Piece
from spamcannibal.store.stores import BATCH_LIMIT, Amendment, Hearsay, Limits, NewListing
from storekit import check_whole, listed, open_store

NOW = 1_700_000_000.5
NOW_MS = 1_700_000_000_500
KEY = parse_key("1.2.3.4")
OTHER = parse_key("2001:db8:1::/64")
HEARD = Hearsay(
    (
        Cause("bl.example", bytes((127, 0, 0, 9)), b"\1\2\3\4", "spam source"),
        Cause("b2.example", bytes((127, 0, 0, 2))),
    )
)


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    check_whole(opened)
    opened.close()


def add(store, key=KEY, now=NOW, **fields):
    return store.list([NewListing(key, source="admin:me", **fields)], now)[0]


def test_a_listing_by_evidence_is_in_tarpit_evidence_and_journal(store):
    assert add(store, text="spam", evidence=b"Received: x", mode=Mode.STUTTER, flags=PUBLISHED) == 1
    listing = store.get_key(KEY)
    assert (listing.code, listing.mode, listing.flags, listing.listed_ms, listing.seq) == (
        PROVEN_CODE, Mode.STUTTER, PUBLISHED, NOW_MS, 1,
    )  # fmt: skip
    assert store.evidence(KEY) == [Piece(NOW_MS, "admin:me", b"Received: x")]
    assert store.contrib(KEY) is None
    (change,) = store.read(0, 10)
    assert (change.action, change.key, change.text, change.source) == (Action.LIST, KEY, "spam", "admin:me")
    assert store.change(listing.seq) == change


def test_without_evidence_the_text_is_the_evidence(store):
    add(store, text="seen by hand")
    assert store.evidence(KEY)[0].body == b"seen by hand"


def test_hearsay_goes_to_blcontrib_and_never_carries_the_proven_code(store):
    add(store, text="listed there", contrib=HEARD)
    assert store.get_key(KEY).code == HEARSAY_CODE
    contrib = store.contrib(KEY)
    assert (contrib.code, contrib.causes) == (HEARSAY_CODE, HEARD.causes)
    assert store.evidence(KEY) == []


def test_hearsay_does_not_change_what_is_proven(store):
    seq = add(store, text="proven", evidence=b"mail", flags=PUBLISHED)
    assert add(store, text="listed there", contrib=HEARD) == seq
    assert (store.get_key(KEY).code, store.contrib(KEY), store.last_seq()) == (PROVEN_CODE, None, seq)


def test_proof_turns_hearsay_into_a_proven_listing(store):
    add(store, text="listed there", contrib=HEARD)
    add(store, text="proven", evidence=b"mail", now=NOW + 5)
    listing = store.get_key(KEY)
    assert (listing.code, listing.listed_ms, store.contrib(KEY)) == (PROVEN_CODE, NOW_MS, None)
    assert [change.action for change in store.history(KEY)] == [Action.LIST, Action.AMEND]


def test_listing_the_same_again_writes_no_journal_record(store):
    assert add(store, text="spam", expiry_ms=NOW_MS + 10) == add(store, text="spam", expiry_ms=NOW_MS + 10) == 1
    assert store.last_seq() == 1


@pytest.mark.parametrize(
    "change",
    [{"text": "b"}, {"mode": Mode.DROP}, {"flags": PUBLISHED}, {"expiry_ms": 7}, {"code": HEARSAY_CODE}],
    ids=str,
)
def test_listing_it_differently_amends(store, change):
    add(store, text="a", expiry_ms=5)
    add(store, **{"text": "a", "expiry_ms": 5, **change})
    assert [c.action for c in store.read(0, 9)] == [Action.LIST, Action.AMEND]


def test_a_batch_happens_whole_or_not_at_all(store):
    items = [NewListing(KEY), NewListing(parse_key("198.51.100.7"))]
    with pytest.raises(NeverListed):
        store.list(items, NOW)
    with pytest.raises(StoreError, match="65535"):
        store.list([NewListing(KEY), NewListing(OTHER, text="x" * 70_000)], NOW)
    assert (store.get_key(KEY), store.last_seq()) == (None, 0)


@pytest.mark.parametrize("text", ["198.51.0.0/16", "198.51.100.1", "127.0.0.2", "::1"])
def test_the_never_list_is_asked_with_every_listing(store, text):
    with pytest.raises(NeverListed):
        store.list([NewListing(parse_key(text))], NOW)


def test_bytes_that_are_no_key_and_codes_outside_127_are_refused(store):
    with pytest.raises(AddrError):
        store.list([NewListing(b"abc")], NOW)
    with pytest.raises(StoreError, match="127"):
        store.list([NewListing(KEY, code=bytes((10, 0, 0, 1)))], NOW)


def test_a_batch_has_a_limit_and_the_limit_works(store):
    items = [NewListing(bytes((1, 1, i >> 8, i & 255))) for i in range(BATCH_LIMIT + 1)]
    with pytest.raises(StoreError, match="at most 1000"):
        store.list(items, NOW)
    assert store.list(items[:-1], NOW) == list(range(1, BATCH_LIMIT + 1))
    assert len(store.unlist([item.key for item in items[:-1]], "admin:me", "all", NOW)) == BATCH_LIMIT


def test_unlisting_takes_everything_and_keeps_it_for_undo(store):
    add(store, text="spam", evidence=b"mail", expiry_ms=NOW_MS + 1)
    store.list([NewListing(OTHER, contrib=HEARD, text="there")], NOW)
    assert store.unlist([KEY, OTHER, parse_key("9.9.9.9")], "web:owner", "sorry", NOW) == [3, 4, 0]
    assert (store.get_key(KEY), store.evidence(KEY), store.contrib(OTHER)) == (None, [], None)
    change = store.change(3)
    assert (change.action, change.text, change.code, change.expiry_ms) == (
        Action.UNLIST, "sorry", PROVEN_CODE, NOW_MS + 1,
    )  # fmt: skip
    contrib, pieces = store.removed(KEY, 3)
    assert contrib is None
    assert [piece.body for piece in pieces] == [b"mail"]
    assert store.removed(OTHER, 4)[0].causes == HEARD.causes
    assert store.removed(KEY, 1) == (None, [])


def test_amend_changes_only_what_is_given(store):
    add(store, text="spam", expiry_ms=NOW_MS + 5, mode=Mode.DROP)
    assert store.amend(KEY, Amendment(flags=PUBLISHED), "admin:me", NOW) == 2
    assert store.amend(KEY, Amendment(expiry_ms=0), "admin:me", NOW) == 3
    assert store.amend(KEY, Amendment(expiry_ms=0), "admin:me", NOW) == 3
    listing = store.get_key(KEY)
    assert (listing.flags, listing.expiry_ms, listing.mode) == (PUBLISHED, 0, Mode.DROP)
    assert store.change(3).text == "spam"
    assert store.amend(OTHER, Amendment(text="x"), "admin:me", NOW) == 0


def test_evidence_is_cut_and_only_the_newest_pieces_stay(tmp_path):
    store = open_store(tmp_path / "store", Limits(evidence_bytes=5, evidence_pieces=3))
    for i in range(5):
        store.list([NewListing(KEY, source=f"robot:{i}", evidence=b"0123456789")], NOW)
    assert [(p.source, p.body) for p in store.evidence(KEY)] == [(f"robot:{i}", b"01234") for i in (2, 3, 4)]
    assert store.add_evidence(KEY, Piece(NOW_MS, "robot:9", b"abcdefgh"))
    assert store.evidence(KEY)[-1].body == b"abcde"
    assert not store.add_evidence(OTHER, Piece(NOW_MS, "robot:9", b"abcdefgh"))
    check_whole(store)
    store.close()


def test_the_most_specific_listing_covers_an_address(store):
    for text in ("1.2.0.0/16", "1.2.3.0/24", "1.2.3.4", "2001:db8:1::/64"):
        add(store, parse_key(text))
    for text, want in {
        "1.2.3.4": "1.2.3.4", "1.2.3.5": "1.2.3.0/24", "1.2.9.9": "1.2.0.0/16", "1.3.0.0": None,
        "2001:db8:1::99": "2001:db8:1::/64", "2001:db8:2::1": None,
    }.items():  # fmt: skip
        found = store.get(parse_addr(text))
        assert (found and found[0]) == (want and parse_key(want)), text


def test_contacts_of_listed_ones_move_the_last_contact_and_leave_the_journal_alone(store):
    add(store)
    add(store, OTHER)
    inside = parse_addr("2001:db8:1::5")
    store.contacts([(KEY, 3, 100, 200), (inside, 1, 50, 300)], [])
    store.contacts([(KEY, 3, 50, 150)], [])
    assert (store.get_key(KEY).contact_ms, store.get_key(OTHER).contact_ms, store.last_seq()) == (200, 300, 2)
    assert store.counts()["archive"] == 0


def test_contacts_of_others_are_archived_and_add_up(store):
    addr = parse_addr("5.6.7.8")
    store.contacts([], [(addr, 3, 100, 200)])
    store.archive([(addr, 2, 50, 150)])
    assert store.contact(addr) == record.Contact(5, 50, 200)
    assert store.counts()["archive"] == 1


def test_what_was_listed_meanwhile_is_not_archived_and_what_was_unlisted_is(store):
    add(store)
    add(store, OTHER)
    store.contacts([(parse_addr("5.6.7.8"), 1, 1, 2)], [(KEY, 1, 1, 2), (parse_addr("2001:db8:1::7"), 1, 1, 3)])
    assert [key for key, _ in store.page("archive", None, 9)] == [parse_addr("5.6.7.8")]
    assert (store.get_key(KEY).contact_ms, store.get_key(OTHER).contact_ms) == (2, 3)


def test_listing_a_known_address_takes_it_out_of_the_archive(store):
    store.archive([(KEY, 4, 100, 900)])
    add(store)
    assert (store.contact(KEY), store.get_key(KEY).contact_ms) == (None, 900)


def test_forget_takes_examined_addresses_out_of_the_archive(store):
    addrs = [bytes((5, 5, i >> 8, i & 255)) for i in range(2500)]
    store.archive([(addr, 1, 1, 1) for addr in addrs])
    assert store.counts()["archive"] == 2500
    assert store.forget([*addrs[:2001], KEY]) == 2001
    assert [key for key, _ in store.page("archive", None, 9999)] == addrs[2001:]


def test_expire_unlists_what_is_due_in_order_of_time(store):
    for i, offset in enumerate((30, 10, 20, 0)):
        add(store, bytes((1, 1, 1, i)), expiry_ms=NOW_MS + offset * 1000 if offset else 0)
    assert store.expire(NOW) == []
    assert store.expire(NOW + 20, limit=1) == [bytes((1, 1, 1, 1))]
    assert store.expire(NOW + 20) == [bytes((1, 1, 1, 2))]
    assert (store.change(6).source, store.change(6).action) == ("expiry", Action.UNLIST)
    assert store.counts()["tarpit"] == 2


def test_pages_are_in_numeric_order_and_need_no_cursor(store):
    keys = sorted(bytes((i, 0, 0, 1)) for i in range(1, 100))
    store.list([NewListing(key) for key in reversed(keys)], NOW)
    pages, after = [], None
    while page := store.page("tarpit", after, 10):
        pages += [key for key, _ in page]
        after = page[-1][0]
        store.unlist([after], "admin:me", "while paging", NOW)
    assert pages == keys


def test_history_is_of_one_key_only(store):
    nested = [parse_key(text) for text in ("1.2.3.4", "1.2.3.0/24", "1.2.3.0/25", "102:304::/64", "102:304::1")]
    for _ in range(2):
        store.list([NewListing(key) for key in nested], NOW)
        store.unlist(nested, "admin:me", "", NOW)
    for i, key in enumerate(nested):
        assert [change.seq for change in store.history(key)] == [i + 1 + 5 * n for n in range(4)]
    assert [change.seq for change in store.history(KEY, limit=2)] == [11, 16]
    assert store.history(parse_key("9.9.9.9")) == []


KEYS = [parse_key(text) for text in ("1.1.1.1", "1.1.1.0/24", "2.2.2.2", "2001:db8::/64", "2001:db8::1")]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("list", "hear", "unlist", "amend", "expire", "contact", "fail")),
        st.sampled_from(KEYS),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_sequence_of_writes_leaves_the_stores_whole(tmp_path_factory, steps):
    store = open_store(tmp_path_factory.mktemp("env") / "store")
    expected = {}
    for number, (what, key, value) in enumerate(steps):
        now = NOW + number
        item = NewListing(key, text=str(value), expiry_ms=value * 1000 + NOW_MS if value else 0, flags=value)
        if what == "list":
            store.list([item], now)
        elif what == "hear":
            store.list([NewListing(key, text=str(value), contrib=HEARD)], now)
        elif what == "unlist":
            store.unlist([key], "t", "r", now)
        elif what == "amend":
            store.amend(key, Amendment(flags=value, expiry_ms=item.expiry_ms), "t", now)
        elif what == "expire":
            store.expire(now)
        elif what == "contact":
            store.contacts([(b"\1\1\1" + bytes((value,)), 1, 1, number)], [(b"\2\2\2\2", 1, 1, number)])
        else:
            with pytest.raises(NeverListed):
                store.list([item, NewListing(parse_key("127.0.0.1"))], now)
    for change in store.read(0, 999):
        if change.action is Action.UNLIST:
            del expected[change.key]
        else:
            expected[change.key] = change.state
    assert listed(store) == expected
    check_whole(store)
    store.close()
