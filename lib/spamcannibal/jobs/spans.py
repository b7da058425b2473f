"""Disjoint ranges of addresses, each with a number, both families: one bisection finds the range that holds an address.

In: ranges (first, last, number) as integers, in any order, overlapping as they like. Where two overlap, the one that
begins first counts, of those the widest, of those the first given. Out: Spans, sorted arrays of where a range begins;
a gap is a range with the number 0. That is 8 bytes a boundary in IPv4 and 20 in IPv6, of which only the upper 8 of an
address are looked at before the lower 8.
"""

from array import array
from bisect import bisect_left, bisect_right

HALF = 64
NUMBER_BITS = 32
NUMBERS_LIMIT = 1 << NUMBER_BITS


class Spans:
    """The ranges of one family; `size` is 4 or 16, a number fits 32 bits and is not 0.

    Those that are added count from `seal` on. Meanwhile one integer holds each, a third of what a tuple takes.
    """

    def __init__(self, size: int) -> None:
        self._bits = size * 8
        self._added: list[int] = []
        self._upper = array("Q")
        self._lower = array("I" if size == 4 else "Q")
        self._numbers = array("I")

    def add(self, first: int, last: int, number: int) -> None:
        end = (1 << self._bits) - 1
        self._added.append(((first << self._bits) | (end - last)) << NUMBER_BITS | number)

    def __len__(self) -> int:
        """How many boundaries there are."""
        return len(self._numbers)

    def find(self, addr: bytes) -> int:
        """Return the number of the range that holds an address, 0 if none does."""
        value = int.from_bytes(addr, "big")
        if self._bits == 32:
            at = bisect_right(self._lower, value)
        else:
            upper = value >> HALF
            left = bisect_left(self._upper, upper)
            right = bisect_right(self._upper, upper, left)
            at = bisect_right(self._lower, value & ((1 << HALF) - 1), left, right)
        return self._numbers[at - 1] if at else 0

    def memory_bytes(self) -> int:
        """How much memory the ranges take."""
        arrays = (self._upper, self._lower, self._numbers)
        return sum(each.buffer_info()[1] * each.itemsize for each in arrays)

    def seal(self) -> "Spans":
        """Sort what was added and cut what overlaps."""
        bits, end = self._bits, (1 << self._bits) - 1
        added, self._added = self._added, []
        added.sort()
        free = 0
        for each in added:
            number = each & (NUMBERS_LIMIT - 1)
            first, last = max(each >> (bits + NUMBER_BITS), free), end - ((each >> NUMBER_BITS) & end)
            if last < free:
                continue
            if first > free:
                self._begin(free, 0)
            self._begin(first, number)
            free = last + 1
        if added and free <= end:
            self._begin(free, 0)
        return self

    def _begin(self, first: int, number: int) -> None:
        """Begin a range, unless it only goes on with the number of the one before."""
        if number == (self._numbers[-1] if self._numbers else 0):
            return
        if self._bits > HALF:
            self._upper.append(first >> HALF)
        self._lower.append(first & ((1 << HALF) - 1))
        self._numbers.append(number)
