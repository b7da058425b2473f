"""Decisions into the store: a thread that writes whatever has come since its last transaction, in one transaction.

    writer.put(decision)        from any thread; False: there is no room
    writer.start() ... writer.stop()

While one transaction is being made durable, the next decisions gather for the following one: a single report is written
at once, and thousands a second are written hundreds at a time. A store that fails costs nothing but time: the decisions
wait, at most QUEUE_LIMIT of them. What is not written after all (the never-list, another source's listing) is told to
`undone`.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import islice

from spamcannibal.colours import COLOURS
from spamcannibal.errors import SpamCannibalError
from spamcannibal.gather.decision import Decision
from spamcannibal.gather.server import Log
from spamcannibal.record import HEARSAY_CODE, PROVEN_CODE, PUBLISHED
from spamcannibal.store.batch import NewListing
from spamcannibal.store.reports import PEER, SOURCE, Done, list_reported
from spamcannibal.store.stores import BATCH_LIMIT, Store

QUEUE_LIMIT = 10_000
RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
EXPIRE_EVERY_S = 60.0
JOIN_S = 30.0
# After each call of Berkeley DB this thread would have the interpreter again before the serving one is awake. At 5,000
# reports a second on one core, in seven pairs: 99 % answered within 17 ms instead of 19, the slowest after 20, not 23.
BREATH_S = 50e-6


class Writer(threading.Thread):
    """The one writer of a gather listener."""

    def __init__(self, store: Store, log: Log, undone: Callable[[bytes], None]) -> None:
        super().__init__(name="writer", daemon=True)
        self.counts: Counter[str] = Counter()
        self._store = store
        self._log = log
        self._undone = undone
        self._queue: deque[Decision] = deque()
        self._wake = threading.Condition()
        self._is_stopping = False
        self._failures = 0
        self._expired_s = time.monotonic()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, decision: Decision) -> bool:
        """Have a decision written soon; False if too many wait already."""
        with self._wake:
            if len(self._queue) >= QUEUE_LIMIT:
                return False
            self._queue.append(decision)
            if len(self._queue) == 1:  # else it has something to do already
                self._wake.notify()
        return True

    def run(self) -> None:
        while True:
            batch = self._next()
            if batch:
                self._try(batch)
            if self._is_stopping and (not self._queue or self._failures):
                return
            if time.monotonic() - self._expired_s >= EXPIRE_EVERY_S:
                self._expire()

    def stop(self) -> bool:
        """Write what waits, unless the store fails, and end; False if that takes too long."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self.ident is not None:
            self.join(JOIN_S)
        return not self.is_alive()

    def _next(self) -> list[Decision]:
        """Wait for decisions, and return up to a transaction's worth; they stay in the queue until written."""
        with self._wake:
            if self._failures:
                self._wake.wait(min(RETRY_S * 2.0**self._failures, LONGEST_RETRY_S))
            elif not self._queue and not self._is_stopping:
                self._wake.wait(EXPIRE_EVERY_S)
            return list(islice(self._queue, BATCH_LIMIT))

    def _try(self, batch: Sequence[Decision]) -> None:
        try:
            done = list_reported(self._store, list(map(new_listing, batch)), time.time(), _breathe)
        except SpamCannibalError as error:
            self._fail("write", error)
            return
        if self._failures:
            self._log.emit("RECOVERED", what="write", failures=self._failures)
            self._failures = 0
        for decision, what in zip(batch, done, strict=True):
            self._queue.popleft()
            self.counts[what.value] += 1
            if what is Done.LISTED:
                self._log.emit("LISTED", src=decision.key, colour=decision.colour, by=decision.by, why=decision.why)
            else:
                self._undone(decision.key)

    def _expire(self) -> None:
        """Take off what is over: no tarpit may run that would."""
        self._expired_s = time.monotonic()
        try:
            while keys := self._store.expire(time.time()):
                self.counts["expired"] += len(keys)
        except SpamCannibalError as error:
            self._log.emit("TROUBLE", what="expiry", why=str(error))

    def _fail(self, what: str, error: SpamCannibalError) -> None:
        self._failures = min(self._failures + 1, 16)
        self.counts["failures"] += 1
        self._log.emit("TROUBLE", what=what, why=str(error), waiting=len(self._queue))


def _breathe() -> None:
    time.sleep(BREATH_S)


def new_listing(decision: Decision) -> NewListing:
    """Return what a decision lists; what needs a peer's word is not published, and never as proven here."""
    (code, flags), source = COLOURS[decision.colour], SOURCE + decision.by
    if decision.peer:
        source, flags = PEER + decision.peer, flags & ~PUBLISHED
        code = HEARSAY_CODE if code == PROVEN_CODE else code
    return NewListing(
        decision.key,
        code=code,
        text=decision.text,
        source=source,
        expiry_ms=int(decision.until * 1000),
        evidence=decision.grounds.encode("ascii", "replace"),
        flags=flags,
    )
