"""What the zones show, kept current by a follower: for each kind of zone a table, and an index of what lies below.

A Shelf holds only what its kind of zone shows: published entries and exclusions, and for promiscuous zones hearsay too.
What is hidden is not in it, so a hidden host does not uncover itself inside a published network, and C finds the answer
with one look-up. Shadow entries are in neither.

`Listings` has the methods that store.follow.Follower needs of a table and hands every change to its shelves.

"Is anything listed below this name?" is asked of the index, not of the store: there most entries are hidden and keys of
4 and 16 bytes lie mixed, so the search for the next shown one would have no bound. The index is three sorted multisets
(ordered.py): IPv4 network addresses (4 bytes an entry), upper halves of IPv6 ones (8 bytes), and, for what is longer
than a /64, lower halves by upper half.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from spamcannibal.addr import mask, split_key
from spamcannibal.dnsbl.ordered import Ordered
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW

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
    def items(self) -> list[tuple[bytes, int]]: ...


class Shelf:
    """The entries that one kind of zone shows. Changes come from one thread, questions from any."""

    def __init__(self, table: Table, promiscuous: bool) -> None:
        self.table = table
        self._shown = EXCLUDED | PUBLISHED
        self._promiscuous = promiscuous
        self._below = _Below()
        self._lengths: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def shows(self, value: int) -> bool:
        """Tell whether an entry belongs here."""
        flags = value >> _FLAGS_SHIFT
        return not flags & SHADOW and bool(self._promiscuous or flags & self._shown)

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
                self._forget(key, before)
            self.table.set(key, value)
            addr, plen = split_key(key)
            self._lengths[len(addr), plen] += 1
            if not value >> _FLAGS_SHIFT & EXCLUDED:
                self._below.add(addr, plen)

    def discard(self, key: bytes) -> bool:
        """Take an entry out; say whether it was there."""
        before = self.table.get(key)
        if not before:
            return False
        with self._lock:
            self._forget(key, before)
            return self.table.discard(key)

    def match(self, addr: bytes) -> tuple[int, int] | None:
        """Return (prefix length, value) of the longest entry that covers an address."""
        return self.table.match(addr)

    def has_below(self, addr: bytes, plen: int) -> bool:
        """Tell whether any address under a prefix is listed; may say yes where exclusions leave none."""
        with self._lock:
            if self._below.any(addr, plen):
                return True
            lengths = sorted((n for size, n in self._lengths if size == len(addr) and n <= plen), reverse=True)
        for length in lengths:
            network = mask(addr, length)
            value = self.table.get(network if length == len(addr) * 8 else network + bytes((length,)))
            if value:
                return not value >> _FLAGS_SHIFT & EXCLUDED
        return False

    @property
    def index_bytes(self) -> int:
        """Return the size of the index."""
        return self._below.memory_bytes

    def _forget(self, key: bytes, value: int) -> None:
        addr, plen = split_key(key)
        length = len(addr), plen
        self._lengths[length] -= 1
        if not self._lengths[length]:
            del self._lengths[length]
        if not value >> _FLAGS_SHIFT & EXCLUDED:
            self._below.remove(addr, plen)


class Listings:
    """The shelves as one table to follow."""

    def __init__(self, new_table: Callable[[], Table], kinds: Iterable[bool] = (False,)) -> None:
        self.shelves = {promiscuous: Shelf(new_table(), promiscuous) for promiscuous in sorted(set(kinds))}

    def __len__(self) -> int:
        return max((len(shelf.table) for shelf in self.shelves.values()), default=0)

    def set(self, key: bytes, value: int) -> None:
        """Take a store's entry in."""
        for shelf in self.shelves.values():
            shelf.set(key, value)

    def discard(self, key: bytes) -> bool:
        """Take an entry out; say whether any shelf had it."""
        had_it = [shelf.discard(key) for shelf in self.shelves.values()]
        return any(had_it)

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        """Take many entries in; return how many were given."""
        count = 0
        for key, value in pairs:
            self.set(key, value)
            count += 1
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


class _Below:
    """Network addresses in order, by family."""

    def __init__(self) -> None:
        self._v4 = Ordered("I")
        self._v6 = Ordered("Q")
        self._deep: dict[int, Ordered] = {}

    def add(self, addr: bytes, plen: int) -> None:
        number = int.from_bytes(addr, "big")
        if len(addr) == 4:
            self._v4.add(number)
            return
        upper = number >> _HALF
        self._v6.add(upper)
        if plen > _HALF:
            self._deep.setdefault(upper, Ordered("Q")).add(number & _HALF_MASK)

    def remove(self, addr: bytes, plen: int) -> None:
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

    def any(self, addr: bytes, plen: int) -> bool:
        low = int.from_bytes(addr, "big")
        high = low | (1 << len(addr) * 8 - plen) - 1
        if len(addr) == 4:
            return self._v4.any_between(low, high)
        if plen <= _HALF:
            return self._v6.any_between(low >> _HALF, high >> _HALF)
        deep = self._deep.get(low >> _HALF)
        return deep is not None and deep.any_between(low & _HALF_MASK, high & _HALF_MASK)

    @property
    def memory_bytes(self) -> int:
        return sum(index.memory_bytes for index in (self._v4, self._v6, *self._deep.values()))
