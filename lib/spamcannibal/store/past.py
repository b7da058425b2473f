"""The list as it was after a change of the journal, read while it goes on changing.

    past = Past(store, seq)
    past.get(key)               (table value, number of the change that made it so), None if it was not listed
    past.pages(sizes)           all listings, in key order, page by page
    past.texts(rows)            what those changes said

A row that was written since is undone by the journal: its key's newest change up to `seq` tells what it was. A row that
was taken away since is missing from its page, so after each page the journal is read on, and what it names within the
page is looked up likewise. Nothing is held between pages but the keys that changed since `seq`.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from spamcannibal import layout
from spamcannibal.errors import Unavailable
from spamcannibal.record import Action, Change
from spamcannibal.store.prune import floor
from spamcannibal.store.stores import Store, scan

PAGE_LIMIT = 2000
FIRST_PAGE = 32  # who looks for any listing finds one soon
MOVED_LIMIT = 200_000  # keys that changed while we read: about 20 MB
READ_LIMIT = 5000
_SEQ_AT = 29  # where a tarpit value's number stands: layout.py


class Row(NamedTuple):
    """A listing as it was: its table value, and the change that made it so."""

    key: bytes
    value: int
    seq: int


class Past:
    """The list after change `seq`; for one thread."""

    def __init__(self, store: Store, seq: int) -> None:
        """Unavailable if the journal was pruned past that change."""
        self.seq = seq
        self._store = store
        self._check_floor()
        self._read_seq = seq
        self._moved: list[bytes] = []
        self._known: set[bytes] = set()

    def get(self, key: bytes) -> Row | None:
        """Find a listing."""
        row = self._store.get_key(key)
        if row is not None and row.seq <= self.seq:
            return Row(key, row.state, row.seq)
        return self._before(key)

    def pages(self, sizes: Collection[int], start: bytes = b"", end: bytes | None = None) -> Iterator[list[Row]]:
        """Yield the listings whose keys are of one of these lengths, from `start` to before `end`.

        Unavailable if more changes than we can undo, or the journal is not whole any more.
        """
        limit = FIRST_PAGE
        while True:
            page = self._page(start, limit)
            last = page[-1][0] if len(page) == limit else None
            upper = min((key for key in (last, end) if key is not None), default=None)
            self.catch_up()
            rows = [self._row(key, data) for key, data in page if len(key) in sizes and (end is None or key < end)]
            found = {row.key: row for row in rows if row is not None}
            for key in self._between(start, upper):
                if len(key) in sizes and key not in found and (end is None or key < end):
                    row = self._before(key)
                    if row is not None:
                        found[key] = row
            yield [found[key] for key in sorted(found)]
            if last is None or (end is not None and last >= end):
                return
            start = last + b"\0"
            limit = min(limit * 4, PAGE_LIMIT)

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """Return the text of each row, empty if it had none."""
        self._check_floor()
        env = self._store.env
        numbers = [layout.pack_seq(row.seq) for row in rows]

        def look() -> list[bytes | None]:
            journal = env.db("journal")
            return [journal.get(number) for number in numbers]

        return [_text(row, data) for row, data in zip(rows, env.read(look), strict=True)]

    def catch_up(self) -> None:
        """Read on in the journal."""
        while changes := self._store.read(self._read_seq, READ_LIMIT):
            if changes[0].seq != self._read_seq + 1 or changes[-1].seq != self._read_seq + len(changes):
                raise Unavailable("the journal is not whole any more; was the store restored?")
            self._read_seq = changes[-1].seq
            self._note(changes)
        self._check_floor()

    def lengths(self, size: int) -> list[int]:
        """Return the prefix lengths of addresses of `size` bytes that listings had then, shortest first."""
        tally = self._store.lengths(size)
        self.catch_up()
        gone = {key[-1] if len(key) == size + 1 else size * 8 for key in self._moved if len(key) in (size, size + 1)}
        return sorted({*tally, *gone})

    def _check_floor(self) -> None:
        """Whoever reads a list that is as old as the journal may see it pruned meanwhile."""
        if self.seq < floor(self._store):
            raise Unavailable(f"the journal was pruned past change {self.seq}; what the list was then is not known")

    def _page(self, start: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        env = self._store.env
        return env.read(lambda: scan(env.db("tarpit"), start, limit))

    def _row(self, key: bytes, data: bytes) -> Row | None:
        seq = layout.unpack_seq(data[_SEQ_AT : _SEQ_AT + 8])
        return Row(key, layout.listing_state(data), seq) if seq <= self.seq else self._before(key)

    def _before(self, key: bytes) -> Row | None:
        change = self._store.change_at(key, self.seq)
        if change is None or change.action is Action.UNLIST:
            return None
        return Row(key, change.state, change.seq)

    def _between(self, start: bytes, upper: bytes | None) -> Sequence[bytes]:
        """Return the keys that changed since, from `start` to `upper`, which is included."""
        first = bisect_left(self._moved, start)
        return self._moved[first : len(self._moved) if upper is None else bisect_right(self._moved, upper)]

    def _note(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.key not in self._known:
                self._known.add(change.key)
                insort(self._moved, change.key)
        if len(self._moved) > MOVED_LIMIT:
            raise Unavailable(f"more than {MOVED_LIMIT} listings changed meanwhile")


def _text(row: Row, data: bytes | None) -> str:
    return layout.unpack_change(row.seq, data).text if data is not None else ""
