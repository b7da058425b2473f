"""The rules: why an address is listed without proof of our own, in their order. Pure.

    block list -> no reverse DNS, generic names -> country -> all remote lists together

The first that holds decides; `early` are those before the remote lists, `late` the lists. Remote lists count by weight:
those that list the address must reach the threshold together. A list that did not answer may have any of its weights;
if that could change the outcome the address is UNSURE, and so it is when reverse DNS did not answer and a rule needed
it. UNSURE never lists.

    weights of lists        answers                     threshold 1     threshold 2
    a 1, b 1                a listed, b unknown         LIST            UNSURE
    a 1, b 1                a clear, b unknown          UNSURE          PASS
    a 1, white -1           a listed, white unknown     UNSURE          PASS
    a 1, white -1           a listed, white clear       LIST            PASS

A rule or list on trial (`trials`) decides nothing: only where all others let pass, its finding lists, on trial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from spamcannibal.addr import parse_addr
from spamcannibal.jobs import labels
from spamcannibal.jobs.labels import Kind
from spamcannibal.jobs.wording import entry_text, tidy
from spamcannibal.record import Cause
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.verdict import Found, Outcome, Pointers, Verdict

NOTE_LIMIT = 3


class Nets(Protocol):
    """nets.Nets."""

    def find(self, addr: bytes) -> str | None: ...


class Patterns(Protocol):
    """generic.Patterns."""

    def find(self, addr: bytes, names: Sequence[str]) -> str | None: ...


class Countries(Protocol):
    """countries.Countries."""

    def find(self, addr: bytes) -> str | None: ...


class Answer(Enum):
    LIST = "list"
    PASS = "pass"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Terms:
    """What is made of a rule's hit: our words, and for how long it counts."""

    text: str = ""
    expires_s: float = 7 * 86_400


@dataclass(frozen=True)
class Finding:
    """Why an address is to be listed; the first cause is the heaviest."""

    code: bytes
    text: str
    expires_s: float
    causes: tuple[Cause, ...]
    is_trial: bool = False

    @property
    def zone(self) -> str:
        return self.causes[0].zone


