"""What happened in a span of time, in values that add up to those of longer spans.

    Figures    counts   name -> how many
               gauges   name -> samples of what rises and falls
    Lists      ranks    name -> Ranking: who most, and how much the rest
               holds    the longest holdings that were seen in the span

| count | of |
|---|---|
| packets.held | packets of listed sources that the tarpit kept busy, or that belonged to what it keeps busy |
| packets.dropped | of listed sources, dropped in silence |
| packets.observed | of listed sources, let pass by their mode |
| packets.passed | of everybody else |
| packets.unseen | that passed unlooked at, because the queue's reader had no room |
| bytes.in, bytes.out | IP bytes of listed sources, and of our replies |
| connections.new, connections.seconds | connections that stutter took, and how long it held all of them |
| sources.new, sources.gone | sources whose holding began, and ended |
| lost.sources, lost.events | that were too many to be noted one by one |
| dns.minutes | minutes that the DNS server noted: without one it is not known what it did |
| dns.RCODE, dns.limited, dns.silent | replies by outcome, kept back by the rate limit, queries without a reply |
| dns.type.TYPE | replies by type of query |
| list.list, list.unlist, list.amend | changes of the list |

| gauge | | ranking | what counts |
|---|---|---|---|
| sources | held; told by every tarpit that runs | networks | packets of held sources by /24 or /48 |
| connections | held by stutter | ports | attempts of listed sources by our port |
| | | zones | DNS replies by zone |
| | | listed, unlisted | changes by their source |

Counts and gauges add up in any order. A ranking keeps LIMIT keys: what falls out goes to `rest`, so the sum stays
exact, and what is told of a key is at least. The longest holdings are the same in any order of adding.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

LIMIT = 300  # keys of a ranking
HOLDS = 100
MINUTE, HOUR, DAY = 1, 2, 3
LENGTH_S = {MINUTE: 60, HOUR: 3600, DAY: 86_400}
UNIT_NAMES = {MINUTE: "minute", HOUR: "hour", DAY: "day"}


class Gauge(msgspec.Struct, frozen=True, array_like=True):
    """Samples: their sum, their number and the greatest."""

    total: float = 0
    samples: int = 0
    most: float = 0

    @property
    def mean(self) -> float:
        return self.total / self.samples if self.samples else 0.0


class Figures(msgspec.Struct, frozen=True, array_like=True):
    counts: dict[str, int] = {}
    gauges: dict[str, Gauge] = {}


class Ranking(msgspec.Struct, frozen=True, array_like=True):
    rows: dict[str, int] = {}
    rest: int = 0

    @property
    def total(self) -> int:
        return sum(self.rows.values()) + self.rest


class Hold(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A source that was held without a pause, from its first packet to its last; `port` is ours, 0 unknown."""

    addr: bytes
    first_ms: int
    last_ms: int
    packets: int
    port: int = 0

    @property
    def length_ms(self) -> int:
        return self.last_ms - self.first_ms


class Lists(msgspec.Struct, frozen=True, array_like=True):
    ranks: dict[str, Ranking] = {}
    holds: list[Hold] = []


class Entry(NamedTuple):
    """What is to be added to the minute at `time_s`, and to its hour and day."""

    time_s: float
    figures: Figures
    lists: Lists = Lists()


class Holdings(NamedTuple):
    """What became of holdings: to be written as held, not to be kept as held any more, let go."""

    held: Sequence[Hold] = ()
    dropped: Sequence[bytes] = ()
    gone: Sequence[Hold] = ()


def start_of(unit: int, time_s: float) -> int:
    """Return the beginning of the minute, hour or day (of UTC) that a time lies in."""
    return int(time_s) // LENGTH_S[unit] * LENGTH_S[unit]


def add_figures(parts: Iterable[Figures]) -> Figures:
    """Return the figures of all parts together."""
    counts: dict[str, int] = {}
    gauges: dict[str, Gauge] = {}
    for part in parts:
        for name, count in part.counts.items():
            counts[name] = counts.get(name, 0) + count
        for name, new in part.gauges.items():
            had = gauges.get(name, Gauge())
            gauges[name] = Gauge(had.total + new.total, had.samples + new.samples, max(had.most, new.most))
    return Figures(counts, gauges)


def add_rankings(parts: Iterable[Ranking]) -> Ranking:
    """Return the ranking of all parts together, the most frequent first."""
    rows: dict[str, int] = {}
    rest = 0
    for part in parts:
        rest += part.rest
        for key, count in part.rows.items():
            rows[key] = rows.get(key, 0) + count
    return rank(rows, rest)


def rank(rows: Mapping[str, int], rest: int = 0) -> Ranking:
    """Return the LIMIT most frequent of some counts; of equals those whose key comes first."""
    ordered = sorted(rows.items(), key=lambda row: (-row[1], row[0]))
    return Ranking(dict(ordered[:LIMIT]), rest + sum(count for _, count in ordered[LIMIT:]))


def longest(holds: Iterable[Hold]) -> list[Hold]:
    """Return the HOLDS longest holdings, each as it was seen last."""
    newest: dict[tuple[bytes, int], Hold] = {}
    for hold in holds:
        key = (hold.addr, hold.first_ms)
        newest[key] = max(newest.get(key, hold), hold)
    return sorted(newest.values(), key=lambda hold: (-hold.length_ms, hold.first_ms, hold.addr))[:HOLDS]


def add_lists(parts: Iterable[Lists]) -> Lists:
    """Return the lists of all parts together."""
    every = list(parts)
    names = dict.fromkeys(name for part in every for name in part.ranks)
    ranks = {name: add_rankings(part.ranks[name] for part in every if name in part.ranks) for name in names}
    return Lists(ranks, longest(hold for part in every for hold in part.holds))
