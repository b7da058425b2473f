"""The stores: list, unlist, amend, note contacts, look up, page through, expire, and read the journal.

Everything that writes is one transaction for each call or each 1,000 records, see batch.py; everything that reads holds
nothing between calls. `now` is float seconds since the epoch; stored times are milliseconds.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from spamcannibal import layout, record
from spamcannibal.addr import split_key
from spamcannibal.errors import StoreError
from spamcannibal.guard import Guard
from spamcannibal.record import Change, Contact, Contrib, Listing, Piece, Tally
from spamcannibal.store import contacts
from spamcannibal.store.batch import Amendment, Batch, Hearsay, Limits, NewListing, history_row
from spamcannibal.store.env import Env, Txn

__all__ = ["Amendment", "Hearsay", "Limits", "NewListing", "Store"]

T = TypeVar("T")
Sighting = contacts.Sighting
# Names for what else would read list[...]: inside the class, `list` is the method.
Keys = list[bytes]
Lengths = list[int]
Seqs = list[int]
Pieces = list[Piece]
Changes = list[Change]
Page = list[tuple[bytes, Any]]
Rows = list[tuple[bytes, bytes]]
Records = list[Any]
RawRecords = list[bytes | None]
States = list[tuple[bytes, int]]
History = list[tuple[int, bytes | None]]

BATCH_LIMIT = 1000
UNPACK: dict[str, Callable[[bytes], Any]] = {
    "tarpit": layout.unpack_listing,
    "archive": layout.unpack_contact,
    "blcontrib": layout.unpack_contrib,
    "evidence": layout.unpack_evidence,
    "checked": layout.unpack_checked,
}


class Store:
    """The stores of one environment, guarded by a never-list."""

    def __init__(self, env: Env, guard: Guard, limits: Limits | None = None) -> None:
        self.env = env
        self.guard = guard
        self._limits = limits or Limits()

    def close(self) -> None:
        self.env.close()

    # Writing.

    def list(self, items: Sequence[NewListing], now: float) -> Seqs:
        """List all items durably in one transaction; give each one's journal number.

        Raises NeverListed or StoreError, and then nothing of it happened. What is listed as wanted already gets no new
        record, what differs is amended.
        """
        _bounded(items)
        for item in items:
            split_key(item.key)
            record.table_value(item.code, item.mode, item.flags)
            self.guard.check(item.key)
        return self.transact(now, lambda batch: [batch.list(item) for item in items])

    def unlist(self, keys: Sequence[bytes], source: str, reason: str, now: float) -> Seqs:
        """Remove listings durably in one transaction; give each one's journal number, 0 for what was not listed."""
        _bounded(keys)
        return self.transact(now, lambda batch: [batch.unlist(key, source, reason) for key in keys])

    def amend(self, key: bytes, changes: Amendment, source: str, now: float) -> int:
        """Change a listing; give the journal number, 0 if the key is not listed."""
        if changes.code is not None:
            record.table_value(changes.code, 0, 0)
        return self.transact(now, lambda batch: batch.amend(key, changes, source))

    def add_evidence(self, key: bytes, piece: Piece) -> bool:
        """Add a piece of evidence to a listing; False if the key is not listed."""
        cut = Piece(piece.time_ms, piece.source, piece.body[: self._limits.evidence_bytes])

        def write(batch: Batch) -> bool:
            is_listed = bool(self.env.db("tarpit").exists(key))
            if is_listed:
                batch.add_evidence(key, cut)
            return is_listed

        return self.transact(piece.time_ms / 1000, write)

    def expire(self, now: float, limit: int = BATCH_LIMIT) -> Keys:
        """Remove up to `limit` listings whose time is over, in one transaction; give their keys."""
        limit = min(limit, BATCH_LIMIT)
        end = layout.pack_seq(int(now * 1000) + 1)

        def remove(batch: Batch) -> Keys:
            keys = [row[0][8:] for row in scan(self.env.db("expiry"), b"", limit) if row[0] < end]
            for key in keys:
                batch.unlist(key, "expiry", "expired")
            return keys

        due = self.env.read(lambda: scan(self.env.db("expiry"), b"", 1))
        return self.transact(now, remove) if due and due[0][0] < end else []

    def contacts(self, listed: Sequence[Sighting], unlisted: Sequence[Sighting]) -> None:
        """Note sightings (addr, count, first_ms, last_ms): see store/contacts.py."""
        contacts.note(self.env, listed, unlisted)

    def touch(self, sightings: Sequence[Sighting]) -> None:
        """Note sightings of listed addresses."""
        self.contacts(sightings, ())

    def archive(self, sightings: Sequence[Sighting]) -> None:
        """Note sightings of addresses that are not listed."""
        self.contacts((), sightings)

    def forget(self, addrs: Sequence[bytes]) -> int:
        """Take addresses out of archive, once examined; give how many were there."""
        return contacts.forget(self.env, addrs)

    # Reading.

    def get(self, addr: bytes) -> tuple[bytes, Listing] | None:
        """Find the most specific listing that covers an address."""

        def look() -> tuple[bytes, bytes] | None:
            return contacts.match(self.env.db("tarpit"), self._tally(), addr)

        found = self.env.read(look)
        return (found[0], layout.unpack_listing(found[1])) if found else None

    def get_key(self, key: bytes) -> Listing | None:
        return self._record("tarpit", key, layout.unpack_listing)

    def contact(self, addr: bytes) -> Contact | None:
        return self._record("archive", addr, layout.unpack_contact)

    def contrib(self, key: bytes) -> Contrib | None:
        return self._record("blcontrib", key, layout.unpack_contrib)

    def evidence(self, key: bytes) -> Pieces:
        return self._record("evidence", key, layout.unpack_evidence) or []

    def records(self, name: str, keys: Sequence[bytes]) -> Records:
        """Give the record of each key, None where there is none, in one look."""

        def look() -> RawRecords:
            find = self.env.db(name).get
            return [find(key) for key in keys]

        unpack = UNPACK[name]
        return [None if data is None else unpack(data) for data in self.env.read(look)]

    def page(self, name: str, after: bytes | None, limit: int) -> Page:
        """Give up to `limit` (key, record) of one of the stores of UNPACK in key order, past `after`."""
        unpack = UNPACK[name]
        return [(key, unpack(data)) for key, data in self.raw_page(name, after, limit)]

    def raw_page(self, name: str, after: bytes | None, limit: int) -> Rows:
        """Give what page gives, undecoded."""
        start = b"" if after is None else after + b"\0"
        return self.env.read(lambda: scan(self.env.db(name), start, limit))

    def states(self, after: bytes | None, limit: int) -> States:
        """Give up to `limit` (key, table value) of all listings past `after`: what fills a table."""
        state = layout.listing_state
        return [(key, state(data)) for key, data in self.raw_page("tarpit", after, limit)]

    def counts(self) -> dict[str, int]:
        """Give the number of records by store, exact and without counting."""
        tally = self.env.read(self._tally)
        return {
            "tarpit": tally.listings,
            "tarpit_v4": sum(tally.v4),
            "tarpit_v6": sum(tally.v6),
            "archive": tally.archive,
            "blcontrib": tally.blcontrib,
            "evidence": tally.evidence,
            "journal": tally.seq,
        }

    def lengths(self, size: int) -> Lengths:
        """Give the prefix lengths of addresses of `size` bytes (4 or 16) that are listed, shortest first."""
        tally = self.env.read(self._tally)
        return [plen for plen, count in enumerate(tally.v4 if size == 4 else tally.v6) if count]

    # The journal.

    def last_seq(self) -> int:
        return self.env.read(self._tally).seq

    def read(self, after_seq: int, limit: int) -> Changes:
        """Give up to `limit` changes past after_seq, in order. The first may be later than after_seq + 1: a hole."""
        rows = self.env.read(lambda: scan(self.env.db("journal"), layout.pack_seq(after_seq + 1), limit))
        return [layout.unpack_change(layout.unpack_seq(key), data) for key, data in rows]

    def change(self, seq: int) -> Change | None:
        """Give one journal record: text and source of a listing are in that of its seq."""
        return self._record("journal", layout.pack_seq(seq), lambda data: layout.unpack_change(seq, data))

    def text(self, listing: Listing) -> str:
        """Give a listing's own text, "" if it has none."""
        change = self.change(listing.seq)
        return change.text if change else ""

    def change_at(self, key: bytes, seq: int) -> Change | None:
        """Give a key's newest change of number `seq` or lower: it tells what the key was then."""

        def look() -> tuple[int, bytes | None] | None:
            rows = scan_back(self.env.db("history"), bytes((len(key),)) + key, 1, seq)
            return (layout.unpack_seq(rows[0][-8:]), self.env.db("journal").get(rows[0][-8:])) if rows else None

        found = self.env.read(look)
        return layout.unpack_change(found[0], found[1]) if found and found[1] is not None else None

    def history(self, key: bytes, limit: int = 1000) -> Changes:
        """Give the newest `limit` changes of a key, oldest first."""
        prefix = bytes((len(key),)) + key

        def look() -> History:
            journal = self.env.db("journal")
            rows = scan_back(self.env.db("history"), prefix, limit)
            return [(layout.unpack_seq(row[-8:]), journal.get(row[-8:])) for row in reversed(rows)]

        return [layout.unpack_change(seq, data) for seq, data in self.env.read(look) if data is not None]

    def removed(self, key: bytes, seq: int) -> tuple[Contrib | None, Pieces]:
        """Give what the unlisting of number `seq` took away: hearsay and evidence, for undo."""
        unpack = layout.unpack_removed
        row = history_row(key, seq)
        return self._record("history", row, lambda data: unpack(data) if data else None) or (None, [])

    def _tally(self) -> Tally:
        return contacts.read_tally(self.env)

    def _record(self, name: str, key: bytes, unpack: Callable[[bytes], T]) -> T | None:
        data = self.env.read(lambda: self.env.db(name).get(key))
        return None if data is None else unpack(data)

    def transact(self, now: float, write: Callable[[Batch], T], durable: bool = True) -> T:
        """Return write(batch) once that is committed: for the modules beside this one; at most 1,000 records."""

        def transaction(txn: Txn) -> T:
            batch = Batch(self.env, txn, int(now * 1000), self._limits)
            result = write(batch)
            batch.finish()
            return result

        return self.env.run(transaction, durable)


