"""Contacts: who knocked, how often and when, written in bulk once a second. No journal, no fsync.

A sighting is (addr, count, first_ms, last_ms). Of a listed address the most specific listing gets a newer time of last
contact; anybody else gets an archive record, or an addition to it. What the table said when the packet came may be old
by the time it is written, so the stores decide: an address that was listed meanwhile is not archived, one that was
unlisted meanwhile is. A listing on trial counts the sighting, and then all goes on as if it were not there.

At most 1,000 records a transaction, in key order (pages are then touched one after another). A crash of the machine may
lose the last second's; the death of processes loses nothing that was committed.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from spamcannibal import layout
from spamcannibal.addr import make_key, mask
from spamcannibal.record import Tally
from spamcannibal.store.env import Env, Txn
from spamcannibal.store.trial_rows import NAME, TRIAL, pack_trial, sighted, unpack_trial

Sighting = tuple[bytes, int, int, int]

TALLY_KEY = b"tally"
WRITES_LIMIT = 1000


def read_tally(env: Env, txn: Txn = None) -> Tally:
    """Read the tally; inside run or read."""
    raw = env.db("meta").get(TALLY_KEY, txn=txn)
    return layout.unpack_tally(raw) if raw else Tally.empty()


def write_tally(env: Env, txn: Txn, counters: Tally) -> None:
    env.db("meta").put(TALLY_KEY, layout.pack_tally(counters), txn)


def match(tarpit: Any, counters: Tally, addr: bytes, txn: Txn = None) -> tuple[bytes, bytes] | None:
    """Find the most specific listing over addr: its key and value. One look-up for each prefix length in use."""
    return next(matches(tarpit, counters, addr, txn), None)


def matches(tarpit: Any, counters: Tally, addr: bytes, txn: Txn = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield the listings over addr, the most specific first: keys and values."""
    raw = tarpit.get(addr, txn=txn)
    if raw is not None:
        yield addr, raw
    for plen in prefix_lengths(counters, len(addr)):
        key = make_key(mask(addr, plen), plen)
        raw = tarpit.get(key, txn=txn)
        if raw is not None:
            yield key, raw


def prefix_lengths(counters: Tally, size: int) -> list[int]:
    """Give the lengths of listed networks of a family (address size 4 or 16), longest first."""
    per_length = counters.v4 if size == 4 else counters.v6
    return [plen for plen in range(len(per_length) - 2, -1, -1) if per_length[plen]]


def note(env: Env, listed: Sequence[Sighting], unlisted: Sequence[Sighting]) -> None:
    """Write sightings. Both kinds are looked up alike, since what the caller knew may be old."""
    sightings = sorted((*listed, *unlisted))
    for start in range(0, len(sightings), WRITES_LIMIT):
        env.run(partial(_note, env, sightings[start : start + WRITES_LIMIT]), durable=False)


def forget(env: Env, addrs: Sequence[bytes]) -> int:
    """Take addresses out of archive; give how many were there."""
    ordered = sorted(addrs)
    starts = range(0, len(ordered), WRITES_LIMIT)
    return sum(env.run(partial(_forget, env, ordered[at : at + WRITES_LIMIT]), durable=False) for at in starts)


def _note(env: Env, sightings: Sequence[Sighting], txn: Txn) -> None:
    tarpit, archive, counters = env.db("tarpit"), env.db("archive"), read_tally(env, txn)
    nets = {size: bool(prefix_lengths(counters, size)) for size in (4, 16)}
    merge, find, read, write = layout.merge_contact, tarpit.get, archive.get, archive.put
    added = 0
    for addr, count, first_ms, last_ms in sightings:
        raw = find(addr, txn=txn)
        if raw is not None or nets[len(addr)]:
            found = (addr, raw) if raw is not None else match(tarpit, counters, addr, txn)
            if found is not None and layout.is_shadow(found[1]):
                found = _sighted(env, txn, matches(tarpit, counters, addr, txn), (count, first_ms, last_ms))
            if found is not None:
                touch(tarpit, txn, found, last_ms)
                continue
        had = read(addr, txn=txn)
        added += had is None
        write(addr, merge(had, count, first_ms, last_ms), txn)
    if added:
        counters.archive += added
        write_tally(env, txn, counters)


def _sighted(
    env: Env, txn: Txn, found: Iterator[tuple[bytes, bytes]], seen: tuple[int, int, int]
) -> tuple[bytes, bytes] | None:
    """Count a sighting for the listings on trial up to the first that is none; give that one."""
    tarpit, trials = env.db("tarpit"), env.db(NAME)
    for key, raw in found:
        if not layout.is_shadow(raw):
            return key, raw
        touch(tarpit, txn, (key, raw), seen[2])
        had = trials.get(TRIAL + key, txn=txn)
        trials.put(TRIAL + key, pack_trial(sighted(unpack_trial(had) if had else None, *seen)), txn)
    return None


def touch(tarpit: Any, txn: Txn, found: tuple[bytes, bytes], last_ms: int) -> None:
    """Give a listing, its key and value, a newer time of last contact."""
    key, raw = found
    touched = layout.with_contact(raw, last_ms)
    if touched is not raw:
        tarpit.put(key, touched, txn)


def _forget(env: Env, addrs: Sequence[bytes], txn: Txn) -> int:
    archive = env.db("archive")
    there = [addr for addr in addrs if archive.exists(addr, txn=txn)]
    for addr in there:
        archive.delete(addr, txn)
    if there:
        counters = read_tally(env, txn)
        counters.archive -= len(there)
        write_tally(env, txn, counters)
    return len(there)
