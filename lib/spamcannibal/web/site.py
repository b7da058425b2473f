"""What the pages get from whoever serves them: settings, the store, the clock, mail, names."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spamcannibal.colours import Kind
from spamcannibal.config import DEFAULT_PATH
from spamcannibal.events import EventLog
from spamcannibal.remote.lists import RemoteList
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store
from spamcannibal.web.asked import Asked, Names


@dataclass(eq=False)
class Site:
    """One installation. `opened` gives the store, `send` takes (sender, recipients, mail) or raises Unavailable.

    `contacts` gives the abuse contacts of an address (None: not known now), `lists` what is known of remote lists by
    zone; `asked` is how pages ask `names`, `config` the settings' file. Whoever waits for `send`, `pause` or the like
    does so turn.away().
    """

    settings: Settings
    opened: Callable[[], Store]
    zones: Mapping[str, Kind]
    names: Names
    send: Callable[[str, Sequence[str], bytes], None]
    log: EventLog
    clock: Callable[[], float] = time.time
    token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    pause: Callable[[float], None] = time.sleep
    contacts: Callable[[bytes], Sequence[str] | None] = lambda addr: None
    lists: Callable[[], Mapping[str, RemoteList]] = dict
    config: Path = DEFAULT_PATH
    is_over: bool = False
    _store: Store | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.asked = Asked(self.names, self.clock, max(1, self.settings.web.threads // 2))

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
