"""A pruned journal: what live listings need stays, every later list can still be read, who comes too late is told."""

import random

import pytest

from spamcannibal.errors import Unavailable
from spamcannibal.record import Action, Mode
from spamcannibal.store import past as pasts
from spamcannibal.store import prune as pruning
from spamcannibal.store.check import check
from spamcannibal.store.dump import dump
from spamcannibal.store.follow import Follower
from spamcannibal.store.load import load
from spamcannibal.store.past import Past
from spamcannibal.store.prune import floor, prune
from spamcannibal.store.stores import Amendment, NewListing
from storekit import DictTable, check_whole, listed, open_store
from test_past import KEYS, read, whole

NOW = 1_700_000_000


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def change(store, dice, now):
    """One random change of the list at a time."""
    key = dice.choice(KEYS)
    if store.get_key(key) is None:
        store.list([NewListing(key, text=f"t{dice.random()}", source="admin:me", evidence=b"mail")], now)
    elif dice.random() < 0.5:
        store.unlist([key], "admin:me", "gone", now)
    else:
        store.amend(key, Amendment(mode=dice.choice(list(Mode)), text=f"a{dice.random()}"), "admin:me", now)


def history(store, dice, count):
    """Make changes a second apart; give what the list was after each."""
    seen = {}
    while store.last_seq() < count:
        change(store, dice, NOW + store.last_seq())
        seen[store.last_seq()] = whole(store)
    return seen


def ms(seq):
    """A time before which changes up to seq were made."""
    return (NOW + seq) * 1000


@pytest.mark.parametrize("step", [1, 7, 250])
def test_every_list_from_the_floor_on_can_still_be_read(store, monkeypatch, step):
    monkeypatch.setattr(pasts, "PAGE_LIMIT", 7)
    monkeypatch.setattr(pruning, "STEP_LIMIT", step)
    dice = random.Random(step)
    seen = history(store, dice, 240)
    table = DictTable()
    follower = Follower(store, table)
    for cut in (0, 60, 60, 150, 230):
        gone = prune(store, ms(cut), dry_run=True)
        assert prune(store, ms(cut)) == gone
        assert floor(store) == cut
        assert list(check(store)) == []
        check_whole(store)
        for seq in range(max(cut, 1), 241, 17):
            assert read(Past(store, seq)) == seen[seq]
        follower.poll()
        assert dict(table.items()) == listed(store)
    assert len(store.read(0, 1000)) <= len(KEYS) + 10
    assert store.read(0, 1)[0].action is not Action.UNLIST


def test_what_is_older_than_the_floor_is_refused(store):
    history(store, random.Random(1), 50)
    reader = Past(store, 20)
    prune(store, ms(30))
    with pytest.raises(Unavailable, match="pruned past change 29"):
        Past(store, 29)
    for late in (reader.catch_up, lambda: reader.texts([]), lambda: list(reader.pages((4,)))):
        with pytest.raises(Unavailable):
            late()
    assert Past(store, 30).get(KEYS[0]) == Past(store, 30).get(KEYS[0])


def test_text_and_source_of_a_listing_outlive_the_journal_around_it(store):
    store.list([NewListing(KEYS[0], text="old", source="robot:x")], NOW)
    for seq in range(20):
        store.list([NewListing(KEYS[1], text=str(seq))], NOW + 1)
    store.unlist([KEYS[1]], "admin:me", "", NOW + 2)
    store.list([NewListing(KEYS[2])], NOW + 3)
    assert prune(store, (NOW + 9) * 1000) == 21
    listing = store.get_key(KEYS[0])
    assert (store.text(listing), store.change(listing.seq).source) == ("old", "robot:x")
    assert [c.seq for c in store.read(0, 99)] == [1, 23]
    assert store.history(KEYS[1]) == []


def test_the_newest_change_stays_so_that_numbers_are_never_given_twice(store, tmp_path):
    store.list([NewListing(KEYS[0])], NOW)
    store.unlist([KEYS[0]], "admin:me", "", NOW)
    assert prune(store, (NOW + 9) * 1000) == 0
    store.list([NewListing(KEYS[0])], NOW)
    store.unlist([KEYS[0]], "admin:me", "", NOW)
    assert prune(store, (NOW + 9) * 1000) == 2
    other = open_store(tmp_path / "other")
    load(other, dump(store), "dump", NOW)
    assert (other.last_seq(), floor(other)) == (4, 3)
    assert other.list([NewListing(KEYS[0])], NOW) == [5]
    check_whole(other)
    other.close()


def test_a_follower_that_comes_from_before_the_floor_loads_again(store):
    table = DictTable()
    follower = Follower(store, table)
    dice = random.Random(3)
    history(store, dice, 10)
    follower.poll()
    for _ in range(200):
        change(store, dice, NOW + store.last_seq())
    prune(store, ms(150))
    while follower.poll():
        pass
    follower.poll()
    assert dict(table.items()) == listed(store)


def test_a_run_that_was_stopped_goes_on_from_where_it_was(store, monkeypatch):
    monkeypatch.setattr(pruning, "STEP_LIMIT", 10)
    seen = history(store, random.Random(4), 300)
    whole_count = prune(store, ms(290), dry_run=True)
    turns = iter((False, False, False, True))
    part = prune(store, ms(290), stop=lambda: next(turns))
    assert floor(store) == 30
    assert list(check(store)) == []
    assert read(Past(store, 30)) == seen[30]
    assert part + prune(store, ms(290)) == whole_count
