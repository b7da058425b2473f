"""What zones show: shelves against plain dicts, and the ordered index against a sorted list."""

from bisect import insort
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsbl_peers import EXCLUDED, HEARSAY, PROVEN, SHADOW, DictTable, value
from spamcannibal.addr import covers, make_key, mask, parse_key, split_key
from spamcannibal.dnsbl import ordered
from spamcannibal.dnsbl.colours import Kind
from spamcannibal.dnsbl.listings import Listings, Shelf
from spamcannibal.dnsbl.ordered import Ordered


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=300), st.integers(0, 60), st.integers(0, 60))
def test_ordered_agrees_with_a_sorted_list(steps: list[tuple[bool, int]], low: int, high: int) -> None:
    before, ordered.BLOCK = ordered.BLOCK, 4  # so that a few numbers make many blocks
    try:
        index, model = Ordered("I"), []
        for is_added, number in steps:
            if is_added:
                index.add(number)
                insort(model, number)
            else:
                assert index.remove(number) == (number in model)
                if number in model:
                    model.remove(number)
            assert len(index) == len(model)
        assert [number for block in index._blocks for number in block] == model
        assert index._firsts == [block[0] for block in index._blocks]
        assert index.any_between(low, high) == any(low <= number <= high for number in model)
    finally:
        ordered.BLOCK = before


@settings(max_examples=200)
@given(st.lists(st.lists(st.integers(0, 60)), max_size=6))
def test_ordered_takes_sorted_runs_as_it_takes_single_numbers(runs: list[list[int]]) -> None:
    before, ordered.BLOCK = ordered.BLOCK, 4
    try:
        index = Ordered("I")
        for run in filter(None, map(sorted, runs)):
            index.add_sorted(run)
        assert [number for block in index._blocks for number in block] == sorted(chain.from_iterable(runs))
        assert index._firsts == [block[0] for block in index._blocks]
        assert all(len(block) <= ordered.BLOCK for block in index._blocks) and len(index) == sum(map(len, runs))
    finally:
        ordered.BLOCK = before


@pytest.mark.parametrize("numbers", [range(100_000), range(100_000, 0, -1)], ids=["rising", "falling"])
def test_ordered_takes_about_its_numbers_bytes(numbers: range) -> None:
    index = Ordered("I")
    for number in numbers:
        index.add(number)
    assert len(index) * 4 == index.memory_bytes
    assert max(map(len, index._blocks)) <= ordered.BLOCK
    assert len(index._blocks) <= 2 * len(numbers) / ordered.BLOCK + 2


V4 = st.builds(
    lambda low, plen: make_key(mask(bytes((10, 0, 0, low)), plen), plen), st.integers(0, 255), st.integers(20, 32)
)
V6 = st.builds(
    lambda bits, plen: make_key(mask(b"\x20\x01" + bytes(5) + bits[:1] + bytes(7) + bits[1:], plen), plen),
    st.binary(min_size=2, max_size=2),
    st.integers(52, 128),
)
KEYS = st.one_of(V4, V6)
VALUES = st.sampled_from([value(PROVEN), value(EXCLUDED), value(SHADOW), value(HEARSAY, "127.0.0.5"), 0])


@settings(max_examples=200)
@given(st.lists(st.tuples(KEYS, VALUES), max_size=60), KEYS, st.booleans())
def test_a_shelf_agrees_with_a_search_over_all_entries(
    steps: list[tuple[bytes, int]], asked: bytes, promiscuous: bool
) -> None:
    shelf, model = Shelf(DictTable(), promiscuous), {}
    for key, number in steps:
        if number:
            shelf.set(key, number)
            model[key] = number
        else:
            shelf.discard(key)
            model.pop(key, None)
    flags = {key: number >> 4 & 7 for key, number in model.items()}
    shown = {key: flag for key, flag in flags.items() if flag in ((0, 1, 2) if promiscuous else (1, 2))}
    assert {key for key, _ in shelf.table.items()} == set(shown)
    addr, plen = (asked, len(asked) * 8) if len(asked) in (4, 16) else (asked[:-1], asked[-1])
    below = any(covers(asked, key) for key, flag in shown.items() if flag != EXCLUDED)
    above = [key for key in shown if covers(key, asked)]
    nearest = max(above, key=lambda key: key[-1] if len(key) in (5, 17) else 128, default=None)
    exists = below or (nearest is not None and shown[nearest] != EXCLUDED)
    answer = shelf.has_below(addr, plen)
    assert answer >= exists  # may err towards yes, and only where an exclusion hides the start of a listed network
    assert answer == exists or EXCLUDED in shown.values()
    for key in list(model):
        shelf.discard(key)
    assert not shelf.has_below(bytes(4), 0) and not shelf.has_below(bytes(16), 0) and shelf.index_bytes == 0


@settings(max_examples=100)
@given(st.lists(st.lists(st.tuples(KEYS, VALUES.filter(bool)), max_size=30), max_size=4), st.booleans())
def test_loading_is_setting_each(pages: list[list[tuple[bytes, int]]], promiscuous: bool) -> None:
    loaded, single = (Listings(DictTable, (Kind(promiscuous),)) for _ in range(2))
    for page in pages:
        assert loaded.load(iter(page)) == len(page)
        for key, number in page:
            single.set(key, number)
    assert sorted(loaded.items()) == sorted(single.items())
    one, other = loaded.shelves[Kind(promiscuous)], single.shelves[Kind(promiscuous)]
    assert one._index._lengths == other._index._lengths and one.index_bytes == other.index_bytes
    for key, _ in chain.from_iterable(pages):
        addr, plen = split_key(key)
        assert all(one.has_below(mask(addr, n), n) == other.has_below(mask(addr, n), n) for n in range(plen + 1))


def test_listings_keep_each_kind_its_own_shelf() -> None:
    made = Listings(DictTable, (Kind(True), Kind()))
    keys = [parse_key(text) for text in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")]
    assert made.load(zip(keys, map(value, (PROVEN, HEARSAY, EXCLUDED, SHADOW)), strict=True)) == 4
    assert {kind: len(shelf.table) for kind, shelf in made.shelves.items()} == {Kind(): 2, Kind(True): 3}
    assert (len(made), sorted(made.items())) == (3, sorted((key, made.get(key)) for key in keys[:3]))
    made.set(keys[0], value(SHADOW))
    assert made.get(keys[0]) == 0 and not made.discard(keys[0])
    assert made.discard(keys[1]) and len(made) == 1


def test_a_hidden_host_does_not_uncover_itself_in_a_published_network() -> None:
    made = Listings(DictTable)
    made.set(parse_key("192.0.2.0/24"), value(PROVEN))
    made.set(parse_key("192.0.2.7"), value(HEARSAY))
    assert made.shelves[Kind()].match(parse_key("192.0.2.7")) == (24, value(PROVEN))
