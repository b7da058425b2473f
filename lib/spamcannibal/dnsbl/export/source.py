"""The entries of an export, read from the store page by page, each time they are asked for."""

from collections.abc import Callable, Iterator

from spamcannibal import layout
from spamcannibal.dnsbl.export.entry import Entry, Row, Select, of_key, ordered
from spamcannibal.store.stores import Store

PAGE_LIMIT = 5000
_KEY_SIZES = {4: (4, 5), 6: (16, 17)}


class StoreEntries:
    """The entries of one family in order; `count` is how many the last reading gave."""

    def __init__(
        self,
        store: Store,
        family: int,
        select: Select,
        in_full: bool = False,
        progress: Callable[[int], None] = lambda step: None,
    ) -> None:
        """Read texts and whole records only if they are wanted (`in_full`): they cost a look-up each."""
        self._store = store
        self._sizes = _KEY_SIZES[family]
        self._select = select
        self._in_full = in_full
        self._progress = progress
        self.count = 0

    def __iter__(self) -> Iterator[Entry]:
        self.count = 0
        for key, data in ordered(self._rows()):
            code = self._select(layout.listing_state(data))
            if code is None:
                continue
            self.count += 1
            if self._in_full:
                listing = layout.unpack_listing(data)
                yield of_key(key, code, self._store.text(listing), listing)
            else:
                yield of_key(key, code)

    def _rows(self) -> Iterator[Row]:
        after: bytes | None = None
        while page := self._store.raw_page("tarpit", after, PAGE_LIMIT):
            rows = [row for row in page if len(row[0]) in self._sizes]
            yield from rows
            self._progress(len(rows))
            after = page[-1][0]
