"""Requests to be taken off the list: how whoever asks proves himself, and what becomes of a request. Pure.

    asked    ──he proves that the address is his──>  proven
    proven   ──the terms allow it──>  removed        ──they leave it to the operator──>  queued
    queued   ──the operator agrees, or the terms allow it by now──>  removed      ──he does not──>  refused
    proven, queued  ──there is nothing left to remove──>  closed

A request is known by a handle, which only the page's visitor has, and a mail's token, which only its recipient has; the
store has digests. What is published in DNS (`dns_value`) is made of the handle, so it proves this request and no other.
Proven is who controls the address: the reader of a role address at a domain that the address's forward-confirmed name
lies in, or of the network's abuse contact; who can write a TXT record below a name that reverse DNS gives it, or below
the reverse name itself; or who asks from the address.

The terms are about the listing: `decide` removes what was proven here, of sources and nets that are not the operator's
own matter, once nothing came for a while, which is longer for whom we took off before. Unknown never delists.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from msgspec import Struct

from spamcannibal.addr import format_key, listing_key, overlaps, reversed_name
from spamcannibal.checks import is_contact, is_name
from spamcannibal.errors import SpamCannibalError
from spamcannibal.record import EXCLUDED, SHADOW

Way = Literal["mail", "dns", "visit"]
State = Literal["asked", "proven", "queued", "removed", "refused", "closed"]

MOVES: dict[State, frozenset[State]] = {
    "asked": frozenset({"proven"}),
    "proven": frozenset({"queued", "removed", "closed"}),
    "queued": frozenset({"queued", "removed", "refused", "closed"}),
    "removed": frozenset(),
    "refused": frozenset(),
    "closed": frozenset(),
}
OPEN: frozenset[State] = frozenset(state for state, others in MOVES.items() if others)
ROLES = ("postmaster", "abuse")  # RFC 2142
LABEL = "_spamcannibal"
NAMES_LIMIT = 3
DOMAINS_LIMIT = 6
MESSAGE_LIMIT = 2000
DAY_S = 86400.0
# Where no mail of ours has a business, whatever reverse DNS says.
NO_DOMAINS = frozenset(
    {"arpa", "example", "home", "internal", "invalid", "lan", "local", "localdomain", "localhost", "test"}
)


class Declined(SpamCannibalError):
    """A request can't be taken, or not be proven so; the message says why to whoever asks."""


class Request(Struct, frozen=True, omit_defaults=True):
    """One request. `addr` and `key` (the entry that lists it) are texts; `proof` is the digest of the mail's token.

    `place` is where it is or was proven: the recipient, the DNS name, the visitor. `message` and `reply` (a mail
    address, or "") are the visitor's. `why` and `by` are those of the last move, `again_ms` when the terms might allow
    what they don't yet (0: not by themselves), `seq` the journal's number of the removal.
    """

    addr: str
    key: str
    way: Way
    made_ms: int
    state: State = "asked"
    moved_ms: int = 0
    proof: str = ""
    place: str = ""
    reply: str = ""
    message: str = ""
    visitor: str = ""
    why: tuple[str, ...] = ()
    by: str = ""
    again_ms: int = 0
    seq: int = 0


@dataclass(frozen=True)
class Case:
    """What is known of the entry. Times in seconds; `proof_s` is that of the newest evidence, `removals` are those of
    earlier removals by request, `refused_s` when the operator last said no to one (0: never), `names` the address's
    forward-confirmed ones, None unknown. `zones` are the lists whose word it is, none for what was proven here.
    """

    addr: bytes
    key: bytes
    seq: int
    kind: str
    flags: int = 0
    zones: tuple[str, ...] = ()
    listed_s: float = 0.0
    proof_s: float = 0.0
    removals: tuple[float, ...] = ()
    refused_s: float = 0.0
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Terms:
    """What the operator leaves to the machine; see conf/spamcannibal.toml, [removal]."""

    automatic: bool = True
    kinds: frozenset[str] = frozenset({"robot", "trap", "gather"})
    named: bool = True
    quiet_s: float = 2 * DAY_S
    cooldown_s: float = 7 * DAY_S
    cooldown_limit_s: float = 90 * DAY_S
    removals: int = 3
    refused_s: float = 30 * DAY_S
    manual: tuple[bytes, ...] = ()
    v6_prefix: int = 64


class Objection(NamedTuple):
    """Why not by itself, and until when (0: it does not pass by itself)."""

    why: str
    until_s: float = 0.0


class Verdict(NamedTuple):
    """Where a proven request goes, why, and when it is worth to ask again (0: it is not)."""

    state: State
    why: tuple[str, ...] = ()
    again_s: float = 0.0


