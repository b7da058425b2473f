"""Listings and changes that have all that is asked for, found a bounded way at a time, with a cursor to go on from.

A search looks at up to `budget` rows and gives what it found, how many it looked at, and after which row to go on: None
at the end. The journal is read only for listings that pass all tests of the listing itself.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from spamcannibal import layout
from spamcannibal.addr import covers, split_key
from spamcannibal.errors import StoreError
from spamcannibal.record import Action, Change, Listing
from spamcannibal.store.recent import page_back
from spamcannibal.store.stores import Store

PAGE_LIMIT = 1000

_PAST = b"\xff" * 17  # behind an address: later than any key that begins with it


class Wanted(msgspec.Struct, frozen=True):
    """What a listing must have; None, "" and 0 ask for nothing. `source` takes *; times in milliseconds."""

    within: bytes | None = None
    text: str = ""
    source: str = ""
    code: bytes | None = None
    flag: int = 0
    since_ms: int | None = None
    until_ms: int | None = None


class Found(NamedTuple):
    key: bytes
    listing: Listing
    change: Change | None


class Part(NamedTuple):
    """What a search found so far; `after` is where to go on, None at the end."""

    rows: list[Found]
    looked: int
    after: bytes | None


class WantedChange(msgspec.Struct, frozen=True):
    """What a change must have, see Wanted."""

    within: bytes | None = None
    text: str = ""
    source: str = ""
    action: Action | None = None
    since_ms: int = 0


class Changes(NamedTuple):
    """Changes, newest first; `before` is the number below which to go on, 0 at the end."""

    rows: list[Change]
    looked: int
    before: int


def search(store: Store, wanted: Wanted, after: bytes | None, limit: int, budget: int) -> Part:
    """Find up to `limit` listings past `after` (None: from the first) in key order, looking at up to `budget`."""
    first, end = span(wanted.within)
    at = first if after is None or (first is not None and after < first) else after
    tests = _tests(wanted)
    rows: list[Found] = []
    looked = 0
    while looked < budget and (page := store.page("tarpit", at, min(PAGE_LIMIT, budget - looked))):
        last = next((number for number, (key, _) in enumerate(page) if end is not None and key > end), len(page))
        fitting = [row for row in page[:last] if all(test(*row) for test in tests)]
        for found in _with_changes(store, wanted, fitting):
            rows.append(found)
            if len(rows) == limit:
                looked += bisect_right(page, found.key, key=lambda row: row[0])
                return Part(rows, looked, found.key)
        if last < len(page):
            return Part(rows, looked + last, None)
        at, looked = page[-1][0], looked + len(page)
    return Part(rows, looked, at if looked >= budget else None)


def search_changes(store: Store, wanted: WantedChange, before: int, limit: int, budget: int) -> Changes:
    """Find up to `limit` changes below number `before` (0: from the last), newest first, looking at up to `budget`."""
    at = (before or store.last_seq() + 1) - 1
    rows: list[Change] = []
    looked = 0
    while at > 0 and looked < budget and (page := page_back(store, at, min(PAGE_LIMIT, budget - looked))):
        for change in page:
            if change.time_ms < wanted.since_ms:
                return Changes(rows, looked, 0)
            at, looked = change.seq - 1, looked + 1
            if _is_wanted(change, wanted):
                rows.append(change)
                if len(rows) == limit:
                    return Changes(rows, looked, at + 1 if at else 0)
    return Changes(rows, looked, at + 1 if looked >= budget and at else 0)


def span(within: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return two texts between which, in the store's order, all keys inside a prefix lie; None: no end."""
    if within is None:
        return None, None
    addr, plen = split_key(within)
    last = int.from_bytes(addr, "big") | (1 << (len(addr) * 8 - plen)) - 1
    before = addr[:-1] if not addr[-1] else addr[:-1] + bytes((addr[-1] - 1,)) + _PAST
    return before, last.to_bytes(len(addr), "big") + _PAST


def time_of(store: Store, moment_ms: int) -> int:
    """Return a moment (see moments.py) as a time, that of its change if it is a journal number."""
    if moment_ms >= 0:
        return moment_ms
    change = store.change(-moment_ms)
    if change is None:
        raise StoreError(f"the journal has no change number {-moment_ms}, its last is {store.last_seq()}")
    return change.time_ms


def _with_changes(store: Store, wanted: Wanted, rows: Sequence[tuple[bytes, Listing]]) -> Iterator[Found]:
    """Yield those of the listings whose newest change says what is wanted, with it; they are read in one look."""
    numbers = [layout.pack_seq(listing.seq) for _, listing in rows]

    def look() -> list[bytes | None]:
        journal = store.env.db("journal")
        return [journal.get(number) for number in numbers]

    for (key, listing), data in zip(rows, store.env.read(look) if rows else (), strict=True):
        change = layout.unpack_change(listing.seq, data) if data is not None else None
        if not (wanted.text or wanted.source) or (change and _says(change, wanted.text, wanted.source)):
            yield Found(key, listing, change)


def _tests(wanted: Wanted) -> list[Callable[[bytes, Listing], bool]]:
    """Return the tests that need no journal."""
    within, since_ms, until_ms = wanted.within, wanted.since_ms, wanted.until_ms
    tests: list[Callable[[bytes, Listing], bool]] = []
    if within is not None:
        tests.append(lambda key, _: covers(within, key))
    if wanted.code is not None:
        tests.append(lambda _, listing: listing.code == wanted.code)
    if wanted.flag:
        tests.append(lambda _, listing: bool(listing.flags & wanted.flag))
    if since_ms is not None:
        tests.append(lambda _, listing: listing.listed_ms >= since_ms)
    if until_ms is not None:
        tests.append(lambda _, listing: listing.listed_ms <= until_ms)
    return tests


def _is_wanted(change: Change, wanted: WantedChange) -> bool:
    if wanted.within is not None and not covers(wanted.within, change.key):
        return False
    return wanted.action in (None, change.action) and _says(change, wanted.text, wanted.source)


def _says(change: Change, text: str, source: str) -> bool:
    return text.lower() in change.text.lower() and (not source or fnmatchcase(change.source, source))
