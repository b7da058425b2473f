"""The texts of listings: asked of the store by key when a TXT query wants one, kept for a while, never waited for long.

Changes that a follower reads bring their text with them, so a new listing's text is here before anybody asks. All else
is read by a thread of its own: the loop that answers queries awaits it for WAIT_S at most. When the store is slow, or
more than PENDING_LIMIT texts are wanted at once, a query gets the zone's own text instead (an empty one here).
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cachetools import TTLCache

from spamcannibal.dnsbl.answer import Pending
from spamcannibal.dnsbl.zone import TEXT_LIMIT
from spamcannibal.errors import SpamCannibalError

CACHE_BYTES = 16 << 20
ENTRY_BYTES = 150  # about what key, text object and table entry take beside the text itself
KEEP_S = 300  # bounds how long a text can be wrong that changed unseen, when the store was restored under us
PENDING_LIMIT = 256
WAIT_S = 0.25


class Texts:
    """A cache in front of `read(key) -> text`, which may block. Shared by the answering loop and the follower."""

    def __init__(self, read: Callable[[bytes], str]) -> None:
        self._read = read
        self._cache: TTLCache[bytes, bytes] = TTLCache(CACHE_BYTES, KEEP_S, getsizeof=_size)
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="texts")
        self._pending: dict[bytes, asyncio.Future[bytes]] = {}
        self.failures = 0

    def get(self, key: bytes) -> bytes | Pending:
        """Return a listing's text, empty if it has none, Pending if it must be fetched."""
        with self._lock:
            text = self._cache.get(key)
        return Pending(key) if text is None else text

    def put(self, key: bytes, text: str) -> None:
        """Take the text of a listing that changed just now."""
        with self._lock:
            self._cache[key] = _clipped(text)

    async def fetch(self, key: bytes) -> bytes:
        """Return a listing's text from the store, empty if that takes too long."""
        future = self._pending.get(key)
        if future is None:
            if len(self._pending) >= PENDING_LIMIT:
                return b""
            future = asyncio.get_running_loop().run_in_executor(self._reader, self._load, key)
            self._pending[key] = future
            future.add_done_callback(lambda _: self._pending.pop(key, None))
        done, _ = await asyncio.wait((future,), timeout=WAIT_S)
        return future.result() if done else b""

    def close(self) -> None:
        """Stop reading; what is pending is not waited for."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _load(self, key: bytes) -> bytes:
        try:
            text = _clipped(self._read(key))
        except SpamCannibalError:
            self.failures += 1
            return b""
        with self._lock:
            # A change that came while we read is newer than what we read.
            return self._cache.setdefault(key, text)


def _size(text: bytes) -> int:
    return len(text) + ENTRY_BYTES


def _clipped(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:TEXT_LIMIT]
