"""What the zones show, kept current by a follower: for each kind of zone a table, and an index of what lies below.

A Shelf holds only what its kind of zone shows: published entries and exclusions, and for promiscuous zones hearsay too.
What is hidden is not in it, so a hidden host does not uncover itself inside a published network, and C finds the answer
with one look-up. Shadow entries are in neither.

`Listings` has the methods that store.follow.Follower needs of a table and hands every change to its shelves.

"Is anything listed below this name?" is asked of the index, not of the store: there most entries are hidden and keys of
4 and 16 bytes lie mixed, so the search for the next shown one would have no bound. The index is three sorted multisets
(ordered.py): IPv4 network addresses (4 bytes an entry), upper halves of IPv6 ones (8 bytes), and, for what is longer
than a /64, lower halves by upper half. Measured with random hosts: 1 M take 17 MB of table and 4 MB of index, 10 M take
135 MB and 40 MB, and a question 3 us.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Protocol

from spamcannibal.addr import V4_BITS, mask, split_key
from spamcannibal.dnsbl.colours import Kind
from spamcannibal.dnsbl.ordered import Ordered
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW

LOAD_STEP = 10_000
_FLAGS_SHIFT = 4  # where the flags stand in a table value: record.py
_HALF = 64
_HALF_MASK = (1 << _HALF) - 1


class Table(Protocol):
    """Prefixes to numbers: _core.AddrTable."""

    def __len__(self) -> int: ...
    def set(self, key: bytes, value: int, /) -> None: ...
    def discard(self, key: bytes, /) -> bool: ...
    def get(self, key: bytes, /) -> int: ...
    def match(self, addr: bytes, /) -> tuple[int, int] | None: ...
    def load(self, pairs: Iterable[tuple[bytes, int]], /) -> int: ...
    def items(self) -> list[tuple[bytes, int]]: ...


class Shelf:
    """The entries that one kind of zone shows. Changes come from one thread, questions from any."""

    def __init__(self, table: Table, promiscuous: bool) -> None:
        self.table = table
        self._shown = EXCLUDED | PUBLISHED
        self._promiscuous = promiscuous
        self._index = _Index()
        self._lock = threading.Lock()

    def shows(self, value: int) -> bool:
        """Tell whether an entry belongs here."""
        flags = value >> _FLAGS_SHIFT
        return not flags & SHADOW and bool(self._promiscuous or flags & self._shown)

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        """Take many entries in: what `set` does for each, at a third of the time."""
        new: dict[bytes, int] = {}
        for key, value in pairs:
            if self.table.get(key):
                self.set(key, value)
            elif self.shows(value):
                new[key] = value
            else:
                new.pop(key, None)
        with self._lock:
            self.table.load(new.items())
            self._index.add_many(new)

    def set(self, key: bytes, value: int) -> None:
        """Take an entry in, or out if it is not to be shown."""
        if not self.shows(value):
            self.discard(key)
            return
        before = self.table.get(key)
        if before == value:
            return
        with self._lock:
            if before:
                self._index.remove(key, before)
            self.table.set(key, value)
            self._index.add(key, value)

    def discard(self, key: bytes) -> bool:
        """Take an entry out; say whether it was there."""
        before = self.table.get(key)
        if not before:
            return False
        with self._lock:
            self._index.remove(key, before)
            return self.table.discard(key)

    def match(self, addr: bytes) -> tuple[int, int] | None:
        """Return (prefix length, value) of the longest entry that covers an address."""
        return self.table.match(addr)

    def has_below(self, addr: bytes, plen: int) -> bool:
        """Tell whether any address under a prefix is listed; may say yes where exclusions leave none."""
        with self._lock:
            if self._index.any_below(addr, plen):
                return True
            lengths = self._index.lengths(len(addr), plen)
        for length in lengths:
            network = mask(addr, length)
            value = self.table.get(network if length == len(addr) * 8 else network + bytes((length,)))
            if value:
                return not value >> _FLAGS_SHIFT & EXCLUDED
        return False

    @property
    def index_bytes(self) -> int:
        """Return the size of the index."""
        return self._index.memory_bytes


class Listings:
    """The shelves as one table to follow."""

    def __init__(self, new_table: Callable[[], Table], kinds: Iterable[Kind] = (Kind(),)) -> None:
        self.shelves = {kind: Shelf(new_table(), kind.promiscuous) for kind in sorted(set(kinds))}

    def __len__(self) -> int:
        return max((len(shelf.table) for shelf in self.shelves.values()), default=0)

    def set(self, key: bytes, value: int) -> None:
        """Take a store's entry in."""
        for kind, shelf in self.shelves.items():
            shelf.set(key, kind.select(value))

    def discard(self, key: bytes) -> bool:
        """Take an entry out; say whether any shelf had it."""
        had_it = [shelf.discard(key) for shelf in self.shelves.values()]
        return any(had_it)

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        """Take many entries in; return how many were given."""
        rest, count = iter(pairs), 0
        while chunk := tuple(islice(rest, LOAD_STEP)):
            for kind, shelf in self.shelves.items():
                shelf.load([(key, kind.select(value)) for key, value in chunk] if kind.only else chunk)
            count += len(chunk)
        return count

    def get(self, key: bytes) -> int:
        """Return a shown entry's value, 0 if there is none."""
        return next(filter(None, (shelf.table.get(key) for shelf in self.shelves.values())), 0)

    def items(self) -> list[tuple[bytes, int]]:
        """Return all entries that any zone shows."""
        entries: dict[bytes, int] = {}
        for shelf in self.shelves.values():
            entries.update(shelf.table.items())
        return list(entries.items())


