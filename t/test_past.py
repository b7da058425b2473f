"""What the list was after an earlier change, however much it changed since, and while it is being read."""

import random

import pytest

from spamcannibal.addr import parse_key
from spamcannibal.errors import Unavailable
from spamcannibal.record import PUBLISHED, Mode, table_value
from spamcannibal.store import past as pasts
from spamcannibal.store.past import Past, Row
from spamcannibal.store.stores import Amendment, NewListing
from storekit import open_store

NOW = 1_700_000_000
SIZES = (4, 5, 16, 17)
KEYS = [parse_key(text) for text in ("1.2.3.0/24", "1.0.0.0/8", "2001:db8::/64", "2001:db8::1", "9.0.0.0/9")]
KEYS += [bytes((1, 2, 3, n)) for n in range(40)] + [bytes((185, n, 0, 1)) for n in range(40)]


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def change(store, dice):
    """One random change of the list."""
    key = dice.choice(KEYS)
    if store.get_key(key) is None:
        store.list([NewListing(key, text=f"t{dice.random()}", flags=dice.choice((0, PUBLISHED)))], NOW)
    elif dice.random() < 0.5:
        store.unlist([key], "admin:me", "gone", NOW)
    else:
        store.amend(key, Amendment(mode=dice.choice(list(Mode)), text=f"a{dice.random()}"), "admin:me", NOW)


def whole(store):
    """{key: (value, number, text)} as it is."""
    found = {}
    for key, listing in store.page("tarpit", None, 1000):
        found[key] = listing.state, listing.seq, store.change(listing.seq).text
    return found


def read(past, **span):
    rows = [row for page in past.pages(SIZES, **span) for row in page]
    texts = past.texts(rows)
    assert [row.key for row in rows] == sorted(row.key for row in rows)
    return {row.key: (row.value, row.seq, text) for row, text in zip(rows, texts, strict=True)}


def test_every_earlier_list_can_be_read(store, monkeypatch):
    monkeypatch.setattr(pasts, "PAGE_LIMIT", 7)
    monkeypatch.setattr(pasts, "FIRST_PAGE", 3)
    dice = random.Random(5)
    seen = {0: {}}
    for _ in range(400):
        change(store, dice)
        seen[store.last_seq()] = whole(store)
    for seq in dice.sample(sorted(seen), 60):
        past = Past(store, seq)
        assert read(past) == seen[seq]
        for key in dice.sample(KEYS, 10):
            row = past.get(key)
            assert (row and (row.value, row.seq)) == (seen[seq][key][:2] if key in seen[seq] else None)
        start, end = sorted(dice.sample(KEYS, 2))
        assert read(past, start=start, end=end) == {k: v for k, v in seen[seq].items() if start <= k < end}
        for size in (4, 16):
            lengths = {key[-1] if len(key) > size else size * 8 for key in seen[seq] if len(key) in (size, size + 1)}
            assert lengths <= set(past.lengths(size))


def test_changes_while_it_is_read_are_undone(store, monkeypatch):
    monkeypatch.setattr(pasts, "PAGE_LIMIT", 5)
    monkeypatch.setattr(pasts, "FIRST_PAGE", 5)
    dice = random.Random(6)
    for _ in range(200):
        change(store, dice)
    for _ in range(20):
        want = whole(store)
        past, rows = Past(store, store.last_seq()), []
        for page in past.pages(SIZES):
            rows += page
            for _ in range(20):
                change(store, dice)
        assert {row.key: row[1:] for row in rows} == {key: value[:2] for key, value in want.items()}
        assert past.texts(rows) == [want[row.key][2] for row in rows]


def test_what_cannot_be_undone_is_told(store, monkeypatch):
    monkeypatch.setattr(pasts, "MOVED_LIMIT", 3)
    past = Past(store, 0)
    store.list([NewListing(key) for key in KEYS[:3]], NOW)
    assert list(past.pages(SIZES)) == [[]]
    store.list([NewListing(key) for key in KEYS[3:5]], NOW)
    with pytest.raises(Unavailable, match="3 listings changed"):
        list(past.pages(SIZES))
    store.env.run(lambda txn: store.env.db("journal").delete((1).to_bytes(8, "big"), txn))
    with pytest.raises(Unavailable, match="not whole"):
        list(Past(store, 0).pages(SIZES))
    assert Past(store, 3).get(KEYS[0]) == Row(KEYS[0], table_value(bytes((127, 0, 0, 2)), 0, 0), 1)
