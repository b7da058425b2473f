"""A multiset of unsigned numbers in order, that answers "is any between these two?".

Kept in blocks of packed numbers (4 or 8 bytes each), so that ten million take 40 MB (80 MB) and a bit, and a change
moves one block's bytes only: about a microsecond, at any size. A number added twice must be removed twice.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from typing import Literal

BLOCK = 2048  # numbers in a full block: what moves on a change is 16 kB at most


class Ordered:
    """Numbers of 32 ("I") or 64 ("Q") bits. One thread at a time."""

    def __init__(self, typecode: Literal["I", "Q"]) -> None:
        self._typecode = typecode
        self._firsts: list[int] = []
        self._blocks: list[array[int]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def memory_bytes(self) -> int:
        """Return the size of the blocks, without the few list entries that hold them."""
        return sum(block.buffer_info()[1] * block.itemsize for block in self._blocks)

    def add(self, number: int) -> None:
        """Put a number in."""
        self._count += 1
        if not self._blocks:
            self._firsts.append(number)
            self._blocks.append(array(self._typecode, (number,)))
            return
        index = max(bisect_right(self._firsts, number) - 1, 0)
        block = self._blocks[index]
        insort(block, number)
        self._firsts[index] = block[0]
        if len(block) > BLOCK:
            self._split(index)

    def add_sorted(self, numbers: list[int]) -> None:
        """Put numbers in that are in order; quick where they lie past all that is in."""
        if self._blocks and numbers[0] < self._blocks[-1][-1]:
            for number in numbers:
                self.add(number)
            return
        at = 0
        if self._blocks:
            at = BLOCK - len(self._blocks[-1])
            self._blocks[-1].extend(numbers[:at])
        for start in range(at, len(numbers), BLOCK):
            self._blocks.append(array(self._typecode, numbers[start : start + BLOCK]))
            self._firsts.append(numbers[start])
        self._count += len(numbers)

    def remove(self, number: int) -> bool:
        """Take a number out once; say whether it was there."""
        index = bisect_right(self._firsts, number) - 1
        if index < 0:
            return False
        block = self._blocks[index]
        at = bisect_left(block, number)
        if at == len(block) or block[at] != number:
            return False
        del block[at]
        self._count -= 1
        if block:
            self._firsts[index] = block[0]
        else:
            del self._blocks[index], self._firsts[index]
        return True

    def any_between(self, low: int, high: int) -> bool:
        """Tell whether a number from `low` to `high`, both included, is in."""
        index = bisect_right(self._firsts, high) - 1
        if index < 0:
            return False
        block = self._blocks[index]
        return block[bisect_right(block, high) - 1] >= low

    def _split(self, index: int) -> None:
        """Make two blocks of one; of the last only its end, so that sorted input leaves full blocks behind."""
        block = self._blocks[index]
        at = -1 if index == len(self._blocks) - 1 else len(block) // 2
        upper = block[at:]
        del block[at:]
        self._blocks.insert(index + 1, upper)
        self._firsts.insert(index + 1, upper[0])
