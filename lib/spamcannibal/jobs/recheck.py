"""Hearsay judged anew: does what caused an entry still hold? Pure.

| the cause says | when |
|---|---|
| HOLDS | the list still lists it; our own rule still takes it |
| GONE | the list says not listed; our own rule is in force and does not take it any more |
| UNKNOWN | no answer; and the country of an address that the country files don't hold |
| RETIRED | the list, or the rule, left the settings |

| causes | entry |
|---|---|
| all GONE | is removed |
| those that hold reach the threshold (a rule of ours does by itself) | is refreshed: new text, new causes, new expiry |
| anything else | stays as it is and ends in its time |

So UNKNOWN never removes and never extends; what left the settings is not asked about and ends in its time, too: its
operator may put it back, and a mistake in the settings takes nobody off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from spamcannibal.jobs import rules as by
from spamcannibal.jobs.labels import Kind, kind_of
from spamcannibal.jobs.rules import Finding, Rules
from spamcannibal.record import Cause, Contrib
from spamcannibal.remote.verdict import Found, Outcome, Pointers, Verdict


class Hold(Enum):
    HOLDS = "holds"
    GONE = "gone"
    UNKNOWN = "unknown"
    RETIRED = "retired"


class Fate(Enum):
    KEEP = "keep"
    REFRESH = "refresh"
    REMOVE = "remove"


@dataclass(frozen=True)
class Outlook:
    """What becomes of an entry: with REFRESH why, otherwise a note for the journal and the report."""

    fate: Fate
    finding: Finding | None = None
    note: str = ""


@dataclass(frozen=True)
class Heard:
    """What was found out about the address of an entry; verdicts by zone."""

    pointers: Pointers | None = None
    verdicts: Mapping[str, Verdict] | None = None


def address_of(key: bytes, contrib: Contrib) -> bytes | None:
    """Return the address to ask about: whom the causes were found for, else the key; None for a network without."""
    asked = next((cause.addr for cause in contrib.causes if cause.addr), key)
    return asked if len(asked) in (4, 16) else None


def zones_to_ask(rules: Rules, addr: bytes, contrib: Contrib) -> tuple[str, ...]:
    """Return the remote lists that caused an entry, as far as they are in force and speak its family."""
    zones = {cause.zone.lower() for cause in contrib.causes if kind_of(cause.zone) is Kind.REMOTE}
    return tuple(zone for zone, one in rules.lists.items() if zone in zones and one.speaks(addr))


def needs_pointers(rules: Rules, contrib: Contrib) -> bool:
    """Tell whether reverse DNS decides about an entry."""
    kinds = {kind_of(cause.zone) for cause in contrib.causes}
    is_generic = Kind.GENERIC_PTR in kinds and rules.patterns is not None
    return is_generic or (Kind.MISSING_PTR in kinds and rules.missing_ptr)


def rejudge(rules: Rules, addr: bytes, contrib: Contrib, heard: Heard) -> Outlook:
    """Return what becomes of an entry."""
    holds = [(cause, _hold(rules, addr, cause, heard)) for cause in contrib.causes]
    if holds and all(hold is Hold.GONE for _, hold in holds):
        zones = ", ".join(cause.zone for cause, _ in holds)
        return Outlook(Fate.REMOVE, note=f"no longer listed by {zones}")
    finding = _standing(rules, addr, [cause for cause, hold in holds if hold is Hold.HOLDS], heard)
    if finding is not None:
        return Outlook(Fate.REFRESH, finding)
    return Outlook(Fate.KEEP, note=", ".join(f"{cause.zone}: {hold.value}" for cause, hold in holds))


def _hold(rules: Rules, addr: bytes, cause: Cause, heard: Heard) -> Hold:
    kind = kind_of(cause.zone)
    if kind is Kind.REMOTE:
        return _remote(rules, addr, cause, heard.verdicts or {})
    if kind is Kind.BLOCK:
        return _own(rules.block is not None, by.by_block(rules, addr) is not None)
    if kind is Kind.COUNTRY:
        return _country(rules, addr, cause.zone)
    return _reverse(rules, addr, kind, heard.pointers)


def _own(is_in_force: bool, is_hit: bool) -> Hold:
    if not is_in_force:
        return Hold.RETIRED
    return Hold.HOLDS if is_hit else Hold.GONE


def _remote(rules: Rules, addr: bytes, cause: Cause, verdicts: Mapping[str, Verdict]) -> Hold:
    zone = cause.zone.lower()
    if zone not in rules.lists or not rules.lists[zone].speaks(addr):
        return Hold.RETIRED
    verdict = verdicts.get(zone)
    if verdict is None or verdict.outcome is Outcome.UNKNOWN:
        return Hold.UNKNOWN
    return Hold.HOLDS if verdict.outcome is Outcome.LISTED else Hold.GONE


def _country(rules: Rules, addr: bytes, country: str) -> Hold:
    if not rules.countries:
        return Hold.RETIRED
    now = rules.country_of.find(addr) if rules.country_of is not None else None
    if now is None:
        return Hold.UNKNOWN
    return Hold.HOLDS if now == country and now in rules.countries else Hold.GONE


def _reverse(rules: Rules, addr: bytes, kind: Kind, pointers: Pointers | None) -> Hold:
    is_in_force = rules.missing_ptr if kind is Kind.MISSING_PTR else rules.patterns is not None
    if not is_in_force:
        return Hold.RETIRED
    if pointers is None or pointers.outcome is Found.UNKNOWN:
        return Hold.UNKNOWN
    if kind is Kind.MISSING_PTR:
        return Hold.HOLDS if pointers.outcome is Found.MISSING else Hold.GONE
    is_generic = rules.patterns is not None and rules.patterns.find(addr, pointers.names) is not None
    return Hold.HOLDS if is_generic else Hold.GONE


def _standing(rules: Rules, addr: bytes, causes: Sequence[Cause], heard: Heard) -> Finding | None:
    """Return the finding of the causes that hold, None if they are not enough."""
    kinds = {kind_of(cause.zone) for cause in causes}
    if kinds - {Kind.REMOTE}:
        found = by.early(rules, addr, heard.pointers)
        return found.finding
    zones = {cause.zone.lower() for cause in causes}
    verdicts = [verdict for zone, verdict in (heard.verdicts or {}).items() if zone in zones]
    weighed = by.by_lists(rules, addr, verdicts)
    return weighed.finding  # one on trial too
