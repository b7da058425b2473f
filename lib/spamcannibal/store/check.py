"""Check a store: the structure of each file, then that the stores agree with one another. Others may go on meanwhile.

    every record    can be read, and its key is one
    tarpit          has a reason in evidence or blcontrib, not in both; its journal record is there and is of that key;
                    its expiry is in the index
    evidence, blcontrib, expiry    have a listing
    journal         has no hole past the floor (prune.py), and its last number is the tally's; each record is in the
                    history of its key
    checked         has keys
    activity        its rows are of known kinds
    trials          its rows are of known kinds
    tally           is what counting gives

While a file's structure is verified everybody else waits at the gate; the comparison goes page by page.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from berkeleydb import db as bdb

from spamcannibal import layout, record
from spamcannibal.addr import format_key, split_key
from spamcannibal.errors import SpamCannibalError
from spamcannibal.store import activity_rows, trial_rows
from spamcannibal.store.batch import history_row
from spamcannibal.store.cabinet import fault
from spamcannibal.store.contacts import read_tally
from spamcannibal.store.handles import NAMES
from spamcannibal.store.prune import floor_inside
from spamcannibal.store.seen import is_row
from spamcannibal.store.stores import UNPACK, Store, scan

PAGE_LIMIT = 1000
Row = tuple[bytes, bytes]


def check(store: Store, progress: Callable[[int], None] = lambda count: None) -> Iterator[str]:
    """Yield what is wrong, a line each. progress gets the number of records checked."""
    for name in NAMES:
        yield from _structure(store, name)
    for name in NAMES:
        after = b""
        while page := store.env.read(partial(_page, store, name, after)):
            rows, problems = page
            yield from problems
            progress(len(rows))
            after = rows[-1][0] + b"\0"
    yield from _totals(store)


def _structure(store: Store, name: str) -> Iterator[str]:
    """Let Berkeley DB verify one file, through the shared cache, so that nothing need be written first."""
    try:
        store.env.read(lambda: bdb.DB(store.env.handles().env).verify(name))
    except SpamCannibalError as error:
        yield f"{name}: {error}"


def _page(store: Store, name: str, start: bytes) -> tuple[list[Row], list[str]] | None:
    """Check some rows, all at one moment; give them and what is wrong, None past the end."""
    rows = scan(store.env.db(name), start, PAGE_LIMIT)
    if not rows:
        return None
    return rows, [f"{name}: {_shown(name, row[0])}: {problem}" for row in rows for problem in _row(store, name, row)]


def _row(store: Store, name: str, row: Row) -> Iterator[str]:
    try:
        yield from _CHECKS[name](store, row)
    except (SpamCannibalError, ValueError) as error:
        yield str(error)


def _record(name: str, store: Store, row: Row) -> Iterator[str]:
    split_key(row[0])
    UNPACK[name](row[1])
    if name in ("evidence", "blcontrib") and not store.env.db("tarpit").exists(row[0]):
        yield "a reason without a listing"


def _listing(store: Store, row: Row) -> Iterator[str]:
    key, data = row
    split_key(key)
    listing = layout.unpack_listing(data)
    dbs = store.env.db
    reasons = sum(dbs(name).exists(key) for name in ("evidence", "blcontrib"))
    if reasons != 1:
        yield f"{reasons} reasons, want one of evidence and blcontrib"
    if listing.expiry_ms and not dbs("expiry").exists(layout.pack_seq(listing.expiry_ms) + key):
        yield "its expiry is not in the index"
    data = dbs("journal").get(layout.pack_seq(listing.seq))
    if data is None or layout.unpack_change(listing.seq, data).key != key:
        yield f"journal record {listing.seq} is not there, or not of this key"


def _change(store: Store, row: Row) -> Iterator[str]:
    seq = layout.unpack_seq(row[0])
    change = layout.unpack_change(seq, row[1])
    split_key(change.key)
    if not store.env.db("history").exists(history_row(change.key, seq)):
        yield "not in the history of its key"
    if seq > floor_inside(store) + 1 and not store.env.db("journal").exists(layout.pack_seq(seq - 1)):
        yield "the record before it is missing"


def _expiry(store: Store, row: Row) -> Iterator[str]:
    data = store.env.db("tarpit").get(row[0][8:])
    if data is None or layout.unpack_listing(data).expiry_ms != layout.unpack_seq(row[0][:8]):
        yield "no listing ends then"


def _history(store: Store, row: Row) -> Iterator[str]:
    if row[1]:
        layout.unpack_removed(row[1])
    if not store.env.db("journal").exists(row[0][-8:]):
        yield "no such journal record"


def _meta(store: Store, row: Row) -> Iterator[str]:
    if row[0] == b"loading":
        yield "a dump was not loaded to its end; run `spamcannibal db load` again"


def _seen(store: Store, row: Row) -> Iterator[str]:
    if not is_row(row[0]) or row[1]:
        yield "neither a signature nor a complaint"


def _cabinet(store: Store, row: Row) -> Iterator[str]:
    wrong = fault(row)
    if wrong:
        yield wrong


def _trial(store: Store, row: Row) -> Iterator[str]:
    wrong = trial_rows.problem(*row)
    if wrong:
        yield wrong


def _activity(store: Store, row: Row) -> Iterator[str]:
    wrong = activity_rows.problem(*row)
    if wrong:
        yield wrong


_CHECKS: dict[str, Callable[[Store, Row], Iterator[str]]] = {
    "tarpit": _listing,
    "archive": partial(_record, "archive"),
    "blcontrib": partial(_record, "blcontrib"),
    "evidence": partial(_record, "evidence"),
    "journal": _change,
    "history": _history,
    "expiry": _expiry,
    "meta": _meta,
    "checked": partial(_record, "checked"),
    "seen": _seen,
    "activity": _activity,
    "trials": _trial,
    "cabinet": _cabinet,
}


def _totals(store: Store) -> Iterator[str]:
    """Compare the tally with the records, all counted at one moment."""

    def look() -> tuple[record.Tally, dict[str, int], int]:
        tally = read_tally(store.env)
        numbers = {name: _count(store.env.db(name)) for name in ("tarpit", "archive", "blcontrib", "evidence")}
        newest = store.env.db("journal").cursor()
        try:
            last = newest.last()
        finally:
            newest.close()
        return tally, numbers, layout.unpack_seq(last[0]) if last else 0

    tally, numbers, last_seq = store.env.read(look)
    for name in ("archive", "blcontrib", "evidence"):
        if getattr(tally, name) != numbers[name]:
            yield f"meta: counted {numbers[name]} records in {name}, the tally says {getattr(tally, name)}"
    if tally.listings != numbers["tarpit"]:
        yield f"meta: counted {numbers['tarpit']} records in tarpit, the tally says {tally.listings}"
    if tally.seq != last_seq:
        yield f"meta: the journal ends with {last_seq}, the tally says {tally.seq}"


def _count(handle: Any) -> int:
    return int(handle.stat()["nkeys"])


def _shown(name: str, key: bytes) -> str:
    """Give a row's key as text."""
    if name in UNPACK:
        try:
            return format_key(key)
        except SpamCannibalError:
            return key.hex()
    return str(layout.unpack_seq(key)) if name == "journal" and len(key) == 8 else key.hex()
