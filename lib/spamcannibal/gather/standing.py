"""What is listed, in memory, for mail servers that ask: a table to follow (store.follow.Follower), and texts. Pure.

A shadow entry (brown) is no listing and must not hide one: a brown host inside a listed network is still refused.

Texts of changes come with the journal; those of listings from before are asked for (`missing`), read by whoever follows
the store, and put in, so that no question ever waits for the disk.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from cachetools import LRUCache

from spamcannibal.addr import make_key, mask
from spamcannibal.colours import COLOURS
from spamcannibal.record import EXCLUDED, OWN_TEXT, split_table_value
from spamcannibal.tables import IS_SHADOW, Tables

TEXTS_BYTES = 16 << 20
TEXT_COST_BYTES = 150  # about what key, text object and table entry take beside the text itself
MISSING_LIMIT = 256
_EXCLUDED = EXCLUDED << 4
_EXCUSES = {colour.code: name for name, colour in COLOURS.items() if colour.flags & EXCLUDED}


class Found(NamedTuple):
    """What stands for an address: the listed key, its colour (black: refused), and its own text, "" if unknown."""

    key: bytes
    colour: str
    text: str = ""


class Standing:
    """The listings. What a follower needs may be called by another thread than the rest."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._texts: LRUCache[bytes, str] = LRUCache(TEXTS_BYTES, getsizeof=_size)
        self.missing: deque[bytes] = deque(maxlen=MISSING_LIMIT)

    def __len__(self) -> int:
        return len(self._tables)

    # What a follower needs.

    def set(self, key: bytes, value: int) -> None:
        self._tables.set(key, value)

    def discard(self, key: bytes) -> bool:
        return self._tables.discard(key)

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        return self._tables.load(pairs)

    def items(self) -> list[tuple[bytes, int]]:
        return self._tables.items()

    # What askers need.

    def find(self, addr: bytes) -> Found | None:
        """Return what stands for an address: the longest match among listings and exceptions, else among shadows."""
        found = self._tables.listings.match(addr) or self._tables.shadows.match(addr)
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
    if value & IS_SHADOW:
        return "brown"
    return _EXCUSES.get(split_table_value(value)[0], "white") if value & _EXCLUDED else "black"


def _size(text: str) -> int:
    return len(text) + TEXT_COST_BYTES