def decide(case: Case | None, terms: Terms, now: float) -> Verdict:
    """Say what becomes of a proven request; None is what is not listed any more."""
    if case is None:
        return Verdict("closed", ("it is not listed any more",))
    why = obstacle(case.key, case.flags, case.zones)
    if why:
        return Verdict("closed", (why,))
    found = tuple(_objections(case, terms, now))
    if not found:
        return Verdict("removed")
    passes = all(each.until_s for each in found)
    return Verdict("queued", tuple(each.why for each in found), max(each.until_s for each in found) if passes else 0.0)


def obstacle(key: bytes, flags: int, zones: Sequence[str]) -> str:
    """Say why an entry is nothing that a request could remove; "" if it is."""
    if flags & (EXCLUDED | SHADOW):
        return f"the entry {format_key(key)} refuses nobody"
    return f"it is here by the word of {', '.join(zones)}: ask to be taken off there" if zones else ""


def cooldown_until_s(case: Case, terms: Terms) -> float:
    """Return when the cool-down of a re-listed address ends: it doubles with every removal; 0 for the first time."""
    if not case.removals:
        return 0.0
    doublings = min(len(case.removals) - 1, 60)
    return case.listed_s + min(terms.cooldown_limit_s, terms.cooldown_s * 2.0**doublings)


def may_move(request: Request, state: State) -> bool:
    """Tell whether a request may go there from where it is."""
    return state in MOVES[request.state]


def role_addresses(names: Iterable[str]) -> tuple[str, ...]:
    """Return whom to write to for an address with these forward-confirmed names, the closest domain first."""
    found = (f"{role}@{domain}" for domain in domains_of(names) for role in ROLES)
    return tuple(address for address in found if is_contact(address))


def dns_names(addr: bytes, names: Iterable[str]) -> tuple[str, ...]:
    """Return where a TXT record proves who controls an address with these names."""
    reverse = f"{reversed_name(addr)}.{'in-addr' if len(addr) == 4 else 'ip6'}.arpa"
    found = (f"{LABEL}.{name}" for name in (reverse, *domains_of(names)))
    return tuple(name for name in found if is_name(name))


def domains_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names and the domains above them that have two labels or more, each once, the closest first."""
    found: dict[str, None] = {}
    whole = [name.lower().rstrip(".").split(".") for name in list(names)[:NAMES_LIMIT]]
    for depth in range(3):
        for labels in whole:
            rest = labels[depth:]
            if len(rest) >= 2 and rest[-1] not in NO_DOMAINS and not rest[-1].isdigit() and is_name(".".join(rest)):
                found[".".join(rest)] = None
    return tuple(found)[:DOMAINS_LIMIT]


def id_of(handle: str) -> str:
    """Return the id under which the request of a handle is kept; it does not tell the handle."""
    return _digest("id", handle)[:24]


def dns_value(handle: str) -> str:
    """Return what the TXT record of a request says."""
    return f"spamcannibal-removal={_digest('dns', handle)[:40]}"


def proof_of(secret: str) -> str:
    """Return what is kept of a mail's token."""
    return _digest("mail", secret)


def is_proof(request: Request, secret: str) -> bool:
    """Tell whether a secret is that of the mail of a request."""
    return request.way == "mail" and bool(request.proof) and hmac.compare_digest(request.proof, proof_of(secret))


def is_published(handle: str, texts: Sequence[str]) -> bool:
    """Tell whether TXT records prove the request of a handle."""
    return any(text.strip() == dns_value(handle) for text in texts)


def _objections(case: Case, terms: Terms, now: float) -> Iterator[Objection]:
    if not terms.automatic:
        yield Objection("here the operator decides about removals")
    if case.kind not in terms.kinds:
        yield Objection("about entries of this kind the operator decides")
    if case.key != listing_key(case.addr, terms.v6_prefix):
        yield Objection(f"the entry is the whole network {format_key(case.key)}")
    if any(overlaps(case.key, net) for net in terms.manual):
        yield Objection("about this network the operator decides")
    if len(case.removals) >= terms.removals:
        yield Objection(f"it was taken off {len(case.removals)} times before, and listed again")
    if case.refused_s and now < case.refused_s + terms.refused_s:
        yield Objection("the operator refused an earlier request", case.refused_s + terms.refused_s)
    if now < case.proof_s + terms.quiet_s:
        yield Objection("there is evidence that is too new", case.proof_s + terms.quiet_s)
    if now < cooldown_until_s(case, terms):
        yield Objection("it was taken off before, and listed again", cooldown_until_s(case, terms))
    if terms.named and not case.names:
        unknown = "is not known now" if case.names is None else "is missing, or its name does not lead back to it"
        yield Objection(f"the reverse DNS of {format_key(case.addr)} {unknown}", now + 3600.0)


def _digest(what: str, secret: str) -> str:
    return hashlib.sha256(f"{what}\0{secret}".encode()).hexdigest()
