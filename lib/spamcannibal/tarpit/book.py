"""The activity report's share of the tarpit: what the ledger adds up goes to the store once a minute, and into a small
file every second for who wants to look on (activity/now.py).

    book.note(listed, events)     what the clerk drained
    book.turn()                   once a second; once a minute it writes, and counts what others noted (catchup.py)
    book.end()                    the last time
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from spamcannibal._core import AddrTable
from spamcannibal.activity.figures import Hold
from spamcannibal.activity.now import pack_now
from spamcannibal.errors import StoreError
from spamcannibal.settings import Settings
from spamcannibal.store.activity import Activity, keep_of
from spamcannibal.store.catchup import catch_up
from spamcannibal.store.stores import Store
from spamcannibal.tarpit.keep import save_now
from spamcannibal.tarpit.ledger import Ledger, before, holds_packets
from spamcannibal.tarpit.notes import Event, Sighting


class Book:
    """The ledger with its clock, its table of who is listed, and where it is written."""

    def __init__(
        self, store: Store, table: AddrTable, settings: Callable[[], Settings], counters: Callable[[], dict[str, int]]
    ) -> None:  # fmt: skip
        now = settings()
        self._store = store
        self._activity = Activity(store.env, keep_of(now.activity))
        self._table = table
        self._settings = settings
        self._counters = counters
        held: list[Hold] = []
        with suppress(StoreError):  # figures are no reason not to start; `db check` tells what is wrong with them
            held = self._activity.held()
        holds = before(held, int(now.activity.hold_gap_s * 1000), now.tarpit.sightings)
        self._ledger = Ledger(counters(), holds, int(time.time() * 1000))

    def note(self, listed: Sequence[Sighting], events: Sequence[Event]) -> None:
        """Take what the loops noted."""
        mode, lookup = self._settings().tarpit.mode, self._table.lookup
        self._ledger.note(listed, events, lambda addr: holds_packets(lookup(addr), mode))

    def turn(self) -> None:
        """Sample the counters, write what is due."""
        now = time.time()
        self._ledger.sample(self._counters(), int(now * 1000))
        if self._ledger.is_due(now):
            self._write(now)
            catch_up(self._store, self._activity, now)
        save_now(Path(self._store.env.path), pack_now(self._ledger.now(int(now * 1000))))

    def end(self) -> None:
        """Write what is left."""
        now = time.time()
        self._ledger.sample(self._counters(), int(now * 1000))
        self._write(now)

    def _write(self, now: float) -> None:
        self._activity.add([self._ledger.entry()], now, self._ledger.holdings())
        self._ledger.settle(now)
