"""The DNS, and RDAP, as pages may use them: only so many ask at once, and answers are remembered for a minute.

A question may take seconds. If each visitor could make a thread wait so long, a few of them would stop all pages; so
whoever finds all places taken gets None, unknown, at once.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from cachetools import TTLCache

from spamcannibal.removal import NAMES_LIMIT
from spamcannibal.web.turn import away

KNOWN_S = 60.0
SIZE = 10_000
MISSING = object()


class Names(Protocol):
    """The DNS as pages ask it; None means unknown: no answer in time, or a failure."""

    def pointers(self, addr: bytes) -> tuple[str, ...] | None:
        """Return the names that reverse DNS gives an address."""

    def addresses(self, name: str) -> tuple[bytes, ...] | None:
        """Return the addresses of a name."""

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return the texts of a name's TXT records."""


class Asked:
    """Asks a source for `at_once` visitors at a time."""

    def __init__(self, source: Names, clock: Callable[[], float], at_once: int = 2) -> None:
        self._source = source
        self._places = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._known: TTLCache[tuple[str, bytes], Any] = TTLCache(SIZE, KNOWN_S, timer=clock)

    def pointers(self, addr: bytes) -> tuple[str, ...] | None:
        """Return the names that reverse DNS gives an address."""
        return self.remembered(("ptr", addr), lambda: self._source.pointers(addr))

    def confirmed(self, addr: bytes) -> tuple[str, ...] | None:
        """Return those of its names that lead back to an address; None if there is none, but one that might."""
        return self.remembered(("fcr", addr), lambda: self._confirmed(addr))

    def has_text(self, names: Iterable[str], is_it: Callable[[tuple[str, ...]], bool]) -> str | None:
        """Return the first name whose TXT records are what is looked for, "" if none is, None if we can't ask now."""
        with self._place() as is_mine:
            if not is_mine:
                return None
            return next((name for name in names if is_it(self._source.texts(name) or ())), "")

    def remembered(self, what: tuple[str, bytes], ask: Callable[[], Iterable[str] | None]) -> tuple[str, ...] | None:
        """Return what is asked for, from memory if it was asked within a minute; None if it can't be asked now."""
        with self._lock:
            known = self._known.get(what, MISSING)
        if known is not MISSING:
            return cast("tuple[str, ...] | None", known)
        with self._place() as is_mine:
            if not is_mine:
                return None
            found = ask()
        answer = None if found is None else tuple(found)
        with self._lock:
            self._known[what] = answer
        return answer

    def _confirmed(self, addr: bytes) -> tuple[str, ...] | None:
        names = self._source.pointers(addr)
        if not names:
            return names
        found = {name: self._source.addresses(name) for name in names[:NAMES_LIMIT]}
        good = tuple(name for name, addrs in found.items() if addrs and addr in addrs)
        return None if not good and None in found.values() else good

    @contextmanager
    def _place(self) -> Iterator[bool]:
        is_mine = self._places.acquire(blocking=False)
        try:
            with away():
                yield is_mine
        finally:
            if is_mine:
                self._places.release()
