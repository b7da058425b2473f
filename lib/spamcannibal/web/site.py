"""What the pages get from whoever serves them: settings, the store, the clock, mail, names."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from spamcannibal.dnsbl.colours import Kind
from spamcannibal.events import EventLog
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store


class Names(Protocol):
    """The DNS as pages ask it; None means unknown: no answer in time, or a failure."""

    def pointers(self, addr: bytes) -> tuple[str, ...] | None:
        """Return the names that reverse DNS gives an address."""

    def addresses(self, name: str) -> tuple[bytes, ...] | None:
        """Return the addresses of a name."""

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return the texts of a name's TXT records."""


@dataclass(eq=False)
class Site:
    """One installation. `opened` gives the store, `send` takes (sender, recipients, mail) or raises Unavailable."""

    settings: Settings
    opened: Callable[[], Store]
    zones: Mapping[str, Kind]
    names: Names
    send: Callable[[str, Sequence[str], bytes], None]
    log: EventLog
    clock: Callable[[], float] = time.time
    token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    is_over: bool = False
    _store: Store | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def store(self) -> Store:
        """The store, opened by the first who asks; StoreError or Unavailable while that fails."""
        with self._lock:
            if self._store is None:
                self._store = self.opened()
            return self._store

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None
