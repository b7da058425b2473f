"""What a change would do is counted as it would happen, and says so where it could not be counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.addr import covers, make_key, mask, parse_addr, parse_key, split_key
from spamcannibal.record import Action
from spamcannibal.store import preview as module
from spamcannibal.store.preview import outermost, preview
from spamcannibal.store.search import Wanted, WantedChange, search, search_changes
from spamcannibal.store.stores import NewListing
from storekit import open_store

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def list_(store, *texts, source="admin:x", text="", now=NOW):
    store.list([NewListing(parse_key(each), source=source, text=text) for each in texts], now)


def contacted(store, *texts, at=NOW):
    ms = int(at * 1000)
    store.archive([(parse_addr(each), 1, ms, ms) for each in texts])


def effects(store, *texts, **options):
    return preview(store, [parse_key(each) for each in texts], NOW, **options)


def test_it_tells_what_is_around_inside_and_there(store):
    list_(store, "45.7.2.0/24", "45.7.0.0/16", "45.7.2.7", "45.7.2.128/25", "45.7.3.1")
    whole, host, other = effects(store, "45.7.2.0/24", "45.7.2.7", "45.7.4.1").effects
    assert whole.listing
    assert whole.around == [parse_key("45.7.0.0/16")]
    assert whole.inside == 2
    assert host.around == [parse_key("45.7.2.0/24"), parse_key("45.7.0.0/16")]
    assert host.listing
    assert other.listing is None


def test_who_would_have_been_refused_is_counted_once(store):
    contacted(store, "45.7.2.1", "45.7.2.2", "45.7.2.200", "45.7.3.1", "2001:db8::1")
    contacted(store, "45.7.2.3", at=NOW - 31 * DAY)
    list_(store, "45.7.2.200")
    found = effects(store, "45.7.2.0/24", "45.7.2.1", "45.7.2.0/25", "2001:db8::/64")
    assert [effect.refused for effect in found.effects] == [2, 1, 2, 1]
    assert found.refused == 3
    assert found.is_whole


def test_who_is_listed_by_a_network_already_is_not_counted_again(store):
    contacted(store, "45.7.2.1", "45.7.3.1")
    list_(store, "45.7.2.0/24")
    assert effects(store, "45.7.0.0/16").refused == 1


def test_the_never_list_is_told_and_then_nothing_is_counted(store):
    found = effects(store, "198.51.100.7", "198.51.0.0/16", "45.7.2.1")
    assert [bool(effect.never) for effect in found.effects] == [True, True, False]
    assert [effect.key for effect in found.forbidden] == [parse_key("198.51.100.7"), parse_key("198.51.0.0/16")]


def test_a_count_that_was_cut_short_says_so(store, monkeypatch):
    contacted(store, *(f"45.7.2.{number}" for number in range(40)))
    found = effects(store, "45.7.2.0/24", "45.7.2.0/25", budget=10)
    assert found.refused == 10
    assert not found.is_whole
    monkeypatch.setattr(module, "FIRST_PAGE", 3)
    monkeypatch.setattr(module, "PAGE_LIMIT", 7)
    assert effects(store, "45.7.2.0/24").refused == 40
    list_(store, *(f"45.7.2.{number}" for number in range(40)))
    assert module.count_inside(store, parse_key("45.7.2.0/24"), 10) == (10, 10, False)
    monkeypatch.setattr(module, "BUDGET", 50)
    found = effects(store, "45.7.2.0/24", "45.7.2.0/25", "45.7.2.0/26")
    assert [(effect.inside, effect.is_counted) for effect in found.effects] == [(40, True), (10, False), (0, False)]


addresses = st.integers(0, 255).map(lambda n: bytes((45, 7, 2, n)))
nets = st.builds(lambda addr, plen: make_key(mask(addr, plen), plen), addresses, st.integers(22, 32))


@settings(max_examples=40, deadline=None)
@given(st.sets(addresses, max_size=30), st.sets(nets, max_size=5), st.lists(nets, min_size=1, max_size=5, unique=True))
def test_the_count_is_that_of_a_plain_look_at_everything(tmp_path_factory, seen, there, wanted):
    store = open_store(tmp_path_factory.mktemp("store"))
    try:
        store.list([NewListing(key, source="x") for key in there], NOW)
        store.archive([(addr, 1, int(NOW * 1000), int(NOW * 1000)) for addr in seen])
        expected = [
            addr for addr in seen if any(covers(k, addr) for k in wanted) and not any(covers(k, addr) for k in there)
        ]
        found = preview(store, wanted, NOW)
        assert found.refused == len(expected)
        for effect in found.effects:
            assert effect.inside == sum(covers(effect.key, key) and key != effect.key for key in there)
            assert set(effect.around) == {key for key in there if covers(key, effect.key) and key != effect.key}
    finally:
        store.close()


@given(st.lists(nets))
def test_the_outermost_cover_all_and_none_of_the_others(keys):
    found = outermost(keys)
    assert all(sum(covers(outer, key) for outer in found) == 1 for key in keys)
    assert found == sorted(found, key=split_key)


# Searching.


def all_of(store, wanted, limit=100, budget=3):
    found, after, turns = [], None, 0
    while True:
        part = search(store, wanted, after, limit, budget)
        found += [row.key for row in part.rows]
        assert len(part.rows) <= limit
        assert part.looked <= budget
        turns += 1
        if part.after is None:
            return found, turns
        after = part.after


def test_a_search_goes_on_where_it_stopped_and_finds_all_once(store):
    texts = [f"45.7.2.{number}" for number in range(20)]
    list_(store, *texts)
    list_(store, "45.7.2.0/28", "45.7.3.1", "2001:db8::/64", source="gather:a", text="Odd ONE")
    keys = sorted(parse_key(each) for each in (*texts, "45.7.2.0/28", "45.7.3.1", "2001:db8::/64"))
    assert all_of(store, Wanted()) == (keys, 8)
    assert all_of(store, Wanted(), limit=2, budget=1000)[0] == keys
    assert all_of(store, Wanted(source="gather:*"))[0] == sorted(
        parse_key(each) for each in ("45.7.2.0/28", "45.7.3.1", "2001:db8::/64")
    )
    assert all_of(store, Wanted(within=parse_key("45.7.2.0/24")))[0] == keys[1:22]
    assert all_of(store, Wanted(within=parse_key("2001:db8::/32"), text="odd one"))[0] == [parse_key("2001:db8::/64")]
    assert all_of(store, Wanted(within=parse_key("10.0.0.0/8")))[0] == []


def test_a_search_of_the_journal_goes_back_and_finds_all_once(store):
    for number in range(12):
        list_(store, f"45.7.2.{number}", source=f"gather:{number % 2}", now=NOW + number)
    store.unlist([parse_key("45.7.2.3")], "admin:y", "a mistake", NOW + 20)
    found, before = [], 0
    while True:
        part = search_changes(store, WantedChange(source="gather:1"), before, 2, 5)
        found += [change.seq for change in part.rows]
        assert part.looked <= 5
        if not part.before:
            break
        before = part.before
    assert found == [12, 10, 8, 6, 4, 2]
    only = search_changes(store, WantedChange(action=Action.UNLIST, text="MISTAKE"), 0, 10, 100)
    assert [change.seq for change in only.rows] == [13]
    late = search_changes(store, WantedChange(since_ms=int((NOW + 10) * 1000)), 0, 100, 100)
    assert [change.seq for change in late.rows] == [13, 12, 11]
    assert search_changes(store, WantedChange(within=parse_key("45.7.2.3")), 0, 100, 100).rows[-1].seq == 4
