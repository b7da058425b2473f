"""The journal as server-sent events (WHATWG HTML, section 9.2): what to send when. Pure; and places for who waits.

    feed = Feed(after, now, Pace(300, 15))
    feed.opening()                   bytes to send first
    feed.turn(changes, now)          bytes to send now, perhaps none: changes past feed.seq in order
    feed.is_over(now)

An event's id is the number of its change, so a client that comes back with Last-Event-ID misses nothing. Where the
journal does not hold what a client asks for, an event `reset` says so: what it knows of the list is not the list.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from spamcannibal.record import Change
from spamcannibal.web.api_views import change_view

RETRY_MS = 2000


class Pace(NamedTuple):
    length_s: float
    heartbeat_s: float


class Reset(msgspec.Struct, frozen=True):
    """Changes past `after` and before `next` are not in the journal any more."""

    after: int
    next: int


class Feed:
    """One stream; `seq` is the last change that was sent."""

    def __init__(self, after: int, now: float, pace: Pace) -> None:
        self.seq = after
        self._end_s = now + pace.length_s
        self._heartbeat_s = pace.heartbeat_s
        self._sent_s = now

    def opening(self) -> bytes:
        return f"retry: {RETRY_MS}\n: changes past {self.seq}\n\n".encode()

    def turn(self, changes: Sequence[Change], last: int, now: float) -> bytes:
        """Return what to send, given the changes past `seq`, and the journal's last number."""
        parts = []
        if last < self.seq:  # the store is an older one now
            parts.append(self._reset(last))
        for change in changes:
            if change.seq != self.seq + 1:
                parts.append(self._reset(change.seq - 1))
            self.seq = change.seq
            data = msgspec.json.encode(change_view(change))
            parts.append(b"id: %d\nevent: %s\ndata: %s\n\n" % (change.seq, change.action.name.lower().encode(), data))
        if not parts and now - self._sent_s >= self._heartbeat_s:
            parts.append(b": still here\n\n")
        if parts:
            self._sent_s = now
        return b"".join(parts)

    def is_over(self, now: float) -> bool:
        return now >= self._end_s

    def _reset(self, seq: int) -> bytes:
        gap = msgspec.json.encode(Reset(self.seq, seq + 1))
        self.seq = seq
        return b"id: %d\nevent: reset\ndata: %s\n\n" % (seq, gap)


class Places:
    """So many may wait at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> bool:
        """Take a place; False if there is none. Who took one gives it back."""
        with self._lock:
            if self.taken >= self._limit:
                return False
            self.taken += 1
            return True

    def give(self) -> None:
        with self._lock:
            self.taken -= 1
