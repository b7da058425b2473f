"""What the tarpit did, added up for the activity report: counters, who is held for how long, where packets went. Pure.

    ledger = Ledger(counters, holds)              the counters as they stand, what an earlier process held
    ledger.note(listed, events, is_held)          what the loops noted, once a second
    ledger.sample(counters)                       the counters of all loops and the trap, once a second
    if ledger.is_due(now): ledger.entry(now), ledger.holdings(), and once these are written: ledger.settle()

Should they not be written, what was added up waits for the next time: it counts for a later minute then, and counts.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from spamcannibal.activity.figures import (
    HOLDS,
    MINUTE,
    Entry,
    Figures,
    Gauge,
    Hold,
    Holdings,
    Lists,
    add_figures,
    longest,
    rank,
    start_of,
)
from spamcannibal.activity.holds import Holds
from spamcannibal.activity.now import HOLDS_TOLD, Now
from spamcannibal.addr import format_addr, mask
from spamcannibal.record import EXCLUDED, SHADOW, Mode, split_table_value
from spamcannibal.tarpit.notes import Event, Sighting, growth

KEPT = 10_000  # holdings written down for the next process, the longest
V4_NET, V6_NET = 24, 48
HELD_EVENTS = ("trap", "greet", "arm", "data", "probe", "acked", "rst", "fin")
ATTEMPTS = frozenset({"TRAP", "OBSERVED", "DROPPED", "OTHER"})
HOLDING_MODES = frozenset({"throttle", "persist", "stutter"})


class Ledger:
    """What was not written down yet."""

    def __init__(self, counters: Mapping[str, int], holds: Holds, now_ms: int) -> None:
        self._first = dict(counters)
        self._told = self._last = dict(counters)
        self._since_ms = now_ms
        self._holds = holds
        self._ports: Counter[str] = Counter()
        self._gauges = Figures()
        self._stored = {hold.addr for hold in holds.longest(KEPT)}
        self._minute = start_of(MINUTE, now_ms / 1000)

    def note(self, listed: Iterable[Sighting], events: Iterable[Event], is_held: Callable[[bytes], bool]) -> None:
        """Note sightings of listed sources and what happened to their packets; `is_held`: those that we hold."""
        for addr, count, first_ms, last_ms in listed:
            if is_held(addr):
                self._holds.note(addr, count, first_ms, last_ms)
        for _, name, _, src, _, _, dport in events:
            if name in ATTEMPTS:
                self._ports[str(dport)] += 1
                self._holds.note_port(src, dport)

    def sample(self, counters: Mapping[str, int], now_ms: int) -> None:
        """Take the counters as they stand now."""
        self._last = dict(counters)
        self._holds.end(now_ms)
        gauges = {name: Gauge(number, 1, number) for name, number in self._standing().items()}
        self._gauges = add_figures([self._gauges, Figures({}, gauges)])

    def is_due(self, now: float) -> bool:
        """Tell whether a minute is over."""
        return start_of(MINUTE, now) != self._minute

    def entry(self) -> Entry:
        """Return what was added up, for the minute that is over."""
        counts = named_counts(growth(self._last, self._told))
        own = {
            "sources.new": self._holds.begun,
            "sources.gone": len(self._holds.gone()),
            "lost.sources": self._holds.shed,
        }
        counts |= {name: counts.get(name, 0) + count for name, count in own.items() if count}
        held = longest([*self._holds.longest(HOLDS), *self._holds.gone()])
        ranks = {"networks": rank(networks(self._holds.fresh())), "ports": rank(self._ports)}
        lists = Lists({name: ranking for name, ranking in ranks.items() if ranking.rows}, held)
        return Entry(self._minute, Figures(counts, self._gauges.gauges), lists)

    def holdings(self) -> Holdings:
        """Return what became of holdings."""
        held = self._holds.longest(KEPT)
        return Holdings(held, sorted(self._stored - {hold.addr for hold in held}), self._holds.gone())

    def settle(self, now: float) -> None:
        """Begin the next minute."""
        self._stored = {hold.addr for hold in self._holds.longest(KEPT)}
        self._told = self._last
        self._holds.settle()
        self._ports.clear()
        self._gauges = Figures()
        self._minute = start_of(MINUTE, now)

    def now(self, now_ms: int) -> Now:
        """Return what stands at this moment."""
        counts = named_counts(growth(self._last, self._first))
        return Now(now_ms, self._since_ms, counts, self._standing(), self._holds.longest(HOLDS_TOLD))

    def _standing(self) -> dict[str, int]:
        return {"sources": len(self._holds), "connections": self._last.get("held", 0)}


def named_counts(grown: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of the activity report (figures.py) from those of the loops and the trap; no zeros."""

    def of(*names: str) -> int:
        return sum(grown.get(name, 0) for name in names)

    held, observed = of(*(f"events_{name}" for name in HELD_EVENTS)), of("events_observed")
    counts = {
        "packets.held": held,
        "packets.dropped": of("dropped") - held,
        "packets.observed": observed,
        "packets.passed": of("accepted") - observed,
        "packets.unseen": of("unseen"),
        "bytes.in": of("bytes_in"),
        "bytes.out": of("bytes_out"),
        "connections.new": of("armed"),
        "connections.seconds": of("held_s"),
        "lost.sources": of("sightings_shed"),
        "lost.events": of("events_lost"),
    }
    # The counters of a loop are read one after the other: what is told of one packet may lie in two readings.
    return {name: count for name, count in counts.items() if count > 0}


def networks(packets: Iterable[tuple[bytes, int]]) -> dict[str, int]:
    """Return how many packets came from each /24 or /48."""
    found: Counter[bytes] = Counter()
    for addr, count in packets:
        found[mask(addr, V4_NET if len(addr) == 4 else V6_NET)] += count
    return {f"{format_addr(net)}/{V4_NET if len(net) == 4 else V6_NET}": count for net, count in found.items()}


@functools.lru_cache(maxsize=4096)
def holds_packets(value: int, mode: str) -> bool:
    """Tell whether a source of this table value is held, not let pass or dropped; `mode` is the default mode."""
    if not value:
        return False
    _, own, flags = split_table_value(value)
    return not flags & (EXCLUDED | SHADOW) and (mode if own is Mode.DEFAULT else own.name.lower()) in HOLDING_MODES


def before(holds: Iterable[Hold], gap_ms: int, limit: int) -> Holds:
    """Return the table of holdings with those that an earlier process wrote down."""
    return Holds(gap_ms, limit, list(holds)[:limit])
