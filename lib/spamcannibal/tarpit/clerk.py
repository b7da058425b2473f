"""The clerk of the tarpit: once a second it takes what the packet loops noted and puts it into the store and the log.

Its chores run in one thread of its own (chores.py), so that a slow or broken store delays notes and nothing else. Notes
that could not be written wait, as many as `sightings` allows; what is shed is counted, as everywhere.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spamcannibal._core import NfqLoop, Trap
from spamcannibal.events import EventLog
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store
from spamcannibal.tarpit.keep import save_slots
from spamcannibal.tarpit.notes import (
    Event,
    Sighting,
    event_lines,
    flatten,
    growth,
    merge_sightings,
    sum_counters,
)

BATCH = 1000  # sightings a transaction
EXPIRE_LIMIT = 1000
SAVE_S, SAVED_A_SECOND = 30.0, 3000


class Clerk:
    """Notes of the loops `loops` (queue number -> loop) on their way to the store."""

    def __init__(
        self, loops: Mapping[int, NfqLoop], trap: Trap, store: Store, settings: Settings, log: EventLog
    ) -> None:  # fmt: skip
        self.loops = loops
        self.trap = trap
        self.store = store
        self.folder = Path(settings.store.path)
        self.limit = settings.tarpit.sightings
        self.log = log
        self.shed = 0
        self.listed: list[Sighting] = []
        self.unlisted: list[Sighting] = []
        self.witness: Callable[[Sequence[Sighting], Sequence[Event]], None] = lambda listed, events: None
        self._told: dict[str, int] = {}
        self._saved = 0.0

    def write_contacts(self) -> None:
        """Drain the loops, log their events, write the sightings; what the store does not take now waits."""
        drained = [loop.drain() for loop in self.loops.values()]
        for listed, _, events in drained:
            for verb, fields in event_lines(events):
                self.log.emit(verb, **fields)
            self.witness(listed, events)
        self.listed = self._bounded([self.listed, *(listed for listed, _, _ in drained)])
        self.unlisted = self._bounded([self.unlisted, *(unlisted for _, unlisted, _ in drained)])
        while self.listed or self.unlisted:
            listed, unlisted = self.listed[:BATCH], self.unlisted[: max(0, BATCH - len(self.listed))]
            self.store.contacts(listed, unlisted)
            del self.listed[: len(listed)], self.unlisted[: len(unlisted)]

    def _bounded(self, parts: Sequence[Sequence[Sighting]]) -> list[Sighting]:
        merged = merge_sightings(part for part in parts if part)
        self.shed += max(0, len(merged) - self.limit)
        return merged[: self.limit]

    def expire(self) -> None:
        """Take listings off that have had their time."""
        while len(self.store.expire(time.time(), EXPIRE_LIMIT)) == EXPIRE_LIMIT:
            pass

    def save_slots(self) -> None:
        """Write down who is held, for the next start: every second, or more seldom the more there are."""
        now = time.monotonic()
        if now - self._saved < min(SAVE_S, self.trap.stats()["held"] / SAVED_A_SECOND):
            return
        self._saved = now
        save_slots(self.folder, self.trap.dump())

    def counters(self) -> dict[str, int]:
        """Return all counters since the start: loops, kernel queues, trap and our own."""
        total = sum_counters(loop.counters() for loop in self.loops.values())
        total["contacts_shed"] = self.shed
        total["log_lost"] = self.log.lost
        return {**total, **flatten(self.trap.stats())}

    def tell_stats(self) -> None:
        """Log what grew since the last time, and how many are held now."""
        now = self.counters()
        gauges = {"held": now.pop("held")}
        self.log.emit("STATS", **gauges, **growth(now, self._told))
        self._told = now
