"""Answers kept as long as they say: a bounded store of (key, value, time to live). Pure: the time is an argument.

The least recently used goes first when it is full; one whose time is over counts as absent.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """At most `entries` values, each at most `limit_s` seconds; 0 entries keep nothing."""

    def __init__(self, entries: int, limit_s: float) -> None:
        self._limit_s = limit_s
        self._entries: LRUCache[Hashable, tuple[float, Value]] | None = LRUCache(entries) if entries else None

    def __len__(self) -> int:
        return len(self._entries) if self._entries is not None else 0

    def get(self, key: Hashable, now: float) -> Value | None:
        """Return the value of a key, None if there is none or its time is over."""
        if self._entries is None:
            return None
        found = self._entries.get(key)
        if found is None:
            return None
        if found[0] <= now:
            del self._entries[key]
            return None
        return found[1]

    def put(self, key: Hashable, value: Value, ttl_s: float, now: float) -> None:
        """Keep a value; one that lives no second is not kept."""
        if self._entries is not None and ttl_s > 0:
            self._entries[key] = now + min(ttl_s, self._limit_s), value
