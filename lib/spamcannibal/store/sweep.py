"""Take away what nothing needs any more: old contacts, old notes of who was examined, and rows that belong to nothing.

A page of rows is looked at without a transaction; what seems to be over is looked at once more inside one, since
others write meanwhile. A dry run only looks. Orphans do not arise, as a listing is one transaction; should a disk or a
hand have made some, they go:

    evidence, blcontrib    without a listing
    blcontrib              beside evidence, which stands above it
    expiry                 without a listing that ends then
    tarpit                 without a reason; this is an unlisting, with a journal record
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from spamcannibal import layout
from spamcannibal.store.batch import Batch
from spamcannibal.store.examine import NOTES_KEY, notes_inside
from spamcannibal.store.stores import Store, scan

PAGE_LIMIT = 1000
NO_REASON = "no reason for it is kept"

IsOver = Callable[[bytes, bytes], bool]
Stop = Callable[[], bool]


class Orphan(NamedTuple):
    """A row that belongs to nothing."""

    store: str
    key: bytes


def expired(store: Store, now: float, stop: Stop) -> Iterator[list[bytes]]:
    """Yield the keys of listings whose time is over, page by page, for whoever takes them off the list."""
    end = layout.pack_seq(int(now * 1000) + 1)

    def look(start: bytes) -> list[bytes]:
        return [key for key, _ in scan(store.env.db("expiry"), start, PAGE_LIMIT) if key < end]

    start = b""
    while not stop():
        rows = store.env.read(partial(look, start))
        if not rows:
            return
        start = rows[-1] + b"\0"
        yield [row[8:] for row in rows]


def old_contacts(store: Store, before_ms: int, dry_run: bool, stop: Stop) -> int:
    """Take away who last knocked before a time and was never examined; give how many."""
    return sum(_sweep(store, "archive", lambda _, data: layout.unpack_contact(data).last_ms < before_ms, dry_run, stop))


def old_checked(store: Store, before_ms: int, after_ms: int, dry_run: bool, stop: Stop) -> int:
    """Take away the notes of examinations before a time, and after one, when the clock was wrong; give how many."""

    def is_over(_: bytes, data: bytes) -> bool:
        return not before_ms <= layout.unpack_checked(data).checked_ms <= after_ms

    return sum(_sweep(store, "checked", is_over, dry_run, stop))


def orphans(store: Store, source: str, now: float, dry_run: bool, stop: Stop) -> Iterator[list[Orphan]]:
    """Take away orphans, a page at a time; yield those of each page that has any."""
    for name, is_over in _orphan_rules(store).items():
        for page in _pages(store, name, is_over, stop):
            if not dry_run:
                store.transact(now, partial(_end, store, name, is_over, source, page))
            yield [Orphan(name, key) for key in page]


def _orphan_rules(store: Store) -> dict[str, IsOver]:
    def exists(name: str, key: bytes) -> bool:
        return bool(store.env.db(name).exists(key))

    def has_no_listing(key: bytes, _: bytes) -> bool:
        return not exists("tarpit", key)

    def ends_nothing(key: bytes, _: bytes) -> bool:
        raw = store.env.db("tarpit").get(key[8:])
        return raw is None or layout.unpack_listing(raw).expiry_ms != layout.unpack_seq(key[:8])

    return {
        "evidence": has_no_listing,
        "blcontrib": lambda key, _: not exists("tarpit", key) or exists("evidence", key),
        "expiry": ends_nothing,
        "tarpit": lambda key, _: not exists("evidence", key) and not exists("blcontrib", key),
    }


def _end(store: Store, name: str, is_over: IsOver, source: str, page: list[bytes], batch: Batch) -> None:
    for key in _still(store, name, is_over, page):
        if name == "tarpit":
            batch.unlist(key, source, NO_REASON)
        else:
            batch.drop(name, key)


def _sweep(store: Store, name: str, is_over: IsOver, dry_run: bool, stop: Stop) -> Iterator[int]:
    """Delete what is over in one database; yield how many, page by page."""

    def delete(page: list[bytes], batch: Batch) -> int:
        keys = _still(store, name, is_over, page)
        for key in keys:
            batch.drop(name, key)
        if name == "checked":
            batch.put("meta", NOTES_KEY, layout.pack_seq(max(0, notes_inside(store) - len(keys))))
        return len(keys)

    for page in _pages(store, name, is_over, stop):
        yield len(page) if dry_run else store.transact(0, partial(delete, page), durable=False)


def _pages(store: Store, name: str, is_over: IsOver, stop: Stop) -> Iterator[list[bytes]]:
    """Yield the keys of each page that are over, where there are any."""

    def look(start: bytes) -> tuple[bytes | None, list[bytes]]:
        rows = scan(store.env.db(name), start, PAGE_LIMIT)
        return (rows[-1][0] + b"\0" if rows else None), [key for key, data in rows if is_over(key, data)]

    start: bytes | None = b""
    while start is not None and not stop():
        start, keys = store.env.read(partial(look, start))
        if keys:
            yield keys


def _still(store: Store, name: str, is_over: IsOver, keys: list[bytes]) -> list[bytes]:
    """Give those that are still there and still over; inside run."""
    rows = ((key, store.env.db(name).get(key)) for key in keys)
    return [key for key, data in rows if data is not None and is_over(key, data)]
