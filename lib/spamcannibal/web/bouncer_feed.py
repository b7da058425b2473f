"""Bans from the store: all of them, those about one address or range, and what changed since a bouncer asked last.

All are generators over pages: a million of them never stand in memory. Changes are worked out by key; where a network
or an exception changed, all that lies in the widest network around it is compared, as it was and as it is, since an
exception is told only by the ranges around it.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from spamcannibal import layout
from spamcannibal.addr import around, covers, make_key, mask, split_key
from spamcannibal.dnsbl.export.entry import Entry, Row, of_key, ordered
from spamcannibal.dnsbl.export.entry import refused as refused_by
from spamcannibal.dnsbl.export.tree import carved
from spamcannibal.errors import Unavailable
from spamcannibal.record import Change, Listing
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.env import Env
from spamcannibal.store.past import Past
from spamcannibal.store.prune import floor
from spamcannibal.store.search import span
from spamcannibal.store.stores import Store
from spamcannibal.store.timeline import listing_at
from spamcannibal.web.bouncer_decisions import LEASE_S, Ban, ban_of, differences

PAGE_LIMIT = 2000
CHANGES_LIMIT = 10_000  # a pull; what is left comes with the next
LIMIT = 1000
EXPIRE_TURNS = 5
_HOSTS = (4, 16)
_SIZES = {4: (4, 5), 16: (16, 17)}

refused = lru_cache(4096)(refused_by)  # there are few table values, and listings by the million


class Pulled(msgspec.Struct, frozen=True):
    """What a bouncer has: all up to change `seq`; when it asked, when it was told all, and what it calls itself."""

    seq: int
    time_ms: int = 0
    whole_ms: int = 0
    agent: str = ""


class Delta(NamedTuple):
    seq: int
    new: list[Ban]
    deleted: list[Ban]


def drawer(env: Env) -> Drawer[Pulled]:
    """Return what is kept of bouncers, by the names of their tokens."""
    return Drawer(env, "bouncer", Pulled, LIMIT)


def unheard_ms(store: Store, now: float) -> int | None:
    """Return the time of the first change that some bouncer has not heard; None if all have.

    Who was away for longer than bans last does not count: he holds none of them any more.
    """
    away_ms = int((now - LEASE_S) * 1000)
    heard = [pulled.seq for _, pulled in drawer(store.env).page("", LIMIT, now) if pulled.time_ms > away_ms]
    changes = store.read(min(heard), 1) if heard else ()
    return changes[0].time_ms if changes else None


def expire(store: Store, now: float) -> None:
    """Take off what is over: no tarpit may run that would."""
    for _ in range(EXPIRE_TURNS):
        if not store.expire(now):
            return


def everything(store: Store) -> Iterator[Ban]:
    """Yield all bans: hosts, then networks without what exceptions take out of them."""
    for key, data in _rows(store, None):
        if len(key) in _HOSTS and refused(layout.listing_state(data)):
            yield ban_of(_entry(key, data))
    for size in (4, 16):
        for entry in _carved(_shaping(store, size)):
            listing = store.get_key(entry.key) if entry.is_host else None
            if listing is None or not refused(listing.state):  # else it was told above
                yield ban_of(entry)


def about(store: Store, key: bytes) -> Iterator[Ban]:
    """Yield the ban that decides about an address or range, if there is one."""
    lengths = {size: set(store.lengths(size)) for size in (4, 16)}
    keys = [each for each in around(key) if split_key(each)[1] in lengths[len(split_key(each)[0])]]
    for each, listing in zip(keys, store.records("tarpit", keys), strict=True):
        code = None if listing is None else refused(listing.state)
        if code is not None:
            if code:
                yield ban_of(of_key(each, code, listing=listing))
            return


def inside(store: Store, key: bytes) -> Iterator[Ban]:
    """Yield the bans that lie in a range."""
    for each, data in _rows(store, key):
        if refused(layout.listing_state(data)):
            yield ban_of(_entry(each, data))


def since(store: Store, seq: int) -> Delta | None:
    """Return what changed past change `seq`; None if that can't be told any more."""
    if seq < floor(store) or seq > store.last_seq():
        return None
    changes = store.read(seq, CHANGES_LIMIT)
    if not changes:
        return Delta(seq, [], [])
    last = changes[-1].seq
    if last - seq != len(changes):
        return None
    before, after = _Side(store, seq), _Side(store, last)
    keys = list(dict.fromkeys(change.key for change in changes))
    try:
        lengths = {size: before.past.lengths(size) for size in (4, 16)}
        regions = _apart(_regions(keys, lengths, (before, after)))
        hosts = [key for key in keys if len(key) in _HOSTS]
        return Delta(last, *differences(before.bans(hosts, regions), after.bans(hosts, regions)))
    except Unavailable:
        return None