@dataclass(frozen=True)
class Judgement:
    """The outcome; `note` says what kept it from being sure, `doubts` who did. A finding without LIST is on trial."""

    answer: Answer
    finding: Finding | None = None
    note: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """What is in force. None or empty: that rule is off. `hits` ranks lists of equal weight."""

    block: Nets | None = None
    missing_ptr: bool = False
    patterns: Patterns | None = None
    countries: frozenset[str] = frozenset()
    country_of: Countries | None = None
    terms: Mapping[Kind, Terms] = field(default_factory=dict)
    lists: Mapping[str, RemoteList] = field(default_factory=dict)
    threshold: float = 1.0
    hits: Mapping[str, int] = field(default_factory=dict)
    trials: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is in force: then everybody would pass unexamined."""
        return self.block is None and not self.countries and not self.needs_network

    @property
    def needs_pointers(self) -> bool:
        return self.missing_ptr or self.patterns is not None

    @property
    def needs_network(self) -> bool:
        return self.needs_pointers or bool(self.lists)


PASS = Judgement(Answer.PASS)


def early(rules: Rules, addr: bytes, pointers: Pointers | None = None) -> Judgement:
    """Judge by the rules before the remote lists; without pointers as if no rule needed them."""
    named = by_pointers(rules, addr, pointers) if pointers is not None else PASS
    found = [each for each in (by_block(rules, addr), named.finding, by_country(rules, addr)) if each is not None]
    firm = [finding for finding in found if not finding.is_trial]
    if firm:
        return Judgement(Answer.LIST, firm[0])
    without = named if named.answer is Answer.UNSURE else PASS
    return replace(without, finding=found[0]) if found else without


def late(rules: Rules, addr: bytes, before: Judgement, verdicts: Sequence[Verdict]) -> Judgement:
    """Judge by the remote lists, after what the early rules said."""
    weighed = by_lists(rules, addr, verdicts)
    if weighed.answer is not Answer.PASS:
        return weighed
    on_trial = before.finding or weighed.finding
    return Judgement(Answer.LIST, on_trial) if before.answer is Answer.PASS and on_trial is not None else before


def by_block(rules: Rules, addr: bytes) -> Finding | None:
    where = rules.block.find(addr) if rules.block is not None else None
    return _own(rules, Kind.BLOCK, labels.BLOCK, addr, "blocked", where) if where else None


def by_pointers(rules: Rules, addr: bytes, pointers: Pointers) -> Judgement:
    """Judge by reverse DNS: that there is none, or only generic names."""
    if pointers.outcome is Found.UNKNOWN and rules.needs_pointers:
        note = f"{labels.REVERSE}: {tidy(pointers.reason) or 'no answer'}"
        return Judgement(Answer.UNSURE, note=note, doubts=(labels.REVERSE,))
    if pointers.outcome is Found.MISSING and rules.missing_ptr:
        said = tidy(pointers.reason)
        finding = _own(rules, Kind.MISSING_PTR, labels.MISSING_PTR, addr, "no reverse DNS", said)
        return Judgement(Answer.LIST, finding)
    rule = None
    if pointers.outcome is Found.FOUND and rules.patterns is not None:
        rule = rules.patterns.find(addr, pointers.names)
    if rule is None:
        return PASS
    said = f"{tidy(pointers.names[0])} by {rule}"
    return Judgement(Answer.LIST, _own(rules, Kind.GENERIC_PTR, labels.GENERIC_PTR, addr, "generic PTR", said))


def by_country(rules: Rules, addr: bytes) -> Finding | None:
    country = rules.country_of.find(addr) if rules.countries and rules.country_of is not None else None
    if country is None or country not in rules.countries:
        return None
    return _own(rules, Kind.COUNTRY, country, addr, f"{country} rejected", "")


def by_lists(rules: Rules, addr: bytes, verdicts: Sequence[Verdict]) -> Judgement:
    """Judge by what remote lists say, together; first by those that are not on trial."""
    known = [verdict for verdict in verdicts if verdict.zone in rules.lists]
    firm = [verdict for verdict in known if verdict.zone not in rules.trials]
    judged = _weighed(rules, addr, firm)
    if judged.answer is not Answer.PASS or len(firm) == len(known):
        return judged
    finding = _weighed(rules, addr, known).finding
    return replace(PASS, finding=replace(finding, is_trial=True)) if finding is not None else PASS


def _weighed(rules: Rules, addr: bytes, verdicts: Sequence[Verdict]) -> Judgement:
    listed = [verdict for verdict in verdicts if verdict.outcome is Outcome.LISTED]
    unknown = [verdict for verdict in verdicts if verdict.outcome is Outcome.UNKNOWN]
    low = high = sum(verdict.weight for verdict in listed)
    for verdict in unknown:
        weights = weights_of(rules.lists[verdict.zone])
        low, high = low + min(0, *weights), high + max(0, *weights)
    if low >= rules.threshold:
        return Judgement(Answer.LIST, _heard(rules, addr, [verdict for verdict in listed if verdict.weight > 0]))
    if high < rules.threshold:
        return PASS
    notes = [f"{verdict.zone}: {tidy(verdict.reason)}" for verdict in unknown[:NOTE_LIMIT]]
    more = [f"and {len(unknown) - NOTE_LIMIT} more"] if len(unknown) > NOTE_LIMIT else []
    doubts = tuple(verdict.zone for verdict in unknown)
    return Judgement(Answer.UNSURE, note="; ".join([*notes, *more]), doubts=doubts)


def weights_of(one: RemoteList) -> list[float]:
    """Return the weights that a list's answer can have."""
    return [one.weight if rule.weight is None else rule.weight for rule in one.accept] or [one.weight]


def _own(rules: Rules, kind: Kind, zone: str, addr: bytes, reason: str, said: str | None) -> Finding:
    """Make the finding of a rule of ours; `said` is what the entry itself should remember."""
    terms = rules.terms.get(kind, Terms())
    cause = Cause(zone, kind.code, addr, said or "")
    is_trial = labels.SETTINGS.get(kind, "") in rules.trials
    return Finding(kind.code, entry_text(reason, terms.text, addr), terms.expires_s, (cause,), is_trial)


def _heard(rules: Rules, addr: bytes, listed: Sequence[Verdict]) -> Finding:
    """Make the finding of lists, which are at least one; it counts for as long as the shortest of them."""
    ranked = sorted(listed, key=lambda verdict: (-verdict.weight, -rules.hits.get(verdict.zone, 0)))
    lists = [rules.lists[verdict.zone] for verdict in ranked]
    first, words = lists[0], ranked[0].text or ranked[0].reason
    causes = (
        Cause(verdict.zone, verdict.codes[0] if verdict.codes else bytes(4), addr, tidy(verdict.text or verdict.reason))
        for verdict in ranked
    )
    text = entry_text(words, first.message(), addr)
    return Finding(parse_addr(first.code), text, min(one.expires_s for one in lists), tuple(causes))
