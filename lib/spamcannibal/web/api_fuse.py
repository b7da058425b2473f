"""Breakers of the API: one Breaker for all its writers in this process, fed by the journal with what all others do.

    with fuse.turn(store, now):
        fuse.admit(key, source, now)        raises Problem `breaker` past a cap
        fuse.made(seq)                      so that it is not counted again when the journal tells it

Writes take turns, so none slips past a cap beside another.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spamcannibal.breaker import Admission, Breaker, Caps
from spamcannibal.record import Change
from spamcannibal.store.recent import changes_since
from spamcannibal.store.stores import Store
from spamcannibal.web.api_problem import Problem

HOUR_MS = 3_600_000
READ_LIMIT = 1000
CHANGES_LIMIT = 50_000
RETRY_S = "600"


class Fuse:
    """Caps of an hour; `counts` says which changes of the journal they are about."""

    def __init__(self, caps: Caps, what: str, counts: Callable[[Change], bool]) -> None:
        self._breaker = Breaker(caps, what)
        self._counts = counts
        self._lock = threading.Lock()
        self._seq = -1
        self._own: set[int] = set()

    @contextmanager
    def turn(self, store: Store, now: float) -> Iterator[None]:
        """Hold the only turn, up to date with the journal."""
        with self._lock:
            self._catch_up(store, now)
            yield

    def admit(self, key: bytes, source: str, now: float) -> None:
        """Count a change; Problem if it is one too many."""
        self._breaker.trips.clear()
        if self._breaker.admit(key, source, now) is not Admission.OPEN:
            # A cap is told once by the breaker itself, but each caller is to hear why.
            said = next(
                iter(self._breaker.trips), f"breaker: {source}, its network or all together are at a cap of [guard]"
            )
            raise Problem("breaker", said, {"Retry-After": RETRY_S})

    def made(self, seq: int) -> None:
        self._own.add(seq)

    def _catch_up(self, store: Store, now: float) -> None:
        if self._seq < 0 or store.last_seq() - self._seq > CHANGES_LIMIT or self._seq > store.last_seq():
            self._seq = store.last_seq()
            self._own.clear()
            recent = list(changes_since(store, int(now * 1000) - HOUR_MS, CHANGES_LIMIT))
            self._note(change for change in reversed(recent) if change.seq <= self._seq)
            return
        while changes := store.read(self._seq, READ_LIMIT):
            self._note(iter(changes))
            self._seq = changes[-1].seq

    def _note(self, changes: Iterator[Change]) -> None:
        for change in changes:
            if change.seq in self._own:
                self._own.discard(change.seq)
            elif self._counts(change):
                self._breaker.note(change.time_ms / 1000, change.key, change.source)
