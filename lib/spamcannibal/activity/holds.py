"""Who is held, from first packet to last, out of what the packet loops noted: a table with a limit.

    holds.note(addr, packets, first_ms, last_ms)     a sighting of a held source
    holds.end(now_ms)                                whose last packet is `gap_ms` old is held no more

Two packets further apart than the gap are two holdings. Held clients are heard of at least every two minutes: stutter's
by their ACKs, persist's by probes of the window.
"""

import heapq
from collections.abc import Iterable, Iterator

from spamcannibal.activity.figures import Hold

_FIRST, _LAST, _PACKETS, _FRESH, _PORT = range(5)


class Holds:
    """At most `limit` holdings; `shed` counts sightings of further sources, `begun` the holdings that began."""

    def __init__(self, gap_ms: int, limit: int, before: Iterable[Hold] = ()) -> None:
        """`before`: holdings that an earlier process wrote down; those that are too old end with the next `end`."""
        self.gap_ms = gap_ms
        self.limit = limit
        self.begun = 0
        self.shed = 0
        self._gone: list[Hold] = []
        self._rows = {hold.addr: [hold.first_ms, hold.last_ms, hold.packets, 0, hold.port] for hold in before}

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, addr: bytes, packets: int, first_ms: int, last_ms: int) -> None:
        """Note packets of a held source."""
        row = self._rows.get(addr)
        if row is not None and first_ms - row[_LAST] > self.gap_ms:
            self._finish(addr)
            row = None
        if row is None:
            if len(self._rows) >= self.limit:
                self.shed += 1
                return
            self.begun += 1
            self._rows[addr] = [first_ms, last_ms, packets, packets, 0]
            return
        row[_FIRST] = min(row[_FIRST], first_ms)
        row[_LAST] = max(row[_LAST], last_ms)
        row[_PACKETS] += packets
        row[_FRESH] += packets

    def note_port(self, addr: bytes, port: int) -> None:
        """Note which of our ports a held source came to."""
        row = self._rows.get(addr)
        if row is not None:
            row[_PORT] = port

    def end(self, now_ms: int) -> None:
        """End the holdings that nothing was heard of for too long."""
        before = now_ms - self.gap_ms
        for addr in [addr for addr, row in self._rows.items() if row[_LAST] < before]:
            self._finish(addr)

    def fresh(self) -> Iterator[tuple[bytes, int]]:
        """Yield who sent how many packets since `settle`."""
        return ((addr, row[_FRESH]) for addr, row in self._rows.items() if row[_FRESH])

    def gone(self) -> list[Hold]:
        """Return what ended since `settle`."""
        return self._gone

    def longest(self, limit: int) -> list[Hold]:
        """Return the longest holdings of those that go on."""
        rows = heapq.nlargest(limit, self._rows.items(), key=lambda item: item[1][_LAST] - item[1][_FIRST])
        return [_hold(addr, row) for addr, row in rows]

    def settle(self) -> None:
        """Begin anew to collect what is fresh and what ends."""
        self._gone = []
        self.begun = self.shed = 0
        for row in self._rows.values():
            row[_FRESH] = 0

    def _finish(self, addr: bytes) -> None:
        hold = _hold(addr, self._rows.pop(addr))
        if len(self._gone) < self.limit:
            self._gone.append(hold)


def _hold(addr: bytes, row: list[int]) -> Hold:
    return Hold(addr, row[_FIRST], row[_LAST], row[_PACKETS], row[_PORT])
