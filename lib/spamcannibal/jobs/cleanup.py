"""cleanup: what is over goes, in this order; a dry run counts the same.

    expired        listings whose time is over, by an unlisting each
    orphans        rows that belong to nothing (store/sweep.py)
    archive        who was never examined within archive_days
    checked        notes of examinations that no job needs any more
    journal        changes older than journal_days that tell nothing about any later list (store/prune.py), unless
                   somebody has yet to hear them
    log            a checkpoint, after which the log files that no recovery needs are removed

The breaker counts what leaves the list: past it no more does, the rest is done all the same.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spamcannibal.breaker import Admission, Breaker
from spamcannibal.jobs.report import Report
from spamcannibal.store import prune, sweep
from spamcannibal.store.stores import Store

SOURCE = "cleanup"
DAY_S = 86_400
STEPS = 6


@dataclass(frozen=True)
class Plan:
    """How a run goes: limits of [jobs], whether it writes, and whom it asks whether to stop.

    `unheard_ms` gives the time of the first change that a reader of the journal has yet to hear, None if all are heard.
    """

    archive_days: int = 30
    journal_days: int = 90
    checked_s: float = DAY_S
    is_dry: bool = False
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time
    progress: Callable[[int], None] = lambda count: None
    unheard_ms: Callable[[float], int | None] = lambda now: None


class Cleanup:
    """One run."""

    def __init__(self, store: Store, breaker: Breaker, plan: Plan) -> None:
        self.report = Report(SOURCE, plan.is_dry)
        self._store = store
        self._breaker = breaker
        self._plan = plan

    def run(self) -> Report:
        """Clear away; each step is done to its end unless told to stop."""
        plan = self._plan
        for step in (self._expire, self._orphans, self._archive, self._checked, self._journal):
            if not plan.stop():
                step(plan.clock())
            plan.progress(1)
        if not plan.is_dry:
            self._store.env.checkpoint()
        plan.progress(1)
        self.report.trips += self._breaker.trips
        self.report.is_stopped = plan.stop()
        return self.report

    def _expire(self, now: float) -> None:
        for key in self._expired(now):
            self.report.counts["expired"] += 1
            self.report.note(key, "expired")

    def _orphans(self, now: float) -> None:
        for page in sweep.orphans(self._store, SOURCE, now, self._plan.is_dry, self._plan.stop):
            self.report.counts["orphans"] += len(page)
            for orphan in page:
                self.report.note(orphan.key, f"orphan of {orphan.store}")

    def _archive(self, now: float) -> None:
        plan = self._plan
        before_ms = _ms(now - plan.archive_days * DAY_S)
        self.report.counts["archive"] += sweep.old_contacts(self._store, before_ms, plan.is_dry, plan.stop)

    def _checked(self, now: float) -> None:
        plan = self._plan
        bounds = _ms(now - plan.checked_s), _ms(now + plan.checked_s)
        self.report.counts["checked"] += sweep.old_checked(self._store, *bounds, plan.is_dry, plan.stop)

    def _journal(self, now: float) -> None:
        plan = self._plan
        before_ms, unheard_ms = _ms(now - plan.journal_days * DAY_S), plan.unheard_ms(now)
        before_ms = before_ms if unheard_ms is None else min(before_ms, unheard_ms)
        self.report.counts["journal"] += prune.prune(self._store, before_ms, plan.is_dry, plan.stop)

    def _expired(self, now: float) -> Iterator[bytes]:
        """Take off the list whose time is over, as far as the breaker allows; yield the keys."""
        for page in sweep.expired(self._store, now, self._plan.stop):
            allowed = []
            for key in page:
                if self._breaker.admit(key, "expiry", now) is Admission.OPEN:
                    allowed.append(key)
            if allowed:
                yield from allowed if self._plan.is_dry else self._store.expire(now, len(allowed))
            if len(allowed) < len(page):
                return


def _ms(time_s: float) -> int:
    return max(0, int(time_s * 1000))
