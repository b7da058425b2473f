"""Breakers: what each cap counts, what it stops, and that the hour passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_key
from spamcannibal.breaker import HOUR_S, TRIPS_LIMIT, Admission, Breaker, Caps, is_counted, net_of
from spamcannibal.record import Action
from spamcannibal.store.recent import listed_since
from spamcannibal.store.stores import NewListing
from storekit import open_store

NOW = 1_700_000_000.0
OPEN, HELD, SHUT = Admission.OPEN, Admission.HELD, Admission.SHUT
NESTED = {"1.2.3.4": "1.2.3.0/24", "1.0.0.0/8": "1.0.0.0/8", "2001:db8::1": "2001:db8::/48", "2000::/16": "2000::/16"}


def host(n):
    """Addresses of which no two are in one /24."""
    return bytes((9, n >> 8, n & 255, 1))


def asked(*pairs):
    return [(parse_key(text), source) for text, source in pairs]


FAR = asked(("9.0.1.1", "a"), ("9.0.2.1", "b"), ("9.0.3.1", "c"))
CAPS = {
    "run": (Caps(per_run=2), FAR, [OPEN, OPEN, SHUT], "2 listings in this run"),
    "hour": (Caps(per_hour=2), FAR, [OPEN, OPEN, SHUT], "2 listings in an hour"),
    "source": (
        Caps(per_source=1), asked(("9.0.1.1", "blcheck:x"), ("9.0.2.1", "blcheck:x"), ("9.0.3.1", "blcheck:y")),
        [OPEN, HELD, OPEN], "1 listings in an hour by blcheck:x",
    ),
    "net4": (
        Caps(per_net=1), asked(("1.2.3.4", "a"), ("1.2.3.9", "b"), ("1.2.4.4", "a")),
        [OPEN, HELD, OPEN], "in 1.2.3.0/24",
    ),
    "net6": (
        Caps(per_net=1), asked(("2001:db8:1:2::/64", "a"), ("2001:db8:1:3::/64", "b"), ("2001:db8:2::1", "c")),
        [OPEN, HELD, OPEN], "in 2001:db8:1::/48",
    ),
    "none": (Caps(), FAR * 30, [OPEN] * 90, ""),
}  # fmt: skip


@pytest.mark.parametrize(("caps", "wanted", "want", "told"), CAPS.values(), ids=CAPS)
def test_each_cap_stops_what_it_is_for(caps, wanted, want, told):
    breaker = Breaker(caps)
    assert [breaker.admit(key, source, NOW) for key, source in wanted] == want
    assert told in "".join(breaker.trips)
    assert len(breaker.trips) == (1 if told else 0)


@pytest.mark.parametrize(
    ("caps", "want"),
    [
        (Caps(per_run=1), OPEN),
        (Caps(per_hour=1), SHUT),
        (Caps(per_source=1), HELD),
        (Caps(per_net=1), HELD),
    ],
    ids=["run", "hour", "source", "net"],
)
def test_what_others_listed_in_the_hour_counts_and_what_is_older_does_not(caps, want):
    breaker = Breaker(caps)
    breaker.note(NOW, host(1), "robot:x")
    assert breaker.admit(host(1), "robot:x", NOW + HOUR_S) is want
    assert breaker.admit(host(1), "robot:x", NOW + HOUR_S + 1) is (SHUT if caps.per_run and want is OPEN else OPEN)


def test_a_cap_that_let_something_pass_again_is_told_anew():
    breaker = Breaker(Caps(per_hour=1))
    for hours in range(3):
        now = NOW + hours * (HOUR_S + 1)
        assert [breaker.admit(host(1), "a", now) for _ in range(3)] == [OPEN, SHUT, SHUT]
    assert len(breaker.trips) == 3


def test_what_is_to_be_said_is_bounded():
    breaker = Breaker(Caps(per_net=1))
    for n in range(2 * TRIPS_LIMIT):
        breaker.admit(host(n), "a", NOW)
        breaker.admit(host(n), "a", NOW)
    assert len(breaker.trips) == TRIPS_LIMIT


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 4000)), max_size=60))
def test_no_hour_ever_holds_more_than_the_caps_say(steps):
    caps = Caps(per_hour=6, per_source=4, per_net=3)
    breaker, made, now = Breaker(caps), [], NOW
    for net, source, wait_s in steps:
        now += wait_s
        if breaker.admit(host(net), source, now) is OPEN:
            made.append((now, net, source))
        recent = [each for each in made if each[0] >= now - HOUR_S]
        assert len(recent) <= caps.per_hour
        assert all(sum(each[2] == name for each in recent) <= caps.per_source for name in "ab")
        assert all(sum(each[1] == n for each in recent) <= caps.per_net for n in range(4))


def test_nets_are_24_and_48_and_wider_keys_themselves():
    assert {text: net_of(parse_key(text)) for text in NESTED} == {text: parse_key(net) for text, net in NESTED.items()}


@pytest.mark.parametrize("source", ["blcheck:bl.example", "robot:AB12", "gather:mx1"])
def test_what_programs_list_counts(source):
    assert is_counted(source)


@pytest.mark.parametrize("source", ["admin:me", "import:/old/files", "load", "undo:#7"])
def test_what_operators_do_by_hand_does_not(source):
    assert not is_counted(source)


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_the_journal_tells_what_was_listed_lately(tmp_path, monkeypatch, page):
    monkeypatch.setattr("spamcannibal.store.recent.PAGE_LIMIT", page)
    store = open_store(tmp_path / "store")
    assert listed_since(store, 0, 100) == []
    for n in range(10):
        store.list([NewListing(host(n), source=f"robot:{n}")], NOW + n)
    store.unlist([host(9)], "admin:me", "", NOW + 10)
    store.list([NewListing(host(11), source="admin:me"), NewListing(host(12), source="import:x")], NOW + 10)
    store.list([NewListing(host(8), source="robot:8", text="other")], NOW + 11)
    found = listed_since(store, int((NOW + 5) * 1000), 100)
    assert [(change.key, change.source) for change in found] == [(host(n), f"robot:{n}") for n in range(5, 10)]
    assert {change.action for change in found} == {Action.LIST}
    assert [change.seq for change in listed_since(store, 0, 7)] == [8, 9, 10]
    assert listed_since(store, int((NOW + 99) * 1000), 100) == []
    store.close()
