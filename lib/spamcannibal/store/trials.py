"""Listings on trial (SHADOW): how often each would have refused, and what mail logs and other listings say of it.

`sighted` runs inside the daemon's once-a-second transaction (contacts.py). `feed` puts what one reading of all logs
says in the place of what the last one said: feeding the same logs twice counts them once. What speaks against a trial
outlasts its logs, though: mail that was accepted once is remembered while later feeds say nothing of it. A trial's row
goes when it is unlisted; it stays when it is promoted, since that may be undone.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from spamcannibal import layout
from spamcannibal.addr import make_key, mask, split_key
from spamcannibal.colours import COLOURS, Colour
from spamcannibal.record import SHADOW, Action, Listing
from spamcannibal.store.batch import Batch
from spamcannibal.store.contacts import prefix_lengths, read_tally
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Store, scan
from spamcannibal.store.trial_rows import (
    CONFIRMED,
    FEED,
    NAME,
    TRIAL,
    Feed,
    Trial,
    pack_feed,
    pack_trial,
    unpack_count,
    unpack_feed,
    unpack_trial,
)

PAGE_LIMIT = 1000
INSIDE_LIMIT = 1000  # listings inside a network that are looked at


class Tried(NamedTuple):
    """A listing on trial that was seen at work: `trial` is as of the newest feed."""

    key: bytes
    listing: Listing
    source: str
    trial: Trial
    is_listed: bool  # by another source, over it or inside it


def feed(store: Store, fed: Feed, mails: Mapping[bytes, tuple[int, int]]) -> None:
    """Note what logs say: mails accepted and rejected by key; in place of what was fed before."""
    keys = sorted(mails)
    for at in range(0, len(keys), PAGE_LIMIT):
        part = {key: mails[key] for key in keys[at : at + PAGE_LIMIT]}
        store.transact(fed.fed_ms / 1000, partial(_feed, store, fed, part))
    store.transact(fed.fed_ms / 1000, lambda batch: batch.put(NAME, FEED, pack_feed(fed)))


def last_feed(store: Store) -> Feed | None:
    """Give what was fed last, None if nothing was."""
    data = store.env.read(lambda: _get(store.env, FEED))
    return unpack_feed(data) if data else None


def trial(store: Store, key: bytes) -> Trial:
    """Give what is known of a listing on trial."""
    data, fed = store.env.read(lambda: (_get(store.env, TRIAL + key), _get(store.env, FEED)))
    return _current(unpack_trial(data) if data else Trial(), unpack_feed(fed) if fed else None)


def tried(store: Store) -> Iterator[Tried]:
    """Yield the listings on trial that were seen at work, in key order."""
    fed, after = last_feed(store), TRIAL
    while rows := store.env.read(partial(_rows, store.env, after)):
        after = rows[-1][0] + b"\0"
        for row, data in rows:
            key = row[1:]
            listing = store.get_key(key)
            if listing is None or not is_on_trial(listing):
                continue
            source = source_of(store, key, listing)
            found = _current(unpack_trial(data), fed)
            yield Tried(key, listing, source, found, _is_listed(store, key, source))


def on_trial(store: Store) -> Iterator[tuple[bytes, Listing]]:
    """Yield all listings on trial, in key order: a look at the whole list."""
    after: bytes | None = None
    while rows := store.raw_page("tarpit", after, PAGE_LIMIT):
        after = rows[-1][0]
        for key, data in rows:
            if layout.is_shadow(data) and is_on_trial(layout.unpack_listing(data)):
                yield key, layout.unpack_listing(data)


def is_on_trial(listing: Listing) -> bool:
    """Tell whether a listing is one that may be promoted: a colour that gather gives by itself is none."""
    return bool(listing.flags & SHADOW) and Colour(listing.code, listing.flags) != COLOURS["brown"]


def confirmed(store: Store) -> dict[str, int]:
    """Give by source how many of its listings on trial another source listed for good."""
    rows = store.env.read(lambda: scan(store.env.db(NAME), CONFIRMED, PAGE_LIMIT) if _is_there(store.env) else [])
    return {row[1:].decode("utf-8", "replace"): unpack_count(data) for row, data in rows if row[:1] == CONFIRMED}


def source_of(store: Store, key: bytes, listing: Listing) -> str:
    """Give who put a listing on trial: who listed it, whoever amended it since."""
    change = store.change(listing.seq)
    while change is not None and change.action is not Action.LIST:
        change = store.change_at(key, change.seq - 1)
    return change.source if change else ""


def count_seen(store: Store) -> int:
    """Give how many listings were seen at work while they were on trial."""

    def count() -> int:
        if not _is_there(store.env):
            return 0
        others = len(scan(store.env.db(NAME), FEED, PAGE_LIMIT))
        return int(store.env.db(NAME).stat()["nkeys"]) - others

    return store.env.read(count)


def _feed(store: Store, fed: Feed, mails: Mapping[bytes, tuple[int, int]], batch: Batch) -> None:
    for key, (accepted, rejected) in mails.items():
        if not batch.is_listed(key):
            continue
        data = store.env.db(NAME).get(TRIAL + key, txn=batch.txn)
        old = unpack_trial(data) if data else Trial()
        new = msgspec.structs.replace(old, fed_ms=fed.fed_ms, accepted=accepted or old.accepted, rejected=rejected)
        batch.put(NAME, TRIAL + key, pack_trial(new))


def _current(found: Trial, fed: Feed | None) -> Trial:
    if fed is not None and found.fed_ms == fed.fed_ms:
        return found
    return msgspec.structs.replace(found, rejected=0)


def _is_listed(store: Store, key: bytes, source: str) -> bool:
    """Tell whether another source lists, for good, what lies over or inside a key."""
    return any(_source(store, seq) != source for seq in store.env.read(partial(_beside, store.env, key)))


def _beside(env: Env, key: bytes) -> list[int]:
    """Give the numbers of the listings over and inside a key that refuse."""
    addr, plen = split_key(key)
    tarpit = env.db("tarpit")
    keys = [make_key(mask(addr, length), length) for length in prefix_lengths(read_tally(env), len(addr))]
    raws = [tarpit.get(over) for over in keys if over != key and (over[-1] <= plen)]
    if plen < len(addr) * 8:
        last = (int.from_bytes(addr, "big") | (1 << (len(addr) * 8 - plen)) - 1).to_bytes(len(addr), "big")
        inside = scan(tarpit, addr, INSIDE_LIMIT)
        size = len(addr)
        raws += [raw for each, raw in inside if len(each) in (size, size + 1) and each != key and each[:size] <= last]
    return [layout.unpack_listing(raw).seq for raw in raws if raw is not None and layout.is_refusing(raw)]


def _source(store: Store, seq: int) -> str:
    change = store.change(seq)
    return change.source if change else ""


def _rows(env: Env, start: bytes) -> list[tuple[bytes, bytes]]:
    rows = scan(env.db(NAME), start, PAGE_LIMIT) if _is_there(env) else []
    return [row for row in rows if row[0][:1] == TRIAL]


def _get(env: Env, row: bytes) -> bytes | None:
    data: bytes | None = env.db(NAME).get(row) if _is_there(env) else None
    return data


def _is_there(env: Env) -> bool:
    """A store of an earlier release that was opened for reading lacks the database."""
    return NAME in env.handles().dbs
