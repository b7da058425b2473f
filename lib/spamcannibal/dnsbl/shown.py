"""What one zone showed at one serial, as entries of export/entry.py: all of them in order, or those around a place.

The test points stand in every zone, whatever the list says of them. IPv4-mapped names mean the IPv4 address when we
answer; in a transferred zone they would double it, so there are none but the test point's, and an exception keeps
wildcards of IPv6 networks away from the rest.
"""

from collections.abc import Iterable, Iterator
from heapq import merge

from spamcannibal.addr import MAPPED, V4_BITS, V6_BITS, make_key, mask, split_key
from spamcannibal.dnsbl.export.entry import EXCEPTION, Entry, Select, of_key, published
from spamcannibal.dnsbl.names import TEST_CLEAR, TEST_LISTED
from spamcannibal.dnsbl.places import Place
from spamcannibal.dnsbl.zone import Zone
from spamcannibal.errors import SpamCannibalError
from spamcannibal.record import PROVEN_CODE, split_table_value, table_value
from spamcannibal.store.past import Past, Row

ROW_LIMIT = 20_000  # listings read for a difference: past it the whole zone costs little more


class TooLong(SpamCannibalError):
    """A difference that would take more than the whole zone does."""


class Shown:
    """A zone at the serial of a Past; for one thread."""

    def __init__(self, zone: Zone, past: Past) -> None:
        self.past = past
        self._select = selection(zone)
        self._fixed = fixed(zone)
        self._entries: dict[bytes, Entry | None] = {}
        self._rows: dict[bytes, Row] = {}
        self._lengths: dict[int, list[int]] = {}
        self._left = ROW_LIMIT

    def all(self, bits: int) -> Iterator[Entry]:
        """Yield the entries of a family in order, with their texts."""
        own = [entry for entry in self._fixed.values() if entry.bits == bits]
        return merge(own, in_order(self._stored(bits)), key=lambda entry: (entry.addr, entry.plen))

    def entry(self, key: bytes) -> Entry | None:
        """Return what is shown for a key, without text."""
        if key in self._fixed:
            return self._fixed[key]
        if key not in self._entries:
            row = self.past.get(key)
            self._entries[key] = None if row is None else self._entry(row)
        return self._entries[key]

    def covering(self, place: Place) -> list[Entry]:
        """Return the entries that cover a place, the widest first."""
        addr = place.addr.to_bytes(place.bits // 8, "big")
        lengths = self._family_lengths(place.bits)
        keys = (make_key(mask(addr, plen), plen) for plen in lengths if plen <= place.depth_bits)
        return [entry for key in keys if (entry := self.entry(key)) is not None]

    def has_inside(self, place: Place) -> bool:
        """Tell whether an entry lies inside a place and does not cover it."""
        return next(self._inside(place.bits, place.addr, place.depth_bits), None) is not None

    def inside(self, entry: Entry) -> Iterator[Entry]:
        """Yield the entries that lie inside another and are not as wide."""
        return self._inside(entry.bits, entry.addr, entry.plen)

    def texts(self, entries: Iterable[Entry]) -> dict[bytes, str]:
        """Return the texts of entries that were given out, by key."""
        rows = [self._rows[entry.key] for entry in entries if entry.key in self._rows]
        return {row.key: text for row, text in zip(rows, self.past.texts(rows), strict=True)}

    def _entry(self, row: Row) -> Entry | None:
        code = self._select(row.value)
        if code is None:
            return None
        self._rows[row.key] = row
        return of_key(row.key, code)

    def _family_lengths(self, bits: int) -> list[int]:
        if bits not in self._lengths:
            own = {entry.plen for entry in self._fixed.values() if entry.bits == bits}
            self._lengths[bits] = sorted(own.union(self.past.lengths(bits // 8)))
        return self._lengths[bits]

    def _inside(self, bits: int, addr: int, plen: int) -> Iterator[Entry]:
        """Yield entries without texts, in the order of keys. TooLong past the limit."""
        size, end = bits // 8, addr + (1 << bits - plen)
        yield from (e for e in self._fixed.values() if e.bits == bits and addr <= e.addr < end and e.plen > plen)
        last = end.to_bytes(size, "big") if end >> bits == 0 else b"\xff" * 18
        for page in self.past.pages((size, size + 1), addr.to_bytes(size, "big"), last):
            self._left -= len(page) + 1
            if self._left < 0:
                raise TooLong(f"more than {ROW_LIMIT} listings to look at")
            for row in page:
                if row.key not in self._fixed and split_key(row.key)[1] > plen:
                    entry = self._entry(row)
                    if entry is not None:
                        yield entry

    def _stored(self, bits: int) -> Iterator[Entry]:
        """Yield what the store holds of a family, in the order of keys, with texts."""
        size = bits // 8
        for page in self.past.pages((size, size + 1)):
            shown = [(row, code) for row in page if (code := self._select(row.value)) is not None]
            shown = [(row, code) for row, code in shown if row.key not in self._fixed]
            texts = self.past.texts([row for row, _ in shown])
            for (row, code), text in zip(shown, texts, strict=True):
                yield of_key(row.key, code, text)


def selection(zone: Zone) -> Select:
    """Return which table values a zone shows, and as what."""
    kind = zone.kind
    if not kind.only:
        return published(zone.promiscuous)

    def select(value: int) -> bytes | None:
        code, _, flags = split_table_value(value)
        return zone.code if table_value(code, 0, flags) == kind.wanted else None

    return select


def fixed(zone: Zone) -> dict[bytes, Entry]:
    """Return the entries that are always there, by key."""
    code = zone.code or PROVEN_CODE
    mapped = make_key(MAPPED + bytes(4), V6_BITS - V4_BITS)
    entries = (
        of_key(TEST_CLEAR, EXCEPTION),
        of_key(TEST_LISTED, code),
        of_key(mapped, EXCEPTION),
        of_key(MAPPED + TEST_LISTED, code),
    )
    return {entry.key: entry for entry in entries}


def in_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Put entries in the order of keys into that of names: of one address the widest first."""
    same: list[Entry] = []
    for entry in entries:
        if same and entry.addr != same[0].addr:
            yield from sorted(same, key=lambda one: one.plen)
            same = []
        same.append(entry)
    yield from sorted(same, key=lambda one: one.plen)
