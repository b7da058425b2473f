"""What changed lately, from the end of the journal: what the breakers count (breaker.py), and who lists how much."""

from collections.abc import Iterator
from functools import partial

from spamcannibal import layout
from spamcannibal.breaker import is_counted
from spamcannibal.record import Action, Change
from spamcannibal.store.stores import Store

PAGE_LIMIT = 1000


def listed_since(store: Store, since_ms: int, limit: int) -> list[Change]:
    """Give what programs listed since a time, oldest first; of more than `limit` changes only the last are read."""
    recent = (change for change in changes_since(store, since_ms, limit) if change.action is Action.LIST)
    return [change for change in recent if is_counted(change.source)][::-1]


def changes_since(store: Store, since_ms: int, limit: int) -> Iterator[Change]:
    """Yield what changed since a time, newest first; of more than `limit` changes only the last are read."""
    at = store.last_seq()
    end = max(0, at - limit)
    while at > end:
        page = page_back(store, at, min(PAGE_LIMIT, at - end))
        recent = [change for change in page if change.time_ms >= since_ms]
        yield from recent
        if len(recent) < len(page) or not page:
            return
        at = page[-1].seq - 1


def page_back(store: Store, seq: int, limit: int) -> list[Change]:
    """Give up to `limit` changes up to `seq`, newest first."""
    return store.env.read(partial(_page, store, seq, limit))


def _page(store: Store, seq: int, limit: int) -> list[Change]:
    cursor = store.env.db("journal").cursor()
    try:
        row = cursor.set_range(layout.pack_seq(seq)) or cursor.last()
        if row is not None and layout.unpack_seq(row[0]) > seq:
            row = cursor.prev()
        changes: list[Change] = []
        while row is not None and len(changes) < limit:
            changes.append(layout.unpack_change(layout.unpack_seq(row[0]), row[1]))
            row = cursor.prev()
        return changes
    finally:
        cursor.close()