class _Side:
    """The list as it was after one change."""

    def __init__(self, store: Store, seq: int) -> None:
        self.past = Past(store, seq)
        self._store = store
        self._seq = seq

    def is_shaping(self, key: bytes) -> bool:
        """Tell whether a key is a network or an exception."""
        change = self.change(key)
        return change is not None and (len(key) not in _HOSTS or refused(change.state) == b"")

    def change(self, key: bytes) -> Change | None:
        return listing_at(self._store, key, self._seq)

    def bans(self, hosts: Iterable[bytes], regions: Iterable[bytes]) -> dict[str, Ban]:
        """Return the bans of hosts, and of networks in regions, by value; what is left of a network may be one host."""
        found: dict[str, Ban] = {}
        for region in regions:
            for entry in _carved(self._entries(region)):
                ban = (self._host(entry.key) if entry.is_host else None) or ban_of(entry)
                found[ban.value] = ban
        bans = (ban for ban in map(self._host, hosts) if ban is not None)
        return found | {ban.value: ban for ban in bans}

    def _host(self, key: bytes) -> Ban | None:
        """Return a host's own ban."""
        change = self.change(key)
        code = None if change is None else refused(change.state)
        return ban_of(of_key(key, code, listing=_listing(change))) if change is not None and code else None

    def _entries(self, region: bytes) -> Iterator[Entry]:
        """Yield the networks and exceptions of a region in order."""
        addr, _ = split_key(region)
        pages = self.past.pages(_SIZES[len(addr)], addr, _end(region))
        rows = (row for page in pages for row in page if covers(region, row.key))
        shaping = (row for row in rows if len(row.key) not in _HOSTS or refused(row.value) == b"")
        for key, seq in ordered((row.key, layout.pack_seq(row.seq)) for row in shaping):
            change = self._store.change(layout.unpack_seq(seq))
            code = None if change is None else refused(change.state)
            if change is not None and code is not None:
                yield of_key(key, code, listing=_listing(change))


def _carved(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in carved(entries) if entry.is_listed)


def _shaping(store: Store, size: int) -> Iterator[Entry]:
    """Yield the networks and exceptions of a family in order."""
    rows = (row for row in _rows(store, None) if len(row[0]) in _SIZES[size])
    for key, data in ordered(row for row in rows if len(row[0]) not in _HOSTS or _is_exception(row)):
        if refused(layout.listing_state(data)) is not None:
            yield _entry(key, data)


def _is_exception(row: Row) -> bool:
    return refused(layout.listing_state(row[1])) == b""


def _rows(store: Store, within: bytes | None) -> Iterator[Row]:
    """Yield raw listings, all or those in a range, page by page."""
    after, end = span(within)
    while page := store.raw_page("tarpit", after, PAGE_LIMIT):
        for row in page:
            if end is not None and row[0] > end:
                return
            if within is None or covers(within, row[0]):
                yield row
        after = page[-1][0]


def _entry(key: bytes, data: bytes) -> Entry:
    return of_key(key, refused(layout.listing_state(data)) or b"", listing=layout.unpack_listing(data))


def _listing(change: Change) -> Listing:
    """Return a change's listing, as far as a ban needs it."""
    return Listing(change.code, change.mode, change.flags, 0, 0, change.expiry_ms, change.seq)


def _end(region: bytes) -> bytes | None:
    """Return the address after a region's last, None past the last of all."""
    addr, plen = split_key(region)
    end = int.from_bytes(addr, "big") + (1 << (len(addr) * 8 - plen))
    return end.to_bytes(len(addr), "big") if end < 1 << (len(addr) * 8) else None


def _regions(keys: Iterable[bytes], lengths: Mapping[int, list[int]], sides: tuple[_Side, _Side]) -> Iterator[bytes]:
    """Yield the widest network around each key that was or is listed; a key alone only if it shapes a network."""
    for key in keys:
        addr, plen = split_key(key)
        wider = (make_key(mask(addr, length), length) for length in lengths[len(addr)] if length < plen)
        found = next((net for net in wider if any(side.change(net) for side in sides)), None)
        if found is not None or any(side.is_shaping(key) for side in sides):
            yield key if found is None else found


def _apart(regions: Iterable[bytes]) -> list[bytes]:
    """Return regions of which none lies in another one."""
    kept: list[bytes] = []
    for region in sorted(set(regions), key=lambda key: (len(split_key(key)[0]), split_key(key))):
        if not kept or not covers(kept[-1], region):
            kept.append(region)
    return kept
