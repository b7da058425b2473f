"""A change of the list -> the names of a transferred zone that it may touch, and what one name is. Pure.

Names are those of export/names.py, where all of a zone is written in one go. Here is the same rule for one place, asked
of the list as it was at one serial, so that a difference between two serials needs no more than what changed:

* a place is a node of the tree of labels: an address prefix that ends between two labels;
* the longest entry that covers a place, but no entry inside it, is the place's own if it does not cover the place above
  too, or if there is no name above (IPv4 under labels of one digit, IPv6 under less than four);
* its own entry gives a place records, or a BLOCK for an exception; one that covers the place above gives records only
  where the wildcard above does not reach: where something lies inside;
* so a change touches its own places, those above it, and, for a network, those between it and what lies in it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.names import depth_of, is_ambiguous, name_of, places, shallowest
from spamcannibal.dnsbl.export.tree import needed


class Place(NamedTuple):
    bits: int
    addr: int
    depth_bits: int


class List(Protocol):
    """What a zone shows at one serial."""

    def covering(self, place: Place) -> list[Entry]:
        """Return the entries that cover a place, the widest first."""

    def has_inside(self, place: Place) -> bool:
        """Tell whether an entry lies inside a place and does not cover it."""

    def inside(self, entry: Entry) -> Iterable[Entry]:
        """Yield the entries that lie inside another and are not as wide."""


def owned(place: Place, shown: List) -> Entry | None:
    """Return the entry whose records, or BLOCK, stand at a place; None if nothing does."""
    covers = list(needed(shown.covering(place)))
    if not covers:
        return None
    entry = covers[-1]
    above = place.depth_bits - _label_bits(place.bits)
    if entry.plen > above or not _has_name(place.bits, place.addr, above):
        return entry
    if not entry.is_listed or place.depth_bits == place.bits:
        return None
    return entry if shown.has_inside(place) else None


def label(place: Place, entry: Entry) -> str:
    """Return the labels of what stands at a place."""
    return name_of(entry, place.addr, place.depth_bits)


def touched(entry: Entry, lists: Iterable[List]) -> Iterator[Place]:
    """Yield the places that may differ between lists of which some hold the entry and some do not, or another text."""
    yield from _own(entry)
    yield from _above(entry, 0)
    if entry.is_host:
        return
    for shown in lists:
        for inner in shown.inside(entry):
            yield from _above(inner, entry.plen + 1)
            if not inner.is_listed:
                yield from _own(inner)


def _own(entry: Entry) -> Iterator[Place]:
    return (Place(entry.bits, addr, depth) for addr, depth in places(entry, depth_of(entry)))


def _above(entry: Entry, least_bits: int) -> Iterator[Place]:
    """Yield the places above an entry's, down from `least_bits`."""
    for depth in range(_label_bits(entry.bits), depth_of(entry), _label_bits(entry.bits)):
        shift = entry.bits - depth
        addr = entry.addr >> shift << shift
        if depth >= least_bits and _has_name(entry.bits, addr, depth):
            yield Place(entry.bits, addr, depth)


def _has_name(bits: int, addr: int, depth_bits: int) -> bool:
    """Tell whether a network of this depth can be a name."""
    if depth_bits < shallowest(bits):
        return False
    shift = bits - depth_bits
    return bits != 32 or depth_bits == bits or not is_ambiguous(addr >> shift << shift, depth_bits)


def _label_bits(bits: int) -> int:
    return 8 if bits == 32 else 4
