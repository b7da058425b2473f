"""blcheck: examine every archived address; list whom the rules take, forget who passed, keep who is unsure.

    archive page -> already listed, never-list, freshly checked: forgotten
                 -> rules before the remote lists (rules.py) -> the remote lists
                 -> settled by hundreds, a transaction each (store/examine.py)

| outcome | the address | remembered |
|---|---|---|
| listed | leaves the archive with the listing | hits of the zones |
| passed | leaves the archive | in `checked`, for fresh_s |
| unsure | stays for the next run, unknown_runs times; then it passes with a note | in `checked` |
| held by a breaker | stays | |

Of IPv6 the unit is what would be listed: of each network the first address is asked about and decides for all; the
others stay for the next run, which finds them listed or checked. Killed or stopped at any moment, whatever is not
settled is still in the archive. A store's page is read when the asker takes the next address, so memory is bounded by
a page, the asker's window and what is not settled yet.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from spamcannibal.addr import listing_key
from spamcannibal.breaker import Admission, Breaker
from spamcannibal.errors import Unavailable
from spamcannibal.guard import is_forbidden
from spamcannibal.jobs.asker import Asker
from spamcannibal.jobs.report import UNSURE, Report
from spamcannibal.jobs.rules import Answer, Finding, Judgement, Rules, by_block, early, late
from spamcannibal.record import SHADOW, Checked
from spamcannibal.remote.verdict import Pointers, Verdict
from spamcannibal.store import examine
from spamcannibal.store.examine import Settlement
from spamcannibal.store.stores import Hearsay, NewListing, Store

PAGE_LIMIT = 1000
SETTLE_LIMIT = 500


@dataclass(frozen=True)
class Plan:
    """How a run goes: limits of [jobs] and [guard], whether it writes, and whom it asks whether to stop."""

    v6_prefix: int = 64
    unknown_runs: int = 5
    fresh_s: float = 86_400
    is_dry: bool = False
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time
    progress: Callable[[int], None] = lambda count: None


class _Candidate(NamedTuple):
    """An address on its way: the key that would be listed, how often in a row it was unsure, what is known so far."""

    addr: bytes
    key: bytes
    unknown: int
    before: Judgement


class BlCheck:
    """One run."""

    def __init__(self, store: Store, rules: Rules, asker: Asker | None, breaker: Breaker, plan: Plan) -> None:
        """`asker` may be None if the rules need no network."""
        self.report = Report("blcheck", plan.is_dry)
        self._store = store
        self._rules = rules
        self._asker = asker
        self._breaker = breaker
        self._plan = plan
        self._open: dict[bytes, _Candidate] = {}
        self._last_key = b""
        self._is_shut = False
        self._settled = Settlement()

    def run(self) -> Report:
        """Examine the archive; all that was decided is written when this returns."""
        try:
            for addr, verdicts in self._asked():
                candidate = self._open.pop(addr)
                self._decide(candidate, late(self._rules, addr, candidate.before, verdicts))
                if self._is_shut:
                    break
        except Unavailable as error:
            self.report.unavailable = str(error)
        finally:
            self._settle()
        self.report.trips += self._breaker.trips
        self.report.is_stopped = self._plan.stop()
        return self.report

    def _asked(self) -> Iterator[tuple[bytes, list[Verdict]]]:
        """Yield addresses with what the remote lists say of them."""
        pages = self._pages()
        if self._asker is None or not self._rules.lists:
            yield from ((addr, []) for addr in chain.from_iterable(map(self._examined, pages)))
        elif self._rules.needs_pointers:
            for page in pages:
                yield from self._asker.stream(self._examined(page))
        else:
            yield from self._asker.stream(chain.from_iterable(map(self._examined, pages)))

    def _pages(self) -> Iterator[list[bytes]]:
        after: bytes | None = None
        while not self._is_shut and not self._plan.stop():
            page = [key for key, _ in self._store.raw_page("archive", after, PAGE_LIMIT)]
            if not page:
                return
            after = page[-1]
            yield page

    def _examined(self, page: list[bytes]) -> list[bytes]:
        """Judge a page by what needs no remote list; return whom to ask them about."""
        candidates = self._sorted_out(page)
        pointers: dict[bytes, Pointers] = {}
        if self._asker is not None and self._rules.needs_pointers:
            rest = [each.addr for each in candidates if by_block(self._rules, each.addr) is None]
            pointers = self._asker.pointers(rest)
        asked = []
        for candidate in candidates:
            before = early(self._rules, candidate.addr, pointers.get(candidate.addr))
            if before.answer is Answer.LIST:
                self._decide(candidate, before)
                continue
            self._open[candidate.addr] = candidate._replace(before=before)
            asked.append(candidate.addr)
        self._plan.progress(len(page))
        return asked

    def _sorted_out(self, page: list[bytes]) -> list[_Candidate]:
        """Forget who needs no examination; return the others."""
        keys = [listing_key(addr, self._plan.v6_prefix) for addr in page]
        candidates = []
        for addr, key, known in zip(page, keys, examine.known(self._store, page, keys), strict=True):
            is_first, self._last_key = key != self._last_key, key
            if known.is_listed:
                self._forget(addr, "listed_already")
            elif is_forbidden(self._store.guard, key):
                self._settled.never += 1
                self._forget(addr, "never_listed")
            elif known.checked is not None and self._is_fresh(known.checked):
                self._forget(addr, "fresh")
            elif not is_first:
                self.report.counts["next_run"] += 1
            else:
                unknown = known.checked.unknown if known.checked is not None else 0
                candidates.append(_Candidate(addr, key, unknown, Judgement(Answer.PASS)))
        return candidates

    def _is_fresh(self, checked: Checked) -> bool:
        """Tell whether a note is of one who passed lately; one of the future is of a clock that was wrong."""
        return not checked.unknown and 0 <= self._now_ms() - checked.checked_ms <= self._plan.fresh_s * 1000

    def _decide(self, candidate: _Candidate, judgement: Judgement) -> None:
        """Take an address to where its judgement sends it."""
        if judgement.answer is Answer.LIST and judgement.finding is not None:
            self._list(candidate, judgement.finding)
        elif judgement.answer is Answer.PASS:
            self._settled.passed += 1
            self._pass(candidate, "passed")
        elif self._plan.stop():
            self.report.counts["next_run"] += 1
        else:
            self._doubt(candidate, judgement)

    def _doubt(self, candidate: _Candidate, judgement: Judgement) -> None:
        """Keep whom nobody is sure about for the next run, or let him pass after so many."""
        self.report.doubts.update(judgement.doubts)
        is_last = candidate.unknown + 1 >= self._plan.unknown_runs
        done = "passed unsure" if is_last else UNSURE
        self.report.note(candidate.addr, done, is_minor=not is_last, text=judgement.note)
        if is_last:
            self._settled.given_up += 1
            self._pass(candidate, "passed_unsure")
            return
        self._settled.checked[candidate.key] = Checked(self._now_ms(), candidate.unknown + 1)
        self.report.counts["unsure"] += 1
        self._settle_if_full()

    def _list(self, candidate: _Candidate, finding: Finding) -> None:
        source = f"blcheck:{finding.zone}"
        now = self._plan.clock()
        admission = Admission.SHUT if self._is_shut else self._breaker.admit(candidate.key, source, now)
        self._is_shut = admission is Admission.SHUT
        if admission is not Admission.OPEN:
            self.report.counts["held_back"] += 1
            return
        expiry_ms = int((now + finding.expires_s) * 1000)
        hearsay = Hearsay(finding.causes)
        flags = SHADOW if finding.is_trial else 0
        self._settled.listings.append(
            NewListing(
                candidate.key, finding.code, finding.text, source, expiry_ms=expiry_ms, contrib=hearsay, flags=flags
            )
        )
        if finding.is_trial:  # he will knock again, and is not asked about each time
            self._settled.checked[candidate.key] = Checked(self._now_ms())
        self.report.zones[finding.zone] += 1
        done = "on trial" if finding.is_trial else "listed"
        self.report.note(candidate.key, done, zone=finding.zone, text=finding.text)
        self._forget(candidate.addr, "listed")

    def _pass(self, candidate: _Candidate, how: str) -> None:
        self._settled.checked[candidate.key] = Checked(self._now_ms())
        self._forget(candidate.addr, how)

    def _forget(self, addr: bytes, why: str) -> None:
        """Let an address leave the archive, with the next transaction."""
        self._settled.done.append(addr)
        self.report.counts[why] += 1
        self._settle_if_full()

    def _settle_if_full(self) -> None:
        if len(self._settled.done) >= SETTLE_LIMIT or len(self._settled.checked) >= SETTLE_LIMIT:
            self._settle()

    def _settle(self) -> None:
        done, self._settled = self._settled, Settlement()
        if not self._plan.is_dry and (done.listings or done.done or done.checked):
            examine.settle(self._store, done, self._plan.clock())

    def _now_ms(self) -> int:
        return int(self._plan.clock() * 1000)
