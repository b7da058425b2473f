"""What zones show: the shelves of the C core against plain dicts and sorted lists."""

import random
from bisect import bisect_left
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsbl_peers import EXCLUDED, HEARSAY, PROVEN, SHADOW, value
from spamcannibal._core import Shelf
from spamcannibal.addr import covers, make_key, mask, parse_key, split_key
from spamcannibal.colours import COLOURS, Kind, kind_of
from spamcannibal.dnsbl.listings import Listings

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
    shelf, model = Shelf(promiscuous), {}
    for key, number in steps:
        if number:
            shelf.set(key, number)
            model[key] = number
        else:
            shelf.discard(key)
            model.pop(key, None)
    flags = {key: number >> 4 & 7 for key, number in model.items()}
    shown = {key: flag for key, flag in flags.items() if flag in ((0, 1, 2) if promiscuous else (1, 2))}
    assert dict(shelf.items()) == {key: model[key] for key in shown} and len(shelf) == len(shown)
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
    loaded, single = (Listings((Kind(promiscuous),)) for _ in range(2))
    for page in pages:
        assert loaded.load(iter(page)) == len(page)
        for key, number in page:
            single.set(key, number)
    assert sorted(loaded.items()) == sorted(single.items())
    one, other = loaded.shelves[Kind(promiscuous)], single.shelves[Kind(promiscuous)]
    for key, _ in chain.from_iterable(pages):
        addr, plen = split_key(key)
        assert all(one.has_below(mask(addr, n), n) == other.has_below(mask(addr, n), n) for n in range(plen + 1))


def test_listings_keep_each_kind_its_own_shelf() -> None:
    made = Listings((Kind(True), Kind()))
    keys = [parse_key(text) for text in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")]
    assert made.load(zip(keys, map(value, (PROVEN, HEARSAY, EXCLUDED, SHADOW)), strict=True)) == 4
    assert {kind: len(shelf) for kind, shelf in made.shelves.items()} == {Kind(): 2, Kind(True): 3}
    assert (len(made), sorted(made.items())) == (3, sorted((key, made.get(key)) for key in keys[:3]))
    made.set(keys[0], value(SHADOW))
    assert made.get(keys[0]) == 0 and not made.discard(keys[0])
    assert made.discard(keys[1]) and len(made) == 1


def test_a_hidden_host_does_not_uncover_itself_in_a_published_network() -> None:
    made = Listings()
    made.set(parse_key("192.0.2.0/24"), value(PROVEN))
    made.set(parse_key("192.0.2.7"), value(HEARSAY))
    assert made.shelves[Kind()].match(parse_key("192.0.2.7")) == (24, value(PROVEN))


def test_a_colour_shows_its_own_entries_as_published_ones() -> None:
    kinds = {name: kind_of(name, False, False) for name in COLOURS}
    made = Listings([*kinds.values(), kind_of("", False, True)])
    keys = {name: parse_key(f"192.0.2.{number}") for number, name in enumerate(COLOURS)}
    for name, key in keys.items():
        made.set(key, value(COLOURS[name].flags, ".".join(map(str, COLOURS[name].code))))
    for name in ("white", "yellow", "brown", "nobl"):
        shelf = made.shelves[kinds[name]]
        code = ".".join(map(str, COLOURS[name].code))
        assert shelf.items() == [(keys[name], value(PROVEN, code))]
        assert shelf.has_below(keys[name][:3] + b"\0", 24)
    assert [key for key, _ in made.shelves[Kind()].items()] != [] and keys["brown"] not in dict(
        made.shelves[Kind()].items()
    )
    assert len(made.shelves[kind_of("", False, True)]) == 0


class Sorted:
    """What lies below a prefix, by a sorted list of network addresses."""

    def __init__(self, keys: list[bytes]) -> None:
        self.numbers = sorted(int.from_bytes(split_key(key)[0], "big") for key in keys)

    def any(self, addr: bytes, plen: int) -> bool:
        low = int.from_bytes(addr, "big")
        at = bisect_left(self.numbers, low)
        return at < len(self.numbers) and self.numbers[at] <= low | (1 << len(addr) * 8 - plen) - 1


@pytest.mark.parametrize("order", ["rising", "falling", "random"])
@pytest.mark.parametrize("kind", ["v4", "v6 to /64", "v6 hosts"])
def test_many_entries_are_found_below_their_prefixes_and_leave_nothing(kind: str, order: str) -> None:
    rng = random.Random(f"{kind} {order}")
    size, plen = (4, 32) if kind == "v4" else (16, 64 if kind == "v6 to /64" else 128)
    keys = list({make_key(mask(rng.randbytes(size), plen), plen) for _ in range(20_000)})
    if order != "random":
        keys.sort(reverse=order == "falling")
    shelf = Shelf()
    assert shelf.load((key, value()) for key in keys) == len(keys)
    assert shelf.index_bytes <= 3.2 * len(keys) * plen // 8 + 65536
    asked = [rng.randbytes(size) for _ in range(2000)] + [split_key(key)[0] for key in keys[:500]]
    for left in (keys, keys[: len(keys) // 50], []):
        model = Sorted(left)
        for key in set(dict(shelf.items())) - set(left):
            assert shelf.discard(key) and not shelf.discard(key)
        for addr in asked:
            for bits in (8, 12, 16, 20, 24, plen):
                assert shelf.has_below(mask(addr, bits), bits) == model.any(mask(addr, bits), bits)
        assert shelf.index_bytes <= 16 * len(left) * plen // 8 + 65536


@pytest.mark.parametrize(
    "call",
    [
        lambda shelf: shelf.set(b"\1\2\3", value()),
        lambda shelf: shelf.set(b"\1\2\3\4", 0),
        lambda shelf: shelf.has_below(b"\1\2\3\4", 33),
        lambda shelf: shelf.has_below(b"\1\2\3\4", -1),
        lambda shelf: shelf.has_below(b"\1\2\3", 24),
        lambda shelf: Shelf(False, 1 << 32),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call(Shelf())