class _Index:
    """Network addresses in order, by family, of all entries but exclusions; and which prefix lengths are there."""

    def __init__(self) -> None:
        self._v4 = Ordered("I")
        self._v6 = Ordered("Q")
        self._deep: dict[int, Ordered] = {}
        self._lengths: Counter[tuple[int, int]] = Counter()

    def add(self, key: bytes, value: int) -> None:
        addr, plen = split_key(key)
        self._lengths[len(addr), plen] += 1
        if value >> _FLAGS_SHIFT & EXCLUDED:
            return
        number = int.from_bytes(addr, "big")
        if len(addr) == 4:
            self._v4.add(number)
            return
        self._v6.add(number >> _HALF)
        if plen > _HALF:
            self._deep.setdefault(number >> _HALF, Ordered("Q")).add(number & _HALF_MASK)

    def add_many(self, entries: Mapping[bytes, int]) -> None:
        """Do what `add` does for each: IPv4 hosts, which are nearly all, at once."""
        hosts = []
        for key, value in entries.items():
            if len(key) == 4 and not value >> _FLAGS_SHIFT & EXCLUDED:
                hosts.append(int.from_bytes(key, "big"))
            else:
                self.add(key, value)
        if hosts:
            self._lengths[4, V4_BITS] += len(hosts)
            self._v4.add_sorted(sorted(hosts))

    def remove(self, key: bytes, value: int) -> None:
        addr, plen = split_key(key)
        length = len(addr), plen
        self._lengths[length] -= 1
        if not self._lengths[length]:
            del self._lengths[length]
        if value >> _FLAGS_SHIFT & EXCLUDED:
            return
        number = int.from_bytes(addr, "big")
        if len(addr) == 4:
            self._v4.remove(number)
            return
        upper = number >> _HALF
        self._v6.remove(upper)
        if plen > _HALF:
            deep = self._deep[upper]
            deep.remove(number & _HALF_MASK)
            if not len(deep):
                del self._deep[upper]

    def any_below(self, addr: bytes, plen: int) -> bool:
        low = int.from_bytes(addr, "big")
        high = low | (1 << len(addr) * 8 - plen) - 1
        if len(addr) == 4:
            return self._v4.any_between(low, high)
        if plen <= _HALF:
            return self._v6.any_between(low >> _HALF, high >> _HALF)
        deep = self._deep.get(low >> _HALF)
        return deep is not None and deep.any_between(low & _HALF_MASK, high & _HALF_MASK)

    def lengths(self, size: int, plen: int) -> list[int]:
        """Return the prefix lengths of a family up to plen that are there, longest first."""
        return sorted((length for family, length in self._lengths if family == size and length <= plen), reverse=True)

    @property
    def memory_bytes(self) -> int:
        return sum(index.memory_bytes for index in (self._v4, self._v6, *self._deep.values()))
