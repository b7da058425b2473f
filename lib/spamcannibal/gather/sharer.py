"""Our journal -> another site's gather listener, as far as share.py says: at a bounded rate, from where we were.

    journal past our place -> the newest change of each listing -> Selection -> Courier -> our place

A change counts as told once the listener has answered, so a stop at any moment loses none; those of the last batch may
be told twice, which the tally there counts once. What it refuses is counted, and said once for each reason.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from spamcannibal.errors import Unavailable
from spamcannibal.gather import places
from spamcannibal.gather.line import Report
from spamcannibal.gather.server import Log
from spamcannibal.gather.share import Selection
from spamcannibal.store.stores import Store

STEP = 1000  # changes read at a time
BATCH = 100  # reports told at a time
RETRY_S, RETRY_LIMIT_S = 1.0, 60.0
REASONS_LIMIT = 100


class Messenger(Protocol):
    """Courier, or a rehearsal."""

    def bring(self, reports: Sequence[Report]) -> list[str]: ...


@dataclass(frozen=True)
class Manner:
    """How a site is told: what, and how many reports a second, of which one second's may come at once."""

    selection: Selection
    per_s: float = 10.0


class Sharer:
    """One other site; `place` is the last change that it needs no more."""

    def __init__(self, name: str, store: Store, messenger: Messenger, manner: Manner, log: Log) -> None:
        self.name = name
        self.place = 0
        self.counts: Counter[str] = Counter()
        self._store = store
        self._messenger = messenger
        self._manner = manner
        self._log = log
        self._left, self._filled_s = manner.per_s, time.monotonic()
        self._retry_at, self._retry_s = 0.0, RETRY_S
        self._trouble = ""
        self._refusals: set[str] = set()

    def turn(self) -> bool:
        """Tell what there is to tell, as much as may be at once; True if there may be more to read at once."""
        now_s = time.monotonic()
        if now_s < self._retry_at:
            return False
        self._fill(now_s)
        if self._left < 1.0:
            return False
        changes = self._store.read(self.place, STEP)
        if not changes:
            self._rewind()
            return False
        listings = self._store.records("tarpit", [change.key for change in changes])
        reports: list[Report] = []
        place, most = self.place, min(BATCH, int(self._left))
        for change, listing in zip(changes, listings, strict=True):
            is_newest = listing is not None and listing.seq == change.seq
            report = self._manner.selection.report(change, time.time()) if is_newest else None
            if report is not None and len(reports) >= most:
                break
            place = change.seq
            reports += [report] if report is not None else []
        if reports and not self._brought(reports, now_s):
            return False
        self.place = place
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether the site can't be reached, and is tried again later."""
        return bool(self._trouble)

    def _fill(self, now_s: float) -> None:
        """Let time give us reports to tell."""
        per_s = self._manner.per_s
        self._left = min(max(1.0, per_s), self._left + (now_s - self._filled_s) * per_s)
        self._filled_s = now_s

    def _rewind(self) -> None:
        """Go on at the end of a journal that is shorter than it was: an older copy was put back."""
        end = self._store.last_seq()
        if end < self.place:
            self._log.emit(
                "NOTE", what="share", peer=self.name, why=f"the journal ends at {end}, we were at {self.place}"
            )
            self.place = end

    def _brought(self, reports: Sequence[Report], now_s: float) -> bool:
        """Tell some reports; False if that must be tried again later."""
        try:
            answers = self._messenger.bring(reports)
        except Unavailable as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log.emit("TROUBLE", what="share", peer=self.name, why=self._trouble)
            self._retry_at, self._retry_s = now_s + self._retry_s, min(self._retry_s * 2, RETRY_LIMIT_S)
            return False
        if self._trouble:
            self._log.emit("RECOVERED", what="share", peer=self.name)
        self._trouble, self._retry_s = "", RETRY_S
        self._left -= len(reports)
        for report, answer in zip(reports, answers, strict=True):
            self.counts["told" if answer.startswith("ok") else "refused"] += 1
            if not answer.startswith("ok") and answer not in self._refusals and len(self._refusals) < REASONS_LIMIT:
                self._refusals.add(answer)
                self._log.emit("REFUSED", peer=self.name, src=report.key, colour=report.colour, why=answer)
        return True


def read_places(path: str) -> dict[str, int]:
    """Return how far each site was told; StoreError if the file is damaged: then we must not guess."""
    rows = places.read(path)
    try:
        return {name: int(seq) for name, seq in rows.items()}
    except (ValueError, TypeError) as error:
        raise places.damaged(path, error) from None
