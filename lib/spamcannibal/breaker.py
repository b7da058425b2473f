"""Breakers: how much a writer may list before it stops and says so, however sure it is of itself.

    breaker = Breaker(Caps(per_run=10_000, per_hour=20_000, per_source=5_000, per_net=64))
    for time, key, source in ...: breaker.note(time, key, source)      what all writers listed in the last hour
    admission = breaker.admit(key, "blcheck:bl.example.org", now)
    if admission is Admission.OPEN: list it; it is counted already
    if admission is Admission.HELD: leave this one, go on with others
    if admission is Admission.SHUT: list no more
    breaker.trips                                                      what is to be said, one line for each cap

| cap | counts | past it |
|---|---|---|
| per_run | what this breaker admitted | SHUT |
| per_hour | what anybody listed within the last hour | SHUT |
| per_source | of these, what one source listed: a remote list, a submitter, a reporter | HELD |
| per_net | of these, what lies in one IPv4 /24 or IPv6 /48 | HELD |

The first two stop the writer. The other two hold back only what they concern: a list gone mad stops nobody but itself,
and a network full of spammers does not keep all others off the list. Whoever met a cap says what `trips` holds and
exits with 1. A cap of 0 is none. Removals have breakers too, with caps of their own.

What the hour holds is for the caller to say, from the journal (store/recent.py), which leaves out what operators list
by hand, import or load (is_counted). A daemon keeps its Breaker: what was noted or admitted falls out of the hour by
itself, `trips` (at most TRIPS_LIMIT) is the daemon's to clear once said, a cap that let something pass again is told
anew. At most `per_hour` and what was noted is remembered. A breaker is for one thread.
"""

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from spamcannibal.addr import format_key, make_key, mask, split_key

HOUR_S = 3600.0
V4_NET, V6_NET = 24, 48
_V4_TAIL = bytes((0, V4_NET))
TRIPS_LIMIT = 100
BY_HAND = ("admin", "import", "load", "undo")  # what stands before the colon in a source

T = TypeVar("T")


class Admission(Enum):
    OPEN = "open"
    HELD = "held"
    SHUT = "shut"


@dataclass(frozen=True)
class Caps:
    """How many; 0 is no cap."""

    per_run: int = 0
    per_hour: int = 0
    per_source: int = 0
    per_net: int = 0


class Breaker:
    """The counts of one writer, and what it must say of them."""

    def __init__(self, caps: Caps, what: str = "listings") -> None:
        """`what` names the changes in messages."""
        self.trips: list[str] = []
        self._caps = caps
        self._what = what
        self._run = 0
        self._hour: deque[tuple[float, bytes, str]] = deque()
        self._sources: Counter[str] = Counter()
        self._nets: Counter[bytes] = Counter()
        self._tripped: set[object] = set()

    def note(self, time_s: float, key: bytes, source: str) -> None:
        """Count a change that somebody made; earlier ones first."""
        self._note(time_s, net_of(key), source)

    def admit(self, key: bytes, source: str, now: float) -> Admission:
        """Say whether a change may be made, and count it if so."""
        self._forget(now - HOUR_S)
        caps, net = self._caps, net_of(key)
        if caps.per_run and self._run >= caps.per_run:
            return self._trip("run", f"{caps.per_run} {self._what} in this run", Admission.SHUT)
        if caps.per_hour and len(self._hour) >= caps.per_hour:
            return self._trip("hour", f"{caps.per_hour} {self._what} in an hour", Admission.SHUT)
        if caps.per_source and self._sources[source] >= caps.per_source:
            return self._trip(source, f"{caps.per_source} {self._what} in an hour by {source}", Admission.HELD)
        if caps.per_net and self._nets[net] >= caps.per_net:
            return self._trip(net, f"{caps.per_net} {self._what} in an hour in {format_key(net)}", Admission.HELD)
        self._run += 1
        self._note(now, net, source)
        if self._tripped:
            self._tripped -= {"hour", source, net}
        return Admission.OPEN

    def _note(self, time_s: float, net: bytes, source: str) -> None:
        self._hour.append((time_s, net, source))
        self._sources[source] += 1
        self._nets[net] += 1

    def _trip(self, what: object, text: str, admission: Admission) -> Admission:
        if what not in self._tripped and len(self.trips) < TRIPS_LIMIT:
            self._tripped.add(what)
            self.trips.append(f"breaker: {text}, which is the most that [guard] allows")
        return admission

    def _forget(self, before_s: float) -> None:
        """Drop what is older than the hour."""
        while self._hour and self._hour[0][0] < before_s:
            _, net, source = self._hour.popleft()
            _lower(self._sources, source)
            _lower(self._nets, net)


def _lower(counter: Counter[T], item: T) -> None:
    counter[item] -= 1
    if not counter[item]:
        del counter[item]


def net_of(key: bytes) -> bytes:
    """Give the network in which listings are counted together: the /24 or /48 around a key, or a wider key itself."""
    if len(key) == 4:  # at thousands a second the long way would count
        return key[:3] + _V4_TAIL
    addr, plen = split_key(key)
    length = min(plen, V4_NET if len(addr) == 4 else V6_NET)
    return make_key(mask(addr, length), length)


def is_counted(source: str) -> bool:
    """Tell whether what a source lists counts: not if an operator did it by hand."""
    return source.partition(":")[0] not in BY_HAND
