"""Followers: whatever the order of writes, loads and polls, the table ends equal to the list."""

import shutil

import pytest

from spamcannibal.addr import parse_key
from spamcannibal.record import PUBLISHED
from spamcannibal.store.follow import Follower
from spamcannibal.store.stores import Amendment, NewListing
from storekit import DictTable, listed, open_store

NOW = 1_700_000_000.0
KEYS = [bytes((1, 2, i >> 8, i & 255)) for i in range(300)] + [parse_key("2001:db8::/64"), parse_key("3.0.0.0/8")]


def core_table():
    core = pytest.importorskip("spamcannibal._core", reason="the C core is not built")
    return core.AddrTable()


@pytest.fixture(params=[DictTable, core_table], ids=["dict", "core"])
def table(request):
    return request.param()


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def test_load_then_poll_follows_every_change(store, table):
    store.list([NewListing(key) for key in KEYS[:100]], NOW)
    follower = Follower(store, table)
    assert follower.load() == 100
    store.list([NewListing(key) for key in KEYS[100:]], NOW)
    store.unlist(KEYS[:50], "admin:me", "", NOW)
    store.amend(KEYS[60], Amendment(flags=PUBLISHED), "admin:me", NOW)
    assert len(follower.poll(limit=10)) == 10
    assert len(follower.poll()) == len(KEYS) - 100 + 50 + 1 - 10
    assert follower.poll() == []
    assert dict(table.items()) == listed(store)
    assert follower.seq == store.last_seq()


def test_what_changes_between_the_pages_of_a_load_is_not_missed(store, table, monkeypatch):
    monkeypatch.setattr("spamcannibal.store.follow.PAGE_LIMIT", 10)
    store.list([NewListing(key) for key in KEYS[:100]], NOW)
    todo = iter([KEYS[0], KEYS[50], KEYS[99], *KEYS[100:104]])

    def meddle(count):
        for key in todo:
            (store.unlist([key], "t", "", NOW) if store.get_key(key) else store.list([NewListing(key)], NOW))
            return

    Follower(store, table).load(progress=meddle)
    assert dict(table.items()) == listed(store)


def test_applying_twice_is_harmless(store, table):
    store.list([NewListing(key) for key in KEYS[:20]], NOW)
    store.unlist(KEYS[:5], "t", "", NOW)
    follower = Follower(store, table)
    follower.load()
    follower.seq = 0
    follower.poll()
    assert dict(table.items()) == listed(store)


def test_the_first_poll_loads(store, table):
    store.list([NewListing(KEYS[0])], NOW)
    Follower(store, table).poll()
    assert dict(table.items()) == listed(store)


def test_an_older_store_put_back_is_loaded_again(tmp_path, table):
    path, copy = tmp_path / "store", tmp_path / "copy"
    store = open_store(path)
    store.list([NewListing(key) for key in KEYS[:10]], NOW)
    store.close()
    shutil.copytree(path, copy)
    store = open_store(path)
    follower = Follower(store, table)
    store.list([NewListing(key) for key in KEYS[10:20]], NOW)
    follower.load()
    store.close()
    follower._store = open_store(copy)
    assert follower.poll() == []
    assert dict(table.items()) == listed(follower._store)
    assert len(table.items()) == 10
    follower._store.close()


def test_a_journal_cut_short_is_loaded_over(store, table):
    store.list([NewListing(key) for key in KEYS[:10]], NOW)
    follower = Follower(store, table)
    follower.load()
    store.list([NewListing(key) for key in KEYS[10:20]], NOW)
    journal = store.env
    journal.run(lambda txn: [journal.db("journal").delete(bytes(7) + bytes((seq,)), txn) for seq in range(1, 15)])
    assert follower.poll() == []
    assert dict(table.items()) == listed(store)
