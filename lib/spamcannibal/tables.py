"""The list in memory, to follow (store.follow.Follower): shadow listings in one table, all others in another. Pure.

A shadow listing is only counted, so it must not hide the network around it: it stands apart.
"""

from collections.abc import Iterable

from spamcannibal._core import AddrTable
from spamcannibal.record import SHADOW

IS_SHADOW = SHADOW << 4  # in a table value


class Tables:
    """Both tables; a key is in one of them."""

    def __init__(self) -> None:
        self.listings = AddrTable()
        self.shadows = AddrTable()

    def __len__(self) -> int:
        return len(self.listings) + len(self.shadows)

    def set(self, key: bytes, value: int) -> None:
        kept, other = (self.shadows, self.listings) if value & IS_SHADOW else (self.listings, self.shadows)
        kept.set(key, value)
        other.discard(key)

    def discard(self, key: bytes) -> bool:
        was = self.listings.discard(key)
        return self.shadows.discard(key) or was

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        plain: list[tuple[bytes, int]] = []
        count = 0
        for key, value in pairs:
            count += 1
            self.set(key, value) if value & IS_SHADOW else plain.append((key, value))
        self.listings.load(plain)
        if len(self.shadows):
            for key, _ in plain:
                self.shadows.discard(key)
        return count

    def items(self) -> list[tuple[bytes, int]]:
        return [*self.listings.items(), *self.shadows.items()]
