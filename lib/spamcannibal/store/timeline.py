"""The journal by time: which change was the last at a moment, and what differs between two.

Records may be missing where the journal was pruned; then what lies before is as far back as can be told.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from spamcannibal.record import Action, Change
from spamcannibal.store.stores import Store

PAGE_LIMIT = 1000


class Moved(NamedTuple):
    """A key whose listing differs: the changes that made it so before and after; None: not listed."""

    key: bytes
    before: Change | None
    after: Change | None


def seq_at(store: Store, time_ms: int) -> int:
    """Give the number of the last change up to a time, 0 if there was none. As many look-ups as the number has bits."""
    low, high = 0, store.last_seq() + 1  # changes up to low are in, those from high on are not
    while high - low > 1:
        middle = (low + high) // 2
        found = store.read(middle - 1, 1)
        if not found or found[0].seq >= high:
            high = middle
        elif found[0].time_ms <= time_ms:
            low = found[0].seq
        else:
            high = middle
    return low


def listing_at(store: Store, key: bytes, seq: int) -> Change | None:
    """Give the change that made a key listed as it was after change `seq`; None if it was not listed then."""
    change = store.change_at(key, seq)
    return None if change is None or change.action is Action.UNLIST else change


def difference(store: Store, first: int, last: int) -> Iterator[Moved | None]:
    """Yield, for each change past `first` up to `last`, the key that it was the first to move, else None.

    A key that is again what it was is left out; nothing is held between.
    """
    at = first
    while at < last and (changes := store.read(at, min(PAGE_LIMIT, last - at))):
        for change in changes:
            at = change.seq
            if at > last:
                return
            earlier = store.change_at(change.key, at - 1)
            if earlier is not None and earlier.seq > first:
                yield None
                continue
            before, after = listing_at(store, change.key, first), listing_at(store, change.key, last)
            yield Moved(change.key, before, after) if _says(before) != _says(after) else None


def _says(change: Change | None) -> tuple[object, ...] | None:
    if change is None:
        return None
    return change.code, change.text, change.expiry_ms, change.flags, change.mode


def with_history(store: Store, keys: Iterable[bytes]) -> list[bytes]:
    """Give those of the keys that the journal knows. Where rows are few it takes few steps, however many the keys."""
    wanted = sorted(bytes((len(key),)) + key for key in keys)

    def look() -> list[bytes]:
        cursor, found, at = store.env.db("history").cursor(), list[bytes](), 0
        try:
            while at < len(wanted) and (row := cursor.set_range(wanted[at])) is not None:
                nearest = row[0][:-8]
                after = bisect_right(wanted, nearest, at)
                if after > at and wanted[after - 1] == nearest:
                    found.append(nearest[1:])
                at = max(after, at + 1)
            return found
        finally:
            cursor.close()

    return store.env.read(look)
