"""A follower: keeps a table (the C core's, or anything like it) equal to the list by reading the journal.

`load` takes a snapshot: it remembers the last sequence number, pages through the listings, then applies what was
changed meanwhile; applying a change twice is harmless. `poll` applies what came since. The table then holds for each
listed key its table value. Where the journal does not connect to what was read before (a store restored from a copy, a
journal cut short) the follower loads again by itself.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from spamcannibal.record import Action, Change
from spamcannibal.store.stores import Store

PAGE_LIMIT = 10_000


class Table(Protocol):
    """What a follower keeps current: _core.AddrTable has this."""

    def set(self, key: bytes, value: int) -> object: ...
    def discard(self, key: bytes) -> object: ...
    def load(self, pairs: Iterable[tuple[bytes, int]]) -> object: ...
    def items(self) -> Iterable[tuple[bytes, int]]: ...


class Follower:
    """One table and how far it has followed: `seq` is the last change that is in it."""

    def __init__(self, store: Store, table: Table) -> None:
        self._store = store
        self._table = table
        self.seq = -1

    def load(self, progress: Callable[[int], None] | None = None) -> int:
        """Fill the table from the stores, dropping what it held besides; give the number of listings read.

        progress is called with the number of each page.
        """
        seq = self._store.last_seq()
        stale = {key for key, _ in self._table.items()}
        after: bytes | None = None
        total = 0
        while page := self._store.states(after, PAGE_LIMIT):
            self._table.load(page)
            stale.difference_update(key for key, _ in page)
            after = page[-1][0]
            total += len(page)
            if progress is not None:
                progress(len(page))
        for key in stale:
            self._table.discard(key)
        self.seq = seq
        self.poll()
        return total

    def poll(self, limit: int = PAGE_LIMIT) -> list[Change]:
        """Apply up to `limit` new changes; give those applied (none after loading again)."""
        changes = self._store.read(self.seq, limit) if self.seq >= 0 else []
        if self.seq < 0 or not self._connects(changes):
            self.load()
            return []
        for change in changes:
            self._apply(change)
        return changes

    def _connects(self, changes: list[Change]) -> bool:
        if changes:
            return changes[0].seq == self.seq + 1 and changes[-1].seq == self.seq + len(changes)
        return self._store.last_seq() == self.seq

    def _apply(self, change: Change) -> None:
        if change.action is Action.UNLIST:
            self._table.discard(change.key)
        else:
            self._table.set(change.key, change.state)
        self.seq = change.seq
