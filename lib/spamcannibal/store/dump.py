"""Dump: the whole store as JSON lines, see lines.py; load.py reads them.

A dump is taken while others write: pages of listings first; then what changed meanwhile is said again (a later line
overrides), until little is left, and the rest at one moment together with the journal's end. So the listings are those
of the journal's last number. Contacts have no such moment. What the robot has seen comes from before it: a report may
count again after a load, but none is a replay whose listing is not in the dump. So do the figures of what happened, all
of one moment: what changed between is counted after the load.
"""

from collections.abc import Iterator
from functools import partial

from spamcannibal import layout
from spamcannibal.addr import format_key
from spamcannibal.record import Action, Change, Contrib, Piece
from spamcannibal.store import cabinet, lines
from spamcannibal.store.examine import hits
from spamcannibal.store.prune import floor
from spamcannibal.store.stores import Store, scan

PAGE_LIMIT = 1000
ACTIVITY_LIMIT = 1_000_000  # rows; Keep's longest times and all holdings make some 300,000


def dump(store: Store) -> Iterator[bytes]:
    """Yield the lines of a dump, each with its newline."""
    count = 0
    yield lines.encode(lines.HeadLine(lines.FORMAT)) + b"\n"
    for line in _lines(store):
        count += 1
        yield lines.encode(line) + b"\n"
    yield lines.encode(lines.EndLine(count, floor(store))) + b"\n"


def _lines(store: Store) -> Iterator[lines.AnyLine]:
    after: bytes | None = None
    while rows := store.raw_page("seen", after, PAGE_LIMIT):
        yield from (lines.seen_line(row) for row, _ in rows)
        after = rows[-1][0]
    rows = store.env.read(lambda: scan(store.env.db("activity"), b"", ACTIVITY_LIMIT))
    yield from (lines.activity_line(*row) for row in rows)
    after = None
    while rows := store.raw_page("trials", after, PAGE_LIMIT):
        yield from (lines.trial_line(*row) for row in rows)
        after = rows[-1][0]
    seq = store.last_seq()
    yield from _listings(store)
    while len(changes := store.read(seq, PAGE_LIMIT)) == PAGE_LIMIT:
        yield from store.env.read(partial(_again, store, changes))
        seq = changes[-1].seq
    last, again = store.env.read(lambda: _rest(store, seq))
    yield from again
    after = None
    while page := store.page("archive", after, PAGE_LIMIT):
        yield from (lines.contact_line(key, contact) for key, contact in page)
        after = page[-1][0]
    yield from _changes(store, last)
    after = None
    while page := store.page("checked", after, PAGE_LIMIT):
        yield from (lines.checked_line(key, checked) for key, checked in page)
        after = page[-1][0]
    yield from map(lines.kept_line, cabinet.kept(store.env))
    counts = hits(store)
    if counts is not None:
        yield lines.hits_line(counts)


def _listings(store: Store) -> Iterator[lines.AnyLine]:
    start = b""
    while page := store.env.read(partial(_listing_page, store, start)):
        yield from (line for _, line in page)
        start = page[-1][0] + b"\0"


def _listing_page(store: Store, start: bytes) -> list[tuple[bytes, lines.AnyLine]]:
    return [(key, _listing(store, key, data)) for key, data in scan(store.env.db("tarpit"), start, PAGE_LIMIT)]


def _rest(store: Store, seq: int) -> tuple[int, list[lines.AnyLine]]:
    """Say again what changed after seq, all at one moment; give that moment's last number too."""
    rows = scan(store.env.db("journal"), layout.pack_seq(seq + 1), 1 << 62)
    changes = [layout.unpack_change(layout.unpack_seq(key), data) for key, data in rows]
    return (changes[-1].seq if changes else seq), _again(store, changes)


def _again(store: Store, changes: list[Change]) -> list[lines.AnyLine]:
    found = {change.key: store.env.db("tarpit").get(change.key) for change in changes}
    return [
        lines.GoneLine(format_key(key)) if data is None else _listing(store, key, data) for key, data in found.items()
    ]


def _listing(store: Store, key: bytes, data: bytes) -> lines.ListingLine:
    contrib, evidence = (store.env.db(name).get(key) for name in ("blcontrib", "evidence"))
    why: tuple[Contrib | None, list[Piece]] = (
        layout.unpack_contrib(contrib) if contrib else None,
        layout.unpack_evidence(evidence) if evidence else [],
    )
    return lines.listing_line(key, layout.unpack_listing(data), why)


def _changes(store: Store, last: int) -> Iterator[lines.AnyLine]:
    seq = 0
    while seq < last and (changes := store.read(seq, PAGE_LIMIT)):
        for change in changes:
            if change.seq <= last:
                is_end = change.action is Action.UNLIST
                yield lines.change_line(change, store.removed(change.key, change.seq) if is_end else (None, []))
        seq = changes[-1].seq
