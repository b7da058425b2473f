"""What a report or an order would do, decided before anything is done: what to list, what to remove, what to say. Pure.

The world is asked through `World`: the never-list, the list as it is, the breaker. Several reports of one source are
several pieces of evidence. What is listed already with proof keeps its code, mode and text, and gets the piece and the
later end; what another list told us becomes proven.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from spamcannibal.addr import format_addr, format_key, listing_key
from spamcannibal.record import PROVEN_CODE, PUBLISHED, SHADOW, Listing, Mode
from spamcannibal.robot.embedded import Embedded
from spamcannibal.robot.orders import Order
from spamcannibal.robot.outcome import Finding, Outcome, from_findings
from spamcannibal.robot.policy import Submitter
from spamcannibal.robot.received import Ours, trace
from spamcannibal.robot.redact import Rules, redact

REPORTS_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Known:
    """A listing as it is: its own text, and whether it was proven here."""

    listing: Listing
    text: str
    is_proven: bool


class World(Protocol):
    """What a plan must know. Keys are those of the store."""

    def forbidden(self, key: bytes) -> str:
        """Return which rule of the never-list forbids the key, "" if none does."""

    def known(self, key: bytes) -> Known | None:
        """Return the listing of exactly this key."""

    def is_excused(self, key: bytes) -> bool:
        """Tell whether white, yellow or nobl stands for the key, as itself or as the network around it."""

    def admit(self, key: bytes, source: str) -> None:
        """Count one more listing; Unavailable if a breaker stops it."""

    def explain(self, key: bytes) -> Sequence[str]:
        """Say whether and why an address or prefix is listed."""

    def status(self) -> Sequence[str]:
        """Say how the list stands."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say about reports."""

    ours: Ours = field(default_factory=Ours)
    rules: Rules = field(default_factory=Rules)
    text: str = ""
    expires_s: float = 0.0
    v6_prefix: int = 64


@dataclass(frozen=True, slots=True)
class Item:
    """One listing to make or to amend, with its proof for the public; `original` for the operator alone."""

    key: bytes
    source: str
    text: str
    evidence: bytes
    original: bytes = b""
    code: bytes = PROVEN_CODE
    mode: Mode = Mode.DEFAULT
    flags: int = PUBLISHED
    expiry_ms: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, and what to say once that is done."""

    outcome: Outcome
    items: tuple[Item, ...] = ()
    removals: tuple[tuple[bytes, str], ...] = ()


def plan_report(reported: Sequence[Embedded], who: Submitter, terms: Terms, world: World, now: float) -> Plan:
    """Return what to list for the messages of one report; Unavailable if a breaker stops it."""
    findings: list[Finding] = []
    items: list[Item] = []
    for number, message in enumerate(reported[:REPORTS_LIMIT], 1):
        what = f"message {number}"
        found = trace(message.header_lines, terms.ours)
        if found.source is None:
            findings.append(Finding(what, f"no source found: {found.reason}"))
            continue
        key = listing_key(found.source, terms.v6_prefix)
        refusal = _refusal(key, world)
        if refusal:
            findings.append(Finding(what, f"{format_addr(found.source)} is not listed: {refusal}", key))
            continue
        item = replace(_proven(key, message.raw, who.source, terms, now), original=message.raw)
        said = _take(item, items, world)
        findings.append(Finding(what, f"{format_key(key)} {said}; {found.reason}", key, is_done=True))
    if len(reported) > REPORTS_LIMIT:
        findings.append(Finding("the rest", f"{len(reported)} messages in one report, want at most {REPORTS_LIMIT}"))
    return Plan(from_findings(tuple(findings), who.name), tuple(items))


def plan_delivery(
    addr: bytes, raw: bytes, source: str, terms: Terms, world: World, now: float
) -> tuple[str, list[Item]]:
    """Return what a message does to the host that brought it to us, in words and in items; Unavailable by a breaker."""
    key = listing_key(addr, terms.v6_prefix)
    refusal = _refusal(key, world)
    items: list[Item] = []
    if refusal:
        return f"is not listed: {refusal}", items
    return _take(_proven(key, raw, source, terms, now), items, world), items


def plan_orders(orders: Sequence[Order], who: Submitter, terms: Terms, world: World, now: float) -> Plan:
    """Return what the orders do. One that can't be carried out is told, the others are carried out."""
    findings: list[Finding] = []
    items: list[Item] = []
    removals: list[tuple[bytes, str]] = []
    for order in orders:
        what = f"{order.verb} {format_key(order.key) if order.key else ''}".rstrip()
        if order.verb in ("explain", "status"):
            lines = world.explain(order.key) if order.verb == "explain" else world.status()
            findings += (Finding(what, line, order.key or None) for line in lines)
        elif order.verb == "unlist":
            is_listed = world.known(order.key) is not None
            findings.append(Finding(what, "removed" if is_listed else "was not listed", order.key, is_done=is_listed))
            removals += [(order.key, order.text)] if is_listed else []
        elif refusal := _refusal(order.key, world):
            findings.append(Finding(what, f"not listed: {refusal}", order.key))
        else:
            item = _ordered(order, who, terms, now)
            known = world.known(order.key)
            if known and known.is_proven:
                items.append(_as_told(item, known, order))
                said = "was listed already, and is as you say now"
            else:
                said = _take(item, items, world)
            findings.append(Finding(what, said, order.key, is_done=True))
    return Plan(Outcome("command", "", tuple(findings), who.name), tuple(items), tuple(removals))