def scan(handle: Any, start: bytes, limit: int, txn: Txn = None) -> list[tuple[bytes, bytes]]:
    """Give up to `limit` rows from `start` on, in key order."""
    cursor = handle.cursor(txn)
    try:
        row = cursor.set_range(start) if start else cursor.first()
        rows: list[tuple[bytes, bytes]] = []
        following = cursor.next
        while row is not None and len(rows) < limit:
            rows.append(row)
            row = following()
        return rows
    finally:
        cursor.close()


def scan_back(handle: Any, prefix: bytes, limit: int, seq: int = (1 << 64) - 1, txn: Txn = None) -> list[bytes]:
    """Give up to `limit` keys that are `prefix` and a number up to `seq`, last first."""
    end = prefix + layout.pack_seq(seq)
    cursor = handle.cursor(txn)
    try:
        row = cursor.set_range(end)
        row = cursor.last() if row is None else row
        while row is not None and row[0] > end:
            row = cursor.prev()
        keys: list[bytes] = []
        while row is not None and row[0].startswith(prefix) and len(keys) < limit:
            keys.append(row[0])
            row = cursor.prev()
        return keys
    finally:
        cursor.close()


def _bounded(items: Sequence[Any]) -> None:
    if len(items) > BATCH_LIMIT:
        raise StoreError(f"{len(items)} changes in one transaction, want at most {BATCH_LIMIT}")
