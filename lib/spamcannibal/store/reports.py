"""List what mail servers reported: never over somebody else's word, and one that is forbidden does not stop the rest.

A listing belongs to the source of its newest change. Reports change those of other reports; black also turns hearsay
into a proven listing. What the administrator, the robot or an import put there stays as it is. What needs a peer's word
changes only what a peer's word made, or excuses it. The look and the change are one transaction.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from spamcannibal import layout, record
from spamcannibal.errors import NeverListed
from spamcannibal.store.batch import Batch, NewListing
from spamcannibal.store.stores import Store

SOURCE = "gather:"  # decided by our own reporters
PEER = "peer:"  # decided with the word of another site: not first-hand, and told to nobody
BREATH_ITEMS = 8


class Done(Enum):
    """What became of a report's listing."""

    LISTED = "listed"  # or listed so already
    KEPT = "kept"  # another source's listing stays
    FORBIDDEN = "forbidden"  # by the never-list


def list_reported(
    store: Store, items: Sequence[NewListing], now: float, breathe: Callable[[], None] | None = None
) -> list[Done]:
    """List up to 1,000 items durably in one transaction; give what became of each.

    `breathe` is called after every BREATH_ITEMS of them, for who shares the interpreter with threads in a hurry.
    """
    allowed = [_is_allowed(store, item.key) for item in items]

    def write(batch: Batch) -> list[Done]:
        done = []
        for item, ok in zip(items, allowed, strict=True):
            done.append(_list(store, batch, item) if ok else Done.FORBIDDEN)
            if breathe is not None and len(done) % BREATH_ITEMS == 0:
                breathe()
        return done

    return store.transact(now, write)


def _list(store: Store, batch: Batch, item: NewListing) -> Done:
    raw = batch.raw_of(item.key)
    if raw is not None and not _may_change(store, batch, item, raw):
        return Done.KEPT
    batch.list_over(item, raw)
    return Done.LISTED


def _may_change(store: Store, batch: Batch, item: NewListing, raw: bytes) -> bool:
    """Tell whether an item may be listed over what stands there, as tarpit holds it."""
    listing = layout.unpack_listing(raw)
    is_refused = not item.flags & (record.EXCLUDED | record.SHADOW)
    if is_refused and listing.flags & record.SHADOW:
        return True
    seq = listing.seq
    change = store.env.db("journal").get(layout.pack_seq(seq), txn=batch.txn)
    source = layout.unpack_change(seq, change).source if change is not None else ""
    if source.startswith(PEER):
        return True
    if item.source.startswith(PEER):
        return source.startswith(SOURCE) and bool(item.flags & record.EXCLUDED)
    if source.startswith(SOURCE):
        return True
    return is_refused and bool(store.env.db("blcontrib").exists(item.key, txn=batch.txn))


def _is_allowed(store: Store, key: bytes) -> bool:
    try:
        store.guard.check(key)
    except NeverListed:
        return False
    return True
