"""The neighbours of a source: hosts in its IPv4 /24 that have nothing but generic names, where its own are generic too.

Who gives names by the thousand, and lets one of them send spam, lets the others. It is a rule of ours and no proof:
such an entry is hearsay under the label genericPTR with 127.0.0.7, is not published, ends by itself, and `blpreen`
takes it away when the name changed. Listed neighbours stay as they are; never-list and breaker (max_per_net) hold.

Whatever goes wrong here is told and changes nothing about the report, which is done by then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from spamcannibal.addr import format_addr
from spamcannibal.errors import SpamCannibalError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.jobs.rules import Answer, Finding, Rules, by_pointers
from spamcannibal.record import SHADOW, Cause
from spamcannibal.remote.verdict import Found, Pointers
from spamcannibal.robot.plan import World
from spamcannibal.store.stores import Hearsay, NewListing, Store

SOURCES_LIMIT = 4  # of one report
Ask = Callable[[Sequence[bytes]], Mapping[bytes, Pointers]]


def others(addr: bytes) -> list[bytes]:
    """Return the other addresses of an IPv4 address's /24, none for IPv6, where a listing is a network already."""
    return [addr[:3] + bytes((last,)) for last in range(256) if last != addr[3]] if len(addr) == 4 else []


def find(addr: bytes, rules: Rules, ask: Ask) -> Iterator[tuple[bytes, Finding]]:
    """Yield the neighbours of an address that the rules take by their names, and why; none if they do not take it."""
    if not others(addr) or not _taken(addr, rules, ask([addr])):
        return
    names = ask(others(addr))
    for other in others(addr):
        finding = _taken(other, rules, names)
        if finding:
            yield other, finding


def _taken(addr: bytes, rules: Rules, names: Mapping[bytes, Pointers]) -> Finding | None:
    unknown = Pointers(Found.UNKNOWN)
    judged = by_pointers(rules, addr, names.get(addr, unknown))
    return judged.finding if judged.answer is Answer.LIST else None


class Neighbours:
    """Lists them."""

    def __init__(self, store: Store, rules: Rules, ask: Ask, log: EventLog) -> None:
        self._store = store
        self._rules = rules
        self._ask = ask
        self._log = log

    def _is_listed(self, addr: bytes) -> bool:
        found = self._store.get(addr)
        return found is not None and not found[1].flags & SHADOW

    def list_around(self, addrs: Sequence[bytes], source: str, world: World, now: float) -> int:
        """List the neighbours of some sources; give how many."""
        listings: list[NewListing] = []
        why = ""
        try:
            for addr in addrs[:SOURCES_LIMIT]:
                for other, finding in find(addr, self._rules, self._ask):
                    if not self._is_listed(other) and not world.forbidden(other):
                        world.admit(other, source)
                        listings.append(_listing(other, addr, finding, source, now))
        except Unavailable as error:
            why = str(error)  # the breaker, or no resolver: what was found so far counts
        try:
            if listings:
                self._store.list(listings, now)
        except SpamCannibalError as error:
            listings, why = [], str(error)
        if listings or why:
            self._log.emit("NEIGHBOURS", source=source, listed=len(listings), why=why or None)
        return len(listings)


def _listing(addr: bytes, spammer: bytes, finding: Finding, source: str, now: float) -> NewListing:
    cause = finding.causes[0]
    said = Cause(cause.zone, cause.code, addr, f"{cause.text}, beside {format_addr(spammer)}")
    end_ms = int((now + finding.expires_s) * 1000)
    return NewListing(addr, finding.code, finding.text, source, expiry_ms=end_ms, contrib=Hearsay((said,)))
