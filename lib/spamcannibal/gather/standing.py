"""What is listed, in memory, for mail servers that ask: a table to follow (store.follow.Follower), and texts. Pure.

A shadow entry (brown) is no listing and must not hide one: it stands in a table of its own, so a brown host inside a
listed network is still refused.

Texts of changes come with the journal; those of listings from before are asked for (`missing`), read by whoever follows
the store, and put in, so that no question ever waits for the disk.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from cachetools import LRUCache

from spamcannibal._core import AddrTable
from spamcannibal.addr import make_key, mask
from spamcannibal.dnsbl.colours import COLOURS
from spamcannibal.record import EXCLUDED, OWN_TEXT, SHADOW, split_table_value

TEXTS_BYTES = 16 << 20
TEXT_COST_BYTES = 150  # about what key, text object and table entry take beside the text itself
MISSING_LIMIT = 256
_EXCLUDED, _SHADOW = EXCLUDED << 4, SHADOW << 4
_EXCUSES = {colour.code: name for name, colour in COLOURS.items() if colour.flags & EXCLUDED}


class Found(NamedTuple):
    """What stands for an address: the listed key, its colour (black: refused), and its own text, "" if unknown."""

    key: bytes
    colour: str
    text: str = ""


class Standing:
    """The listings. What a follower needs may be called by another thread than the rest."""

    def __init__(self) -> None:
        self._table = AddrTable()
        self._shadows = AddrTable()
        self._texts: LRUCache[bytes, str] = LRUCache(TEXTS_BYTES, getsizeof=_size)
        self.missing: deque[bytes] = deque(maxlen=MISSING_LIMIT)

    def __len__(self) -> int:
        return len(self._table) + len(self._shadows)

    # What a follower needs.

    def set(self, key: bytes, value: int) -> None:
        kept, other = (self._shadows, self._table) if value & _SHADOW else (self._table, self._shadows)
        kept.set(key, value)
        other.discard(key)

    def discard(self, key: bytes) -> bool:
        was = self._table.discard(key)
        return self._shadows.discard(key) or was

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        plain: list[tuple[bytes, int]] = []
        count = 0
        for key, value in pairs:
            count += 1
            self.set(key, value) if value & _SHADOW else plain.append((key, value))
        self._table.load(plain)
        if len(self._shadows):
            for key, _ in plain:
                self._shadows.discard(key)
        return count

    def items(self) -> list[tuple[bytes, int]]:
        return [*self._table.items(), *self._shadows.items()]

    # What askers need.

    def find(self, addr: bytes) -> Found | None:
        """Return what stands for an address: the longest match among listings and exceptions, else among shadows."""
        found = self._table.match(addr) or self._shadows.match(addr)
        if found is None:
            return None
        plen, value = found
        key = make_key(mask(addr, plen), plen)
        return Found(key, colour_of(value), self._text(key) if value & OWN_TEXT else "")

    def put(self, key: bytes, text: str) -> None:
        """Take the text of a listing."""
        self._texts[key] = text

    def _text(self, key: bytes) -> str:
        text = self._texts.get(key)
        if text is None:
            self.missing.append(key)
        return text or ""


def colour_of(value: int) -> str:
    """Return the colour of a table value: whatever is refused is black."""
    if value & _SHADOW:
        return "brown"
    return _EXCUSES.get(split_table_value(value)[0], "white") if value & _EXCLUDED else "black"


def _size(text: str) -> int:
    return len(text) + TEXT_COST_BYTES