def _proven(key: bytes, raw: bytes, source: str, terms: Terms, now: float) -> Item:
    """Return a listing with a message as proof."""
    end_ms = int((now + terms.expires_s) * 1000) if terms.expires_s else 0
    return Item(key, source, terms.text, redact(raw, terms.rules), expiry_ms=end_ms)


def _ordered(order: Order, who: Submitter, terms: Terms, now: float) -> Item:
    """Return the listing that an order asks for; its proof is why. The public sees it: no names."""
    end_ms = int((now + order.expires_s) * 1000) if order.expires_s else 0
    text = order.text or terms.text
    return Item(order.key, who.source, text, (text or "listed by an operator").encode(), expiry_ms=end_ms)


def _as_told(item: Item, known: Known, order: Order) -> Item:
    """Return the item with what the order leaves open as the listing has it."""
    old = known.listing
    text, end_ms = order.text or known.text, item.expiry_ms or old.expiry_ms
    return replace(item, text=text, code=old.code, mode=old.mode, flags=old.flags, expiry_ms=end_ms)


def _refusal(key: bytes, world: World) -> str:
    """Return why a key must not be listed, "" if it may."""
    rule = world.forbidden(key)
    if rule:
        return f"the never-list forbids it ({rule})"
    if world.is_excused(key):
        return "a mail server of ours vouches for it (white, yellow or nobl)"
    return ""


def _take(item: Item, items: list[Item], world: World) -> str:
    """Add an item to the plan, as what is there demands; say what it does."""
    earlier = next((other for other in items if other.key == item.key), None)
    known = world.known(item.key)
    if earlier:
        items.append(replace(earlier, evidence=item.evidence, original=item.original))
        return "gets this piece of evidence, too"
    if known and known.is_proven and not known.listing.flags & SHADOW:
        items.append(_amended(item, known))
        return "was listed already; this is new evidence"
    if not known:
        world.admit(item.key, item.source)
    items.append(item)
    return "is proven now, and was listed already" if known else "is listed now"


def _amended(item: Item, known: Known) -> Item:
    """Return the item with what the listing says already, and the later end of both (0: none)."""
    old = known.listing
    end_ms = 0 if not (old.expiry_ms and item.expiry_ms) else max(old.expiry_ms, item.expiry_ms)
    return replace(item, text=known.text, code=old.code, mode=old.mode, flags=old.flags, expiry_ms=end_ms)
