"""What a change would do, before it is made: counts that are exact, or say that they are not.

In: keys to be listed or removed. Out: for each what is listed there, around and inside, what the never-list says, and
how many of those who connected lately and were let in would have been refused: addresses in `archive` that nothing
lists. Of `archive` the rows inside the keys are read, at most `budget` in all; a thousand at a time, so that nobody
waits for it. Addresses that blcheck examined meanwhile are not in `archive` any more: they are not counted.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spamcannibal import layout
from spamcannibal.addr import covers, make_key, mask, split_key
from spamcannibal.errors import NeverListed
from spamcannibal.record import Listing
from spamcannibal.store.contacts import match, read_tally
from spamcannibal.store.search import span
from spamcannibal.store.stores import Store, scan

PAGE_LIMIT = 1000
FIRST_PAGE = 32  # most networks hold little
BELOW_LIMIT = 10_000  # listings inside a network that are counted
BUDGET = 200_000  # and inside all of them
DAYS = 30


class Effect(NamedTuple):
    """What listing a key would mean. `around` are the listings that cover it, the closest first; `inside` counts those
    in it, at least so many if not `is_counted`; `refused` those who were let in so far, likewise if not `is_whole`.
    """

    key: bytes
    listing: Listing | None
    around: list[bytes]
    inside: int
    never: str
    refused: int
    is_whole: bool
    is_counted: bool


class Preview(NamedTuple):
    """`refused` counts each address once, also where keys hold each other."""

    effects: list[Effect]
    refused: int
    is_whole: bool

    @property
    def forbidden(self) -> list[Effect]:
        return [effect for effect in self.effects if effect.never]


def preview(store: Store, keys: Sequence[bytes], now: float, budget: int = 100_000) -> Preview:
    """Return what listing the keys would do, in their order."""
    since_ms = int((now - DAYS * 86_400) * 1000)
    left, rows, total, is_whole = budget, BUDGET, 0, True
    outer = set(outermost(keys))
    effects = []
    for key in keys:
        never = forbidden(store, key)
        count, looked, is_all = (0, 0, True) if never else let_in(store, key, since_ms, left)
        left = max(0, left - looked)
        inside, read, is_counted = count_inside(store, key, min(BELOW_LIMIT, rows))
        rows = max(0, rows - read)
        listing = store.get_key(key)
        effects.append(Effect(key, listing, covering(store, key), inside, never, count, is_all, is_counted))
        is_whole = is_whole and is_all
        total += count if key in outer else 0
    return Preview(effects, total, is_whole)


def let_in(store: Store, key: bytes, since_ms: int, budget: int) -> tuple[int, int, bool]:
    """Count who connected since a time from inside a key, and is not listed: (count, rows read, whether all were)."""
    addr, plen = split_key(key)
    if plen == len(addr) * 8:
        contact = store.contact(addr)
        is_new = contact is not None and contact.last_ms >= since_ms and store.get(addr) is None
        return int(is_new), 1, True
    count, looked, at, limit = 0, 0, addr, FIRST_PAGE
    while looked < budget:
        wanted = min(limit, budget - looked)
        page, found = _page(store, key, at, wanted, since_ms)
        looked, count = looked + len(page), count + found
        if len(page) < wanted:
            return count, looked, True
        at, limit = page[-1] + b"\0", min(limit * 4, PAGE_LIMIT)
    return count, looked, False


def count_inside(store: Store, key: bytes, limit: int = BELOW_LIMIT) -> tuple[int, int, bool]:
    """Count the listings inside a network, itself not among them: (count, rows read, whether all were)."""
    addr, plen = split_key(key)
    if plen == len(addr) * 8:
        return 0, 0, True
    after, end = span(key)
    count, looked, size = 0, 0, FIRST_PAGE
    while looked < limit and (page := store.raw_page("tarpit", after, min(size, limit - looked))):
        for row, _ in page:
            if end is not None and row > end:
                return count, looked, True
            looked += 1
            count += row != key and covers(key, row)
        after, size = page[-1][0], min(size * 4, PAGE_LIMIT)
    return count, looked, looked < limit


def covering(store: Store, key: bytes) -> list[bytes]:
    """Give the listings that cover a key, itself not among them, the closest first."""
    addr, plen = split_key(key)
    keys = [make_key(mask(addr, length), length) for length in reversed(store.lengths(len(addr))) if length < plen]
    return [each for each, row in zip(keys, store.records("tarpit", keys), strict=True) if row is not None]


def forbidden(store: Store, key: bytes) -> str:
    """Say which rule of the never-list forbids a key, "" if none does."""
    try:
        store.guard.check(key)
    except NeverListed as error:
        return error.rule
    return ""


def outermost(keys: Iterable[bytes]) -> list[bytes]:
    """Give the keys that no other of them covers, each once."""
    found: list[bytes] = []
    for key in sorted(set(keys), key=lambda each: (len(split_key(each)[0]), *split_key(each))):
        if not found or not covers(found[-1], key):
            found.append(key)
    return found


def _page(store: Store, key: bytes, start: bytes, limit: int, since_ms: int) -> tuple[list[bytes], int]:
    """Read up to `limit` addresses of a network from `start` on, and count who of them is new since then."""
    env = store.env

    def look() -> tuple[list[bytes], int]:
        rows = [row for row in scan(env.db("archive"), start, limit) if covers(key, row[0])]
        tarpit, tally = env.db("tarpit"), read_tally(env)
        recent = (addr for addr, data in rows if layout.unpack_contact(data).last_ms >= since_ms)
        return [addr for addr, _ in rows], sum(match(tarpit, tally, addr) is None for addr in recent)

    return env.read(look)
