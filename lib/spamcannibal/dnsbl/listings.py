"""What the zones show, kept current by a follower: a shelf of the C core for each kind of zone.

A Shelf holds only what its kind of zone shows: published entries and exclusions, for promiscuous zones hearsay too, or
the entries of one colour. What is hidden is not in it, so a hidden host does not uncover itself inside a published
network, and one look-up finds the answer. Shadow entries are shown by no plain zone.

`Listings` has the methods that store.follow.Follower needs of a table and hands every change to its shelves.

"Is anything listed below this name?" is asked of the shelf's index, not of the store: there most entries are hidden and
keys of 4 and 16 bytes lie mixed, so the search for the next shown one would have no bound.
"""

from collections.abc import Iterable
from itertools import islice

from spamcannibal._core import Shelf
from spamcannibal.colours import Kind

LOAD_STEP = 10_000


class Listings:
    """The shelves as one table to follow. Changes come from one thread, questions from any."""

    def __init__(self, kinds: Iterable[Kind] = (Kind(),)) -> None:
        self.shelves = {kind: Shelf(kind.promiscuous, kind.wanted) for kind in sorted(set(kinds))}
        self._filled = [shelf for kind, shelf in self.shelves.items() if not kind.is_empty]

    def __len__(self) -> int:
        return max(map(len, self._filled), default=0)

    def set(self, key: bytes, value: int) -> None:
        """Take a store's entry in."""
        for shelf in self._filled:
            shelf.set(key, value)

    def discard(self, key: bytes) -> bool:
        """Take an entry out; say whether any shelf had it."""
        had_it = [shelf.discard(key) for shelf in self._filled]
        return any(had_it)

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        """Take many entries in; return how many were given."""
        rest, count = iter(pairs), 0
        while chunk := tuple(islice(rest, LOAD_STEP)):
            for shelf in self._filled:
                shelf.load(chunk)
            count += len(chunk)
        return count

    def get(self, key: bytes) -> int:
        """Return a shown entry's value, 0 if there is none."""
        return next(filter(None, (shelf.get(key) for shelf in self._filled)), 0)

    def items(self) -> list[tuple[bytes, int]]:
        """Return all entries that any zone shows."""
        entries: dict[bytes, int] = {}
        for shelf in self._filled:
            entries.update(shelf.items())
        return list(entries.items())
