"""Load a dump (dump.py) into an empty store.

While it runs the store carries a mark that makes other writers of listings stop; should it fail or be killed, the next
load empties the store and begins again. What the never-list forbids today is unlisted at the end, with a journal record
that says so.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from spamcannibal import layout
from spamcannibal.addr import format_key
from spamcannibal.errors import NeverListed, StoreError, WireError
from spamcannibal.record import Action
from spamcannibal.store import cabinet, lines
from spamcannibal.store.batch import history_row
from spamcannibal.store.contacts import read_tally, write_tally
from spamcannibal.store.env import Txn
from spamcannibal.store.examine import HITS_KEY
from spamcannibal.store.handles import FORMAT, FORMAT_KEY, LOADING_KEY, NAMES
from spamcannibal.store.prune import FLOOR_KEY
from spamcannibal.store.stores import Store, scan

PAGE_LIMIT = 1000


class Loaded(msgspec.Struct):
    """What a load did: lines by kind, and the listings that the never-list forbids."""

    listings: int = 0
    contacts: int = 0
    changes: int = 0
    refused: list[str] = []


def load(
    store: Store,
    stream: Iterable[bytes],
    name: str,
    now: float,
    progress: Callable[[int], None] = lambda count: None,
    is_dry: bool = False,
) -> Loaded:
    """Fill an empty store from the lines of a dump; WireError names `name` and the line that is wrong.

    A dry load reads and checks it all the same, and writes nothing.
    """
    (_look if is_dry else _begin)(store)
    loaded, refused, pruned_to = Loaded(), set[bytes](), 0

    def take(batch: list[lines.Value]) -> None:
        if not is_dry:
            store.env.run(lambda txn: _put_all(store, batch, txn), durable=False)
        _count(store, batch, loaded, refused)

    batch: list[lines.Value] = []
    for value in _values(stream, name):
        if isinstance(value, lines.EndLine):
            pruned_to = value.floor
            break
        batch.append(value)
        if len(batch) == PAGE_LIMIT:
            take(batch)
            progress(len(batch))
            batch = []
    take(batch)
    loaded.refused = [format_key(key) for key in sorted(refused)]
    if is_dry:
        return loaded
    store.env.run(partial(_end, store, pruned_to))
    store.env.checkpoint()
    _unlist(store, sorted(refused), now)
    return loaded


def _begin(store: Store) -> None:
    """Mark the store as being loaded; empty it if an earlier load did not end."""
    env = store.env

    def begin(txn: Txn) -> None:
        meta = env.db("meta")
        if meta.get(LOADING_KEY, txn=txn) is not None:
            for name in NAMES:
                env.db(name).truncate(txn)
            meta.put(FORMAT_KEY, FORMAT, txn)
        else:
            _need_empty(store, txn)
            env.db("activity").truncate(txn)  # what a daemon noted of a list that was empty
        meta.put(LOADING_KEY, b"", txn)

    env.run(begin)


def _look(store: Store) -> None:
    """Check that a load could begin."""
    env = store.env

    def look() -> None:
        if env.db("meta").get(LOADING_KEY) is None:
            _need_empty(store, None)

    env.read(look)


def _need_empty(store: Store, txn: Txn) -> None:
    env = store.env
    if any(scan(env.db(name), b"", 1, txn) for name in NAMES if name not in ("meta", "activity")):
        raise StoreError(f"{env.path}: not empty; a dump is loaded into a new store only")


def _end(store: Store, pruned_to: int, txn: Txn) -> None:
    """Take the mark away: the load is whole."""
    meta = store.env.db("meta")
    if pruned_to:
        meta.put(FLOOR_KEY, layout.pack_seq(pruned_to), txn)
    meta.delete(LOADING_KEY, txn)


def _values(stream: Iterable[bytes], name: str) -> Iterator[lines.Value | lines.EndLine]:
    """Yield what the lines between head and end say, then the end; WireError names what is wrong, or missing."""
    count, end = -1, None
    for number, data in enumerate(stream, 1):
        line = lines.parse(data, f"{name}:{number}")
        if end is not None:
            raise WireError(f"{name}:{number}: a line after the end")
        if number == 1:
            if not isinstance(line, lines.HeadLine) or line.format != lines.FORMAT:
                raise WireError(f"{name}:1: not a dump of this release, want a head of format {lines.FORMAT} first")
        elif isinstance(line, lines.EndLine):
            end = line
        elif isinstance(line, lines.HeadLine):
            raise WireError(f"{name}:{number}: a second head")
        else:
            yield lines.value(line, f"{name}:{number}")
        count += 1
    if end is None or end.lines != count - 1:
        raise WireError(f"{name}: cut short after {count} lines; the end that dump writes is missing")
    yield end


def _count(store: Store, batch: list[lines.Value], loaded: Loaded, refused: set[bytes]) -> None:
    for value in batch:
        if isinstance(value, lines.ListingValue):
            loaded.listings += 1
            try:
                store.guard.check(value.key)
            except NeverListed:
                refused.add(value.key)
        loaded.contacts += isinstance(value, lines.ContactValue)
        loaded.changes += isinstance(value, lines.ChangeValue)


def _put_all(store: Store, batch: list[lines.Value], txn: Txn) -> None:
    writer = _Writer(store, txn)
    for value in batch:
        if isinstance(value, lines.ListingValue):
            writer.remove(value.key)
            writer.put_listing(value)
        elif isinstance(value, lines.GoneValue):
            writer.remove(value.key)
        elif isinstance(value, lines.ContactValue):
            writer.put_contact(value)
        elif isinstance(value, lines.CheckedValue):
            store.env.db("checked").put(value.key, layout.pack_checked(value.checked), txn)
        elif isinstance(value, lines.SeenValue):
            store.env.db("seen").put(value.row, b"", txn)
        elif isinstance(value, lines.KeptValue):
            cabinet.bring_back(store.env, value, txn)
        elif isinstance(value, lines.ActivityValue):
            store.env.db("activity").put(value.row, value.data, txn)
        elif isinstance(value, lines.TrialValue):
            store.env.db("trials").put(value.row, value.data, txn)
        elif isinstance(value, lines.HitsValue):
            store.env.db("meta").put(HITS_KEY, layout.pack_hits(value.hits), txn)
        else:
            writer.put_change(value)
    write_tally(store.env, txn, writer.tally)


class _Writer:
    """The raw writes of one transaction of a load."""

    def __init__(self, store: Store, txn: Txn) -> None:
        self._db = store.env.db
        self._txn = txn
        self.tally = read_tally(store.env, txn)

    def remove(self, key: bytes) -> None:
        """Take away what an earlier line said of a key."""
        raw = self._db("tarpit").get(key, txn=self._txn)
        if raw is None:
            return
        expiry_ms = layout.unpack_listing(raw).expiry_ms
        self._db("tarpit").delete(key, self._txn)
        self.tally.count(key, -1)
        if expiry_ms:
            self._db("expiry").delete(layout.pack_seq(expiry_ms) + key, self._txn)
        if self._db("evidence").exists(key, txn=self._txn):
            self._db("evidence").delete(key, self._txn)
            self.tally.evidence -= 1
        if self._db("blcontrib").exists(key, txn=self._txn):
            self._db("blcontrib").delete(key, self._txn)
            self.tally.blcontrib -= 1

    def put_listing(self, value: lines.ListingValue) -> None:
        self._db("tarpit").put(value.key, layout.pack_listing(value.listing), self._txn)
        self.tally.count(value.key, 1)
        if value.listing.expiry_ms:
            self._db("expiry").put(layout.pack_seq(value.listing.expiry_ms) + value.key, b"", self._txn)
        if value.contrib is not None:
            self._db("blcontrib").put(value.key, layout.pack_contrib(value.contrib), self._txn)
            self.tally.blcontrib += 1
        if value.evidence:
            self._db("evidence").put(value.key, layout.pack_evidence(value.evidence), self._txn)
            self.tally.evidence += 1

    def put_contact(self, value: lines.ContactValue) -> None:
        self.tally.archive += not self._db("archive").exists(value.key, txn=self._txn)
        self._db("archive").put(value.key, layout.pack_contact(value.contact), self._txn)

    def put_change(self, value: lines.ChangeValue) -> None:
        change = value.change
        self._db("journal").put(layout.pack_seq(change.seq), layout.pack_change(change), self._txn)
        contrib = layout.pack_contrib(value.contrib) if value.contrib else None
        evidence = layout.pack_evidence(value.evidence) if value.evidence else None
        removed = layout.pack_removed(contrib, evidence) if change.action is Action.UNLIST else b""
        self._db("history").put(history_row(change.key, change.seq), removed, self._txn)
        self.tally.seq = max(self.tally.seq, change.seq)


def _unlist(store: Store, keys: list[bytes], now: float) -> None:
    """Take off the list what the never-list forbids today."""
    for start in range(0, len(keys), PAGE_LIMIT):
        store.unlist(keys[start : start + PAGE_LIMIT], "load", "the never-list forbids it", now)
