"""The drawers of the web's small records: bounded, expiring, atomic, and carried by a dump."""

from contextlib import closing

import msgspec
import pytest

from spamcannibal.errors import StoreError, Unavailable
from spamcannibal.store.cabinet import Drawer, fault
from spamcannibal.store.dump import dump
from spamcannibal.store.load import load
from storekit import open_store

NOW = 1_800_000_000.0


class Card(msgspec.Struct):
    name: str
    times: int = 0


@pytest.fixture
def store(tmp_path):
    with closing(open_store(tmp_path / "a")) as store:
        yield store


@pytest.fixture
def drawer(store):
    return Drawer(store.env, "user", Card, 3)


def test_what_is_put_is_there_until_its_time_is_over(drawer):
    drawer.put("alice", Card("Alice"), NOW, NOW + 10)
    assert drawer.get("alice", NOW + 9.9) == Card("Alice")
    assert drawer.get("alice", NOW + 10) is None
    assert drawer.page("", 10, NOW + 10) == []
    assert drawer.get("bob", NOW) is drawer.get("", NOW) is drawer.get("x" * 1000, NOW) is None


def test_a_full_drawer_refuses_what_is_new_unless_something_is_over(drawer):
    for name in "abc":
        drawer.put(name, Card(name), NOW, NOW + 5 if name == "b" else 0)
    with pytest.raises(Unavailable, match="3 are kept already"):
        drawer.put("d", Card("d"), NOW)
    drawer.put("a", Card("again"), NOW)
    drawer.put("d", Card("d"), NOW + 5)
    assert [name for name, _ in drawer.page("", 9, NOW)] == ["a", "c", "d"]
    assert drawer.count() == 3


def test_a_change_sees_what_is_there_and_what_it_raises_changes_nothing(drawer):
    for _ in range(3):
        drawer.change("a", lambda old: Card("a", old.times + 1 if old else 1), NOW)
    assert drawer.get("a", NOW) == Card("a", 3)
    with pytest.raises(ZeroDivisionError):
        drawer.change("a", lambda old: Card("a", 1 // 0), NOW)
    assert drawer.get("a", NOW) == Card("a", 3)


def test_a_change_may_see_all_that_counts(drawer):
    for name in "abc":
        drawer.put(name, Card(name), NOW, NOW + 5 if name == "b" else 0)
    seen = []
    assert drawer.change_among("a", seen.append, NOW + 5) is None
    assert seen == [{"a": Card("a"), "c": Card("c")}]
    assert [name for name, _ in drawer.page("", 9, NOW + 5)] == ["c"]


def test_a_record_is_taken_once(drawer):
    drawer.put("a", Card("a"), NOW)
    assert drawer.take("a", NOW) == Card("a")
    assert drawer.take("a", NOW) is None
    assert drawer.count() == 0


def test_drawers_do_not_see_each_other_and_pages_go_on(store, drawer):
    other = Drawer(store.env, "users", Card, 5)
    for name in ("b", "a", "c\N{SNOWMAN}"):
        drawer.put(name, Card(name), NOW)
    other.put("a", Card("other"), NOW)
    assert [name for name, _ in drawer.page("", 2, NOW)] == ["a", "b"]
    assert drawer.page("b", 2, NOW) == [("c\N{SNOWMAN}", Card("c\N{SNOWMAN}"))]
    assert other.page("", 9, NOW) == [("a", Card("other"))]


def test_a_sweep_takes_what_is_over(drawer):
    drawer.put("a", Card("a"), NOW, NOW + 1)
    drawer.put("b", Card("b"), NOW)
    assert drawer.sweep(NOW + 2) == 1
    assert drawer.count() == 1


def test_an_id_must_fit(drawer):
    with pytest.raises(StoreError, match="an id of 257 bytes"):
        drawer.put("x" * 257, Card("x"), NOW)


def test_a_dump_carries_all_but_what_passes(store, drawer, tmp_path):
    drawer.put("alice", Card("Alice"), NOW, NOW + 10)
    Drawer(store.env, "session", Card, 3).put("secret", Card("s"), NOW)
    lines = list(dump(store))
    assert not any(b"secret" in line for line in lines)
    with closing(open_store(tmp_path / "b")) as copy:
        load(copy, lines, "dump", NOW)
        again = Drawer(copy.env, "user", Card, 3)
        assert again.page("", 9, NOW) == [("alice", Card("Alice"))]
        assert again.count() == 1
        assert again.get("alice", NOW + 10) is None


@pytest.mark.parametrize(
    "row",
    [(b"user", bytes(8)), (b"\0a", bytes(8)), (b"user\0a", b"1"), (b"user\0", bytes(9)), (b"user\0a", bytes(8) + b"{")],
)
def test_a_damaged_row_is_noticed(row):
    assert fault(row)


def test_good_rows_are_not(store, drawer):
    drawer.put("alice", Card("Alice"), NOW)
    rows = store.env.read(lambda: store.env.db("cabinet").items())
    assert len(rows) == 2
    assert [fault(row) for row in rows] == [None, None]
