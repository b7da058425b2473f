"""What the jobs read and write: archived addresses examined, hearsay asked about again, and how often each zone hit.

`checked` remembers who was examined without being listed, by the key that would be listed (of IPv6 the network), so
that a sender who comes back every minute is not asked about every minute. Of who passed at most NOTES_LIMIT notes are
kept: forged senders could be any number. What became of a number of addresses is one
transaction: their listings, their leaving the archive, what `checked` says of them, the counts. So a process killed at
any moment has either done all of it or nothing, and the next one finds the rest in the archive.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from spamcannibal import layout, record
from spamcannibal.addr import make_key, mask
from spamcannibal.record import Checked, Contrib, Hits, Listing
from spamcannibal.store.batch import Batch, NewListing
from spamcannibal.store.contacts import prefix_lengths, read_tally
from spamcannibal.store.stores import Store, scan

HITS_KEY, NOTES_KEY = b"hits", b"checked"
NOTES_LIMIT = 5_000_000  # some 60 bytes each
ZONES_LIMIT = 1000  # zones whose hits are kept, the most frequent ones


class Known(msgspec.Struct, frozen=True):
    """What is known of an archived address."""

    is_listed: bool
    checked: Checked | None


class Settlement(msgspec.Struct):
    """What became of some addresses: at most 1,000 of each kind."""

    listings: list[NewListing] = []
    done: list[bytes] = []
    checked: dict[bytes, Checked] = {}
    passed: int = 0
    never: int = 0
    given_up: int = 0


class Entry(msgspec.Struct, frozen=True):
    """A listing that stands on hearsay."""

    key: bytes
    contrib: Contrib
    listing: Listing


class Refresh(msgspec.Struct, frozen=True):
    """A listing to say anew, if `seq` is still its newest change."""

    seq: int
    item: NewListing


class Removal(msgspec.Struct, frozen=True):
    """A listing to end, if `seq` is still its newest change."""

    seq: int
    key: bytes
    reason: str


def known(store: Store, addrs: Sequence[bytes], keys: Sequence[bytes]) -> list[Known]:
    """Give what is known of addresses, each with the key that it would be listed under."""
    env = store.env

    def look() -> list[Known]:
        tarpit, checked, tally = env.db("tarpit"), env.db("checked"), read_tally(env)
        nets = {size: prefix_lengths(tally, size) for size in (4, 16)}

        def is_listed(addr: bytes) -> bool:
            around = (make_key(mask(addr, plen), plen) for plen in nets[len(addr)])
            found = (tarpit.get(key) for key in (addr, *around))
            return any(raw is not None and not layout.is_shadow(raw) for raw in found)

        notes = (checked.get(key) for key in keys)
        return [
            Known(is_listed(addr), layout.unpack_checked(raw) if raw else None)
            for addr, raw in zip(addrs, notes, strict=True)
        ]

    return env.read(look)


def settle(store: Store, done: Settlement, now: float) -> None:
    """Write what became of addresses in one transaction; NeverListed if any of the listings must not be."""
    for item in done.listings:
        record.table_value(item.code, item.mode, item.flags)
        store.guard.check(item.key)

    def write(batch: Batch) -> None:
        new = [item for item in done.listings if not batch.is_settled(item.key)]
        for item in new:
            batch.list(item)
        for addr in done.done:
            batch.examined(addr)
        remember(store, batch, done.checked)
        count(store, batch, done, new, now)

    store.transact(now, write, durable=bool(done.listings))


def remember(store: Store, batch: Batch, notes: Mapping[bytes, Checked]) -> None:
    """Write notes of who was examined: new ones of who passed only while there is room for them."""
    env, before = store.env, notes_inside(store)
    count = before
    for key, checked in notes.items():
        if not env.db("checked").exists(key, txn=batch.txn):
            if count >= NOTES_LIMIT and not checked.unknown:
                continue
            count += 1
        batch.put("checked", key, layout.pack_checked(checked))
    if count != before:
        batch.put("meta", NOTES_KEY, layout.pack_seq(count))


def notes_inside(store: Store) -> int:
    """Give the number of notes; inside run or read."""
    raw = store.env.db("meta").get(NOTES_KEY)
    return layout.unpack_seq(raw) if raw else 0


def count(store: Store, batch: Batch, done: Settlement, new: Sequence[NewListing], now: float) -> None:
    """Add to the counts; a new listing is a hit of every zone that caused it."""
    zones = [cause.zone for item in new if item.contrib for cause in item.contrib.causes]
    if not (zones or done.passed or done.never or done.given_up):
        return
    counts = hits_inside(store) or Hits(int(now * 1000))
    counts.passed += done.passed
    counts.never += done.never
    counts.given_up += done.given_up
    for zone in zones:
        counts.zones[zone] = counts.zones.get(zone, 0) + 1
    most = sorted(counts.zones.items(), key=lambda pair: (-pair[1], pair[0]))[:ZONES_LIMIT]
    batch.put("meta", HITS_KEY, layout.pack_hits(msgspec.structs.replace(counts, zones=dict(most))))


def hits(store: Store) -> Hits | None:
    """Give the counts, the most frequent zone first; None if nothing was counted yet."""
    return store.env.read(lambda: hits_inside(store))


def hits_inside(store: Store) -> Hits | None:
    """Give the counts; inside run or read."""
    raw = store.env.db("meta").get(HITS_KEY)
    return layout.unpack_hits(raw) if raw else None


def hearsay(store: Store, after: bytes | None, limit: int) -> list[Entry]:
    """Give up to `limit` listings that stand on hearsay, in key order, past `after`."""
    env = store.env

    def look(start: bytes) -> tuple[bytes | None, list[Entry]]:
        tarpit = env.db("tarpit")
        rows = [(key, raw, tarpit.get(key)) for key, raw in scan(env.db("blcontrib"), start, limit)]
        whole = ((key, raw, listing) for key, raw, listing in rows if listing is not None)
        found = [Entry(key, layout.unpack_contrib(raw), layout.unpack_listing(listing)) for key, raw, listing in whole]
        return (rows[-1][0] + b"\0" if rows else None), found

    # Rows that belong to nothing, which only a broken disk makes, must not look like the end.
    at: bytes | None = b"" if after is None else after + b"\0"
    found: list[Entry] = []
    while at is not None and not found:
        at, found = env.read(partial(look, at))
    return found


def recheck(
    store: Store, refreshed: Sequence[Refresh], removed: Sequence[Removal], source: str, now: float
) -> Mapping[bytes, bool]:
    """Refresh and end listings in one transaction; tell of each key whether it was done.

    What somebody else changed since it was read is left as it is.
    """
    for refresh in refreshed:
        store.guard.check(refresh.item.key)

    def write(batch: Batch) -> dict[bytes, bool]:
        done = {}
        for refresh in refreshed:
            done[refresh.item.key] = batch.seq_of(refresh.item.key) == refresh.seq
            if done[refresh.item.key]:
                batch.list(refresh.item)
        for removal in removed:
            done[removal.key] = batch.seq_of(removal.key) == removal.seq
            if done[removal.key]:
                batch.unlist(removal.key, source, removal.reason)
        return done

    return store.transact(now, write)
