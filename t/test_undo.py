"""Undo: what was so is so again, with its reasons; what somebody else changed since stays; nothing is rewritten."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.addr import parse_key
from spamcannibal.commands import main
from spamcannibal.errors import StoreError
from spamcannibal.record import PUBLISHED, Cause, Mode
from spamcannibal.store import undo
from spamcannibal.store.stores import Amendment, Hearsay, NewListing
from spamcannibal.store.timeline import listing_at
from storekit import check_whole, open_store

ZEN = Cause("zen.example", bytes((127, 0, 0, 2)))
A, B, C = (parse_key(f"192.0.2.{i}") for i in range(3))
NOW = 10_000.0


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def take_back(store, *numbers, now=NOW):
    chosen = undo.numbered(store, numbers)
    steps = [undo.plan(store, key, seqs, now) for key, seqs in chosen.items()]
    expected = [undo.outcome(store, step).done for step in steps]
    done = list(undo.apply(store, steps, "admin:x", "sorry", now))
    assert [each.done for each in done] == expected
    check_whole(store)
    return done


def says(store, key):
    listing = store.get_key(key)
    return listing and (listing.code, listing.mode, listing.flags, listing.expiry_ms, store.text(listing))


def test_a_listing_goes_and_comes_back_with_all_its_evidence(store):
    store.list([NewListing(A, text="one", source="robot:1", flags=PUBLISHED)], 1.0)
    store.list([NewListing(A, text="one", source="robot:2", evidence=b"two", flags=PUBLISHED)], 2.0)
    before, pieces = says(store, A), store.evidence(A)
    assert len(pieces) == 2
    store.unlist([A], "web", "removed", 3.0)
    assert take_back(store, 2)[0].done == "listed"
    assert (says(store, A), store.evidence(A)) == (before, pieces)
    assert take_back(store, 3)[0].done == "unlisted"
    assert store.get_key(A) is None
    assert store.change(4).text == "sorry"


def test_hearsay_comes_back_as_hearsay(store):
    causes = (Cause("zen.example", bytes((127, 0, 0, 4)), text="x"), Cause("cop.example", bytes((127, 0, 0, 2))))
    store.list([NewListing(A, source="blcheck:zen.example", contrib=Hearsay(causes))], 1.0)
    store.unlist([A], "admin:y", "", 2.0)
    take_back(store, 2)
    assert store.contrib(A).causes == causes
    assert store.evidence(A) == []


def test_what_was_proven_since_is_hearsay_again(store):
    store.list([NewListing(A, text="x", source="blcheck:zen.example", contrib=Hearsay((ZEN,)))], 1.0)
    before = says(store, A)
    store.list([NewListing(A, text="spam", source="robot:1", flags=PUBLISHED)], 2.0)
    assert take_back(store, 2)[0].done == "changed"
    assert says(store, A) == before
    assert store.evidence(A) == []
    assert store.contrib(A).causes[0].zone == "zen.example"


def test_an_amendment_is_taken_back_alone(store):
    store.list([NewListing(A, text="x", flags=PUBLISHED)], 1.0)
    store.amend(A, Amendment(mode=Mode.DROP, text="y"), "admin:y", 2.0)
    take_back(store, 2)
    assert (store.get_key(A).mode, store.text(store.get_key(A))) == (Mode.DEFAULT, "x")
    assert [piece.body for piece in store.evidence(A)] == [b"x"]


def test_a_newer_change_of_somebody_else_protects(store):
    store.list([NewListing(A, source="gather:1"), NewListing(B, source="gather:1")], 1.0)
    store.amend(A, Amendment(text="checked by hand"), "admin:y", 2.0)
    done = take_back(store, 1, 2)
    assert [(each.key, each.done) for each in done] == [(A, "left"), (B, "unlisted")]
    assert "change 3 by admin:y is newer" in done[0].why
    assert take_back(store, 1, 3)[0].done == "unlisted"


def test_what_may_not_be_or_would_be_over_is_left(store):
    store.list([NewListing(A, expiry_ms=5_000_000), NewListing(B)], 1.0)
    store.unlist([A, B], "admin:y", "", 2.0)
    assert take_back(store, 3, now=5001.0)[0].why == "it would have expired meanwhile"
    store.guard = type("Guard", (), {"check": lambda self, key: (_ for _ in ()).throw(undo.NeverListed(key, "no"))})()
    assert take_back(store, 4)[0].done == "left"
    assert store.last_seq() == 4


def test_a_change_between_plan_and_write_is_noticed(store):
    store.list([NewListing(A)], 1.0)
    step = undo.plan(store, A, [1], NOW)
    store.amend(A, Amendment(text="new"), "admin:y", 2.0)
    assert next(undo.apply(store, [step], "admin:x", "", NOW)).why == "somebody changed it meanwhile"
    assert store.get_key(A) is not None


def test_numbers_that_are_none_are_told(store):
    with pytest.raises(StoreError, match="no change number 7; its last is 0"):
        undo.numbered(store, [7])


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["list", "hear", "unlist", "amend"]), st.sampled_from([A, B, C]), st.integers(0, 3)),
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(first=OPERATIONS, second=OPERATIONS)
def test_undoing_all_changes_since_gives_the_list_of_then(tmp_path_factory, first, second):
    store = open_store(tmp_path_factory.mktemp("store") / "s")
    try:
        for at, operation in enumerate(first):
            carry_out(store, float(at), *operation)
        seq = store.last_seq()
        for at, operation in enumerate(second, 100):
            carry_out(store, float(at), *operation)
        chosen = undo.select(store, seq, store.last_seq(), "*")
        steps = [undo.plan(store, key, seqs, 200.0) for key, seqs in chosen.items()]
        assert all(each.done != "left" for each in undo.apply(store, steps, "admin:x", "", 200.0))
        for key in (A, B, C):
            then, now = listing_at(store, key, seq), listing_at(store, key, store.last_seq())
            assert (then and (then.state, then.text, then.expiry_ms)) == (now and (now.state, now.text, now.expiry_ms))
        check_whole(store)
    finally:
        store.close()


def carry_out(store, now, what, key, number):
    source = f"s:{number}"
    if what == "list":
        store.list([NewListing(key, text=f"t{number}", source=source, flags=PUBLISHED, mode=Mode(number))], now)
    elif what == "hear":
        cause = Cause(f"z{number}", bytes((127, 0, 0, 3)))
        store.list([NewListing(key, text=f"h{number}", source=source, contrib=Hearsay((cause,)))], now)
    elif what == "unlist":
        store.unlist([key], source, "", now)
    else:
        store.amend(key, Amendment(text=f"a{number}"), source, now)


def test_by_command_of_a_source_since_a_time(tmp_path):
    (tmp_path / "never-list").write_text("@special\n")
    config = tmp_path / "spamcannibal.toml"
    config.write_text(f'[store]\npath = "{tmp_path}/store"\ncache_bytes = "1MiB"\n')

    def run(*args):
        return CliRunner().invoke(main.cli, ["-c", str(config), "list", *args])

    store = open_store(tmp_path / "store")
    store.list([NewListing(A, source="gather:192.0.2.2")], 1.0)
    store.list([NewListing(B, source="gather:192.0.2.25"), NewListing(C, source="gather:192.0.2.2")], 2000.0)
    rehearsed = run("undo", "--source", "gather:192.0.2.2", "--since", "1970-01-01T00:10", "--dry-run", "--json")
    assert [(row["key"], row["done"], row["seq"]) for row in json.loads(rehearsed.stdout)] == [
        ("192.0.2.2", "unlisted", None)
    ]
    assert store.last_seq() == 3
    result = run("undo", "--source", "gather:*", "--since", "#1", "--json")
    assert (result.exit_code, [row["key"] for row in json.loads(result.stdout)]) == (0, ["192.0.2.1", "192.0.2.2"])
    assert (store.change(4).text, store.change(4).source[:6]) == ("undo of gather:*", "admin:")
    assert run("undo", "2", "--json").exit_code == 1
    assert run("undo", "4", "5").exit_code == 0
    assert run("undo").exit_code == 2
    assert run("undo", "1", "--source", "x").exit_code == 2
    assert run("undo", "--source", "x").exit_code == 2
    assert store.counts()["tarpit"] == 3
    nothing = run("undo", "--source", "gather:nobody", "--since", "1970-01-01", "--json")
    assert (nothing.exit_code, nothing.stdout) == (1, "[]\n")
    assert "nothing to undo: gather:nobody changed nothing" in nothing.stderr
    for number in (["99"], ["--source", "*", "--since", "#99"], ["--source", "*", "--since", "1h", "--until", "2h"]):
        assert run("undo", *number).exit_code == 2
    store.close()
