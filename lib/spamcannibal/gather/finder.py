"""Many patterns over many log lines: texts that a line must hold first, in one search over a whole block. Pure."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")

LINE_LIMIT_BYTES = 8192


class Finder(Generic[T, V]):
    """Items, each with a text and a pattern, compiled to be found fast; `read` makes a value of a match, or None."""

    def __init__(
        self, items: Sequence[tuple[T, str, re.Pattern[bytes]]], read: Callable[[re.Match[bytes]], V | None]
    ) -> None:
        self._read = read
        self._by_find: dict[bytes, list[tuple[T, re.Pattern[bytes]]]] = {}
        for item, find, pattern in items:
            self._by_find.setdefault(find.encode(), []).append((item, pattern))
        # Longer texts first, or one that begins another would hide it.
        finds = sorted(self._by_find, key=lambda find: (-len(find), find))
        self._any = re.compile(b"|".join(map(re.escape, finds))) if finds else None

    def look(self, block: bytes) -> Iterator[tuple[T, V, bytes]]:
        """Yield (item, value, line) in a block of whole lines, in order; at most one for each text of a line."""
        if self._any is None:
            return
        done = 0  # a line's texts are all looked at when the first is found
        for found in self._any.finditer(block):
            if found.start() < done:
                continue
            start = block.rfind(b"\n", 0, found.start()) + 1
            end = block.find(b"\n", found.end())
            done = end if end >= 0 else len(block)
            if done - start <= LINE_LIMIT_BYTES:
                yield from self._in_line(block[start:done])

    def _in_line(self, line: bytes) -> Iterator[tuple[T, V, bytes]]:
        for find, items in self._by_find.items():
            if find not in line:
                continue
            for item, pattern in items:
                match = pattern.match(line)
                value = self._read(match) if match else None
                if value is not None:
                    yield item, value, line
                    break
