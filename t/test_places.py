"""The names of a transferred zone: written in one go, place by place, and as differences, they are the same."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.addr import format_key, make_key, mask, parse_key
from spamcannibal.dnsbl.export.entry import EXCEPTION, Entry, of_key
from spamcannibal.dnsbl.export.names import owners
from spamcannibal.dnsbl.places import label, owned, touched
from spamcannibal.record import PROVEN_CODE

# Few addresses and all lengths, so that networks lie in networks; with labels of one digit and of more.
V4 = st.sampled_from([bytes(octets) for octets in ((2, 3, 4, 5), (2, 3, 4, 77), (2, 30, 4, 5), (22, 3, 4, 5))])
V6 = st.sampled_from([bytes.fromhex(head.ljust(32, "0")) for head in ("20010db8", "20010db80001", "2001", "2345")])
V4_LENGTHS = st.one_of(st.integers(20, 32), st.sampled_from([32, 24, 18, 16]))
V6_LENGTHS = st.one_of(st.integers(13, 64), st.sampled_from([128, 64, 48]))
KEYS = st.one_of(st.tuples(V4, V4_LENGTHS, st.integers(0, 255)), st.tuples(V6, V6_LENGTHS, st.integers(0, 255))).map(
    lambda parts: make_key(mask(parts[0][:-1] + bytes((parts[2],)), parts[1]), parts[1])
)
LISTS = st.dictionaries(KEYS, st.sampled_from([PROVEN_CODE, PROVEN_CODE, EXCEPTION]), max_size=9)


class Shown:
    """A list in memory."""

    def __init__(self, codes):
        self.entries = {key: of_key(key, code) for key, code in codes.items()}

    def family(self, bits):
        return sorted((e for e in self.entries.values() if e.bits == bits), key=lambda e: (e.addr, e.plen))

    def covering(self, place):
        around = Entry(place.bits, place.addr, place.depth_bits, b"")
        return [entry for entry in self.family(place.bits) if entry.covers(around)]

    def has_inside(self, place):
        return any(self.inside(Entry(place.bits, place.addr, place.depth_bits, b"")))

    def inside(self, around):
        return (e for e in self.family(around.bits) if around.covers(e) and e.plen > around.plen)

    def whole(self):
        """{name: key} of the zone written in one go."""
        return {name: entry.key for bits in (32, 128) for name, entry in owners(self.family(bits))}


@settings(deadline=None, max_examples=100)
@given(LISTS, LISTS)
def test_the_touched_places_are_the_difference(old, new):
    before, after = Shown(old), Shown(new)
    names = before.whole()
    for key in old.keys() | new.keys():
        if old.get(key) == new.get(key):
            continue
        for place in set(touched(of_key(key, PROVEN_CODE), (before, after))):
            was, now = owned(place, before), owned(place, after)
            if was is not None and (now is None or label(place, was) != label(place, now)):
                names.pop(label(place, was), None)
            if now is not None:
                names[label(place, now)] = now.key
    want = after.whole()
    assert {n: format_key(k) for n, k in names.items()} == {n: format_key(k) for n, k in want.items()}


def test_a_host_in_no_network_touches_only_names_that_it_could_split():
    shown = Shown({})
    places = set(touched(of_key(parse_key("192.0.2.7"), PROVEN_CODE), (shown,)))
    assert sorted(place.depth_bits for place in places) == [8, 16, 24, 32]
