"""blpreen: ask again about what other lists told us; refresh what they still say, remove what none of them says now.

An entry is looked at if it knocked within recheck_contact_s, ends within recheck_due_s, or all are wanted. Only hearsay
is: what was proven here stays. What the never-list forbids by now is removed without a question. What becomes of the
others says recheck.py. A page of entries is one transaction, which leaves alone what somebody else has changed since.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from spamcannibal.breaker import Admission, Breaker
from spamcannibal.errors import Unavailable
from spamcannibal.guard import is_forbidden
from spamcannibal.jobs.asker import Asker
from spamcannibal.jobs.recheck import Fate, Heard, Outlook, address_of, needs_pointers, rejudge, zones_to_ask
from spamcannibal.jobs.report import Report
from spamcannibal.jobs.rules import Finding, Rules
from spamcannibal.store import examine
from spamcannibal.store.examine import Entry, Refresh, Removal
from spamcannibal.store.stores import Hearsay, NewListing, Store

PAGE_LIMIT = 1000
SOURCE = "blpreen"


@dataclass(frozen=True)
class Plan:
    """How a run goes: limits of [jobs], whether it writes, and whom it asks whether to stop."""

    contact_s: float = 7 * 86_400
    due_s: float = 86_400
    is_all: bool = False
    is_dry: bool = False
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time
    progress: Callable[[int], None] = lambda count: None


class BlPreen:
    """One run."""

    def __init__(self, store: Store, rules: Rules, asker: Asker | None, breaker: Breaker, plan: Plan) -> None:
        """`asker` may be None if the rules need no network; the breaker is of removals."""
        self.report = Report(SOURCE, plan.is_dry)
        self._store = store
        self._rules = rules
        self._asker = asker
        self._breaker = breaker
        self._plan = plan

    def run(self) -> Report:
        """Go through the hearsay; all that was decided is written when this returns."""
        try:
            for page in self._pages():
                self._preen(page)
        except Unavailable as error:
            self.report.unavailable = str(error)
        self.report.trips += self._breaker.trips
        self.report.is_stopped = self._plan.stop()
        return self.report

    def _pages(self) -> Iterator[list[Entry]]:
        after: bytes | None = None
        while not self._plan.stop():
            page = examine.hearsay(self._store, after, PAGE_LIMIT)
            if not page:
                return
            after = page[-1].key
            yield page

    def _preen(self, page: list[Entry]) -> None:
        wanted = [entry for entry in page if self._is_wanted(entry)]
        self.report.counts["not_due"] += len(page) - len(wanted)
        forbidden = {entry.key for entry in wanted if is_forbidden(self._store.guard, entry.key)}
        asked = [entry for entry in wanted if entry.key not in forbidden]
        heard = self._heard(asked)
        if self._plan.stop():  # what was not asked any more looks like an answer that did not come
            return
        refreshed: list[Refresh] = []
        removed: list[Removal] = []
        for entry in wanted:
            if entry.key in forbidden:
                outlook = Outlook(Fate.REMOVE, note="the never-list forbids it")
            else:
                outlook = self._outlook(entry, heard)
            if outlook.fate is Fate.REMOVE and self._may_remove(entry):
                removed.append(Removal(entry.listing.seq, entry.key, outlook.note))
            elif outlook.fate is Fate.REFRESH and outlook.finding is not None:
                refreshed.append(Refresh(entry.listing.seq, self._refreshed(entry, outlook.finding)))
            else:
                self.report.counts["held_back" if outlook.fate is Fate.REMOVE else "kept"] += 1
        self._write(refreshed, removed)
        self._plan.progress(len(page))

    def _is_wanted(self, entry: Entry) -> bool:
        now_ms = self._plan.clock() * 1000
        is_recent = entry.listing.contact_ms >= now_ms - self._plan.contact_s * 1000
        is_due = 0 < entry.listing.expiry_ms <= now_ms + self._plan.due_s * 1000
        return self._plan.is_all or is_recent or is_due

    def _heard(self, entries: Sequence[Entry]) -> dict[bytes, Heard]:
        """Ask what decides about each entry; by key."""
        if self._asker is None:
            return {}
        found = {entry.key: address_of(entry.key, entry.contrib) for entry in entries}
        addrs = {key: addr for key, addr in found.items() if addr is not None}
        entries = [entry for entry in entries if entry.key in addrs]
        reverse = dict.fromkeys(addrs[each.key] for each in entries if needs_pointers(self._rules, each.contrib))
        pointers = self._asker.pointers(list(reverse)) if reverse else {}
        heard = {key: Heard(pointers.get(addr)) for key, addr in addrs.items()}
        groups: dict[tuple[str, ...], list[bytes]] = defaultdict(list)
        for entry in entries:
            groups[zones_to_ask(self._rules, addrs[entry.key], entry.contrib)].append(entry.key)
        for zones, keys in groups.items():
            answers = self._asker.verdicts(list(dict.fromkeys(addrs[key] for key in keys)), zones) if zones else {}
            for key in keys:
                verdicts = {verdict.zone: verdict for verdict in answers.get(addrs[key], ())}
                heard[key] = Heard(heard[key].pointers, verdicts)
        return heard

    def _outlook(self, entry: Entry, heard: dict[bytes, Heard]) -> Outlook:
        addr = address_of(entry.key, entry.contrib)
        if addr is None:
            return Outlook(Fate.KEEP, note="a network, without the address that it was listed for")
        return rejudge(self._rules, addr, entry.contrib, heard.get(entry.key, Heard()))

    def _may_remove(self, entry: Entry) -> bool:
        zone = entry.contrib.causes[0].zone if entry.contrib.causes else ""
        return self._breaker.admit(entry.key, zone, self._plan.clock()) is Admission.OPEN

    def _refreshed(self, entry: Entry, finding: Finding) -> NewListing:
        """Return an entry as it is found now; what operators set of it stays."""
        expiry_ms = int((self._plan.clock() + finding.expires_s) * 1000)
        return NewListing(
            entry.key,
            finding.code,
            finding.text,
            f"{SOURCE}:{finding.zone}",
            entry.listing.mode,
            expiry_ms,
            contrib=Hearsay(finding.causes),
            flags=entry.listing.flags,
        )

    def _write(self, refreshed: list[Refresh], removed: list[Removal]) -> None:
        done = {each.item.key: True for each in refreshed} | {each.key: True for each in removed}
        if not self._plan.is_dry and done:
            done = dict(examine.recheck(self._store, refreshed, removed, SOURCE, self._plan.clock()))
        for removal in removed:
            self.report.counts["removed" if done[removal.key] else "changed_meanwhile"] += 1
            if done[removal.key]:
                self.report.note(removal.key, "removed", text=removal.reason)
        for refresh in refreshed:
            self.report.counts["refreshed" if done[refresh.item.key] else "changed_meanwhile"] += 1
