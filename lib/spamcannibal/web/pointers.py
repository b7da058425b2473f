"""Reverse DNS of many addresses at once: bounded in threads and time, remembered; what comes late is unknown."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from cachetools import TTLCache

from spamcannibal.web.asked import Names
from spamcannibal.web.turn import away

WORKERS = 32
WAIT_S = 4.0
SIZE = 10_000
KNOWN_S = 3600.0

Found = dict[bytes, tuple[str, ...] | None]


class Pointers:
    """Asks a source of names for one page at a time; whoever comes meanwhile gets what is remembered."""

    def __init__(self, source: Names, clock: Callable[[], float], wait_s: float = WAIT_S) -> None:
        self._source, self._wait_s = source, wait_s
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._known: TTLCache[bytes, tuple[str, ...]] = TTLCache(SIZE, KNOWN_S, timer=clock)

    def names(self, addrs: Iterable[bytes]) -> Found:
        """Return the names of each address, None where they are unknown."""
        with self._lock:
            found: Found = {addr: self._known.get(addr) for addr in addrs}
        missing = [addr for addr, names in found.items() if names is None]
        if missing and self._turn.acquire(blocking=False):
            try:
                told = self._ask(missing)
            finally:
                self._turn.release()
            with self._lock:
                self._known.update(told)
            found.update(told)
        return found

    def _ask(self, addrs: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="names")
        try:
            asked = {pool.submit(self._source.pointers, addr): addr for addr in addrs}
            with away():
                done, _ = wait(asked, self._wait_s)
            answers = ((asked[each], each.result()) for each in done if each.exception() is None)
            return {addr: names for addr, names in answers if names is not None}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
