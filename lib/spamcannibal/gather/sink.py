"""Where every adapter puts its reports: who may, how much, of whom; then the tally, and what it decides. Pure.

    outcome = sink.take(report, reporter, now)

A report is refused, and counted by why, when its reporter is tripped, too fast, may not use this colour or name
prefixes, or when the never-list covers its address. What the tally decides goes out by `emit`, which returns False if
there is no room: then it did not happen, and the next report decides again.

A standing exception wins over black and brown: white by another reporter, by the administrator, or from before a
restart. Brown says nothing of what is refused already.

Whoever causes more than `per_hour` listings within an hour is tripped for the next hour: his reports count no more,
others' go on. Each listing is charged to one of those whose reports made it: the one who named most addresses lately,
for his `per_hour`. So one who goes mad pays for what he does to others' reports, too; and since a change of what stands
is charged to nobody again, no reporter pays for more than the addresses that he named himself. Beside that the breaker
of all writers caps listings an hour, and in one network.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from spamcannibal.addr import split_key
from spamcannibal.gather.decision import EXCUSES, Account, Decision
from spamcannibal.gather.line import Report, is_prefix
from spamcannibal.gather.reporters import Reporter, Reporters
from spamcannibal.gather.standing import Found
from spamcannibal.gather.tally import SLACK, Tally

TRIP_S = 3600.0


class Outcome(NamedTuple):
    """What became of a report: a decision if it made one, why it was refused if it was, and the details of that."""

    decision: Decision | None = None
    why: str = ""
    detail: str = ""


@dataclass(frozen=True)
class World:
    """What the sink asks about others.

    The never-list's rule for a key; what stands for an address; whether there is room for a decision, which is carried
    out then; whether the breaker of all writers (breaker.py) lets a reporter's listing of a key pass.
    """

    forbidden: Callable[[bytes], str | None]
    standing: Callable[[bytes], Found | None]
    emit: Callable[[Decision], bool]
    admits: Callable[[bytes, str, float], bool] = lambda key, by, now: True


@dataclass
class _Part:
    """What is charged to a reporter: how many listings more this hour, and until when he is tripped."""

    left: float
    since: float
    tripped_until: float = 0.0


class Sink:
    """The one way in. Not for several threads at once."""

    def __init__(self, tally: Tally, reporters: Reporters, world: World, v6_plen: int) -> None:
        self.tally = tally
        self.reporters = reporters
        self.world = world
        self.counts: Counter[str] = Counter()
        self.by_reporter: dict[str, Counter[str]] = {}
        self.tripped: list[str] = []  # since this was emptied last, for the log
        self._parts: dict[str, _Part] = {}
        self.v6_plen = v6_plen

    def take(self, report: Report, reporter: Reporter, now: float) -> Outcome:
        """Count a report."""
        why, detail = self._objection(report, reporter, now)
        if why:
            self.refuse(why, reporter.name)
            return Outcome(None, why, detail)
        self._count(reporter.name, report.colour)
        decision = self.tally.hear(report, reporter.voice, now)
        if decision is None:
            return Outcome()
        return self._decide(decision, now)

    def adopt(self, reporters: Reporters) -> None:
        """Take new settings of reporters; one whose `per_hour` was changed begins anew."""
        for name, one in self.reporters.by_name.items():
            if name in reporters.by_name and reporters.by_name[name].per_hour != one.per_hour:
                self._parts.pop(name, None)
        self.reporters = reporters

    def refuse(self, why: str, name: str = "") -> None:
        """Count a report that is not taken; the name of the reporter, if he is known."""
        self.counts[why] += 1
        if name:
            self._count(name, "refused")

    def explain(self, key: bytes, now: float) -> Account | None:
        """Return what the tally knows of a key."""
        return self.tally.explain(key, now)

    def is_tripped(self, name: str, now: float) -> bool:
        part = self._parts.get(name)
        return part is not None and part.tripped_until > now

    def _objection(self, report: Report, reporter: Reporter, now: float) -> tuple[str, str]:
        """Return why a report is not taken, and details; empty if it is."""
        if self.is_tripped(reporter.name, now):
            return "tripped", f"{reporter.name} caused more than {reporter.per_hour} listings an hour"
        if not self.reporters.admits(reporter, now):
            return "too_fast", f"{reporter.name} sends more than {reporter.per_s:g} reports a second"
        if report.colour not in reporter.colours:
            return "colour", f"{reporter.name} may not say {report.colour}"
        if not reporter.prefixes and is_prefix(report.key, self.v6_plen):
            return "prefix", f"{reporter.name} may not name prefixes"
        rule = self.world.forbidden(report.key)
        return ("never_list", rule) if rule else ("", "")

    def _decide(self, decision: Decision, now: float) -> Outcome:
        """Let a decision happen, unless something stands against it."""
        against = self._against(decision, now)
        if not against and not self.world.emit(decision):
            against = "shed"
        if against:
            self.counts[against] += 1
            self.tally.retract(decision.key)
            return Outcome()
        self.counts["decided"] += 1
        return Outcome(decision)

    def _against(self, decision: Decision, now: float) -> str:
        """Return what stands against a decision, as the name of a counter; empty if nothing does."""
        if decision.colour not in EXCUSES:
            found = self.world.standing(split_key(decision.key)[0])
            if found is not None and found.colour in EXCUSES:
                return "excused"
            if decision.colour == "brown" and found is not None and found.colour == "black":
                return "refused_already"
        return self._charge(decision, now)

    def _charge(self, decision: Decision, now: float) -> str:
        """Charge a decision; return "breaker" if a cap stands against it, of a reporter or of all writers."""
        able = {name: weight for name, weight in decision.said if not self.is_tripped(name, now)}
        while able and sum(able.values()) >= decision.wanted - SLACK:
            payer = decision.paid if decision.paid in able else self._loudest(able, decision.by, now)
            part = self._part(payer, now)
            if payer != decision.paid and part.left < 1.0:
                part.tripped_until = now + TRIP_S
                self.tripped.append(payer)
                del able[payer]
                continue
            if decision.colour not in EXCUSES and not self.world.admits(decision.key, decision.by, now):
                return "breaker"
            if payer != decision.paid:
                part.left -= 1.0
                self.tally.settle(decision.key, payer)
            return ""
        return "breaker"

    def _loudest(self, names: Iterable[str], by: str, now: float) -> str:
        """Return who named most addresses lately, for what he may cause; of several alike, who reported last."""
        few = tuple(names)
        if len(few) == 1:
            return few[0]
        return max(few, key=lambda name: (self.tally.named(name, now) / self._per_hour(name), name == by, name))

    def _per_hour(self, name: str) -> float:
        """Return what a reporter may cause; one who went with the last reload still counts until his word fades."""
        reporter = self.reporters.by_name.get(name)
        return reporter.per_hour if reporter else 1.0

    def _part(self, name: str, now: float) -> _Part:
        """Return what is charged to a reporter, filled up with time."""
        most = self._per_hour(name)
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = _Part(most, now)
        part.left = min(most, part.left + max(0.0, now - part.since) * most / TRIP_S)
        part.since = now
        return part

    def _count(self, name: str, what: str) -> None:
        self.counts[what] += 1
        counts = self.by_reporter.get(name)
        if counts is None:
            counts = self.by_reporter[name] = Counter()
        counts[what] += 1
