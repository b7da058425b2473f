"""Changes of the list -> the script that brings a packet filter's sets up to date. Pure.

| consumer | a change needs to know | memory |
|---|---|---|
| ipset | nothing else: longest prefix and exceptions are its own | none |
| nft, a listed host | nothing else: hosts have a set of their own | none |
| nft, a network or exception | what else lies in the widest network around it | the networks and exceptions |

Each delta may be applied to a set that has it already, but for nft's networks: nft refuses to delete what is not there,
and then nothing of the script happens. Whoever applies deltas fills the sets anew after a failure.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from spamcannibal.dnsbl.export.entry import EXCEPTION, Entry, of_key
from spamcannibal.dnsbl.export.facts import Entries, Facts
from spamcannibal.dnsbl.export.sets import elements, ipset_elements, ipset_name, nets_of

# Key -> the code it is now exported with (EXCEPTION: an exception), None: no longer in the list.
Changes = Mapping[bytes, bytes | None]
Place = tuple[int, int]


class Delta(Protocol):
    """What turns changes into scripts. The full export is made from `watched` entries; `script` takes changes in."""

    def watched(self, v4: Entries, v6: Entries) -> tuple[Entries, Entries]: ...
    def script(self, changes: Changes, facts: Facts) -> str: ...


class IpsetDelta:
    """Deltas for `ipset restore -exist`."""

    def watched(self, v4: Entries, v6: Entries) -> tuple[Entries, Entries]:
        """Need nothing."""
        return v4, v6

    def script(self, changes: Changes, facts: Facts) -> str:
        return "".join(
            _ipset_line(entry, code, element, ipset_name(facts, 4 if entry.bits == 32 else 6))
            for entry, code in _entries(changes)
            for element in ipset_elements(entry)
        )


class NftDelta:
    """Deltas for `nft -f`."""

    def __init__(self) -> None:
        self._nets = {4: Nets(32), 6: Nets(128)}

    def watched(self, v4: Entries, v6: Entries) -> tuple[Entries, Entries]:
        """Return the entries such that each reading notes what it gives: the last one is what the sets are made of."""
        self._nets = {4: Nets(32), 6: Nets(128)}
        return _Watched(v4, self._nets[4]), _Watched(v6, self._nets[6])

    def script(self, changes: Changes, facts: Facts) -> str:
        """Return what to apply; if that fails, the next must be a full export."""
        changed = list(_entries(changes))
        return "".join(
            statement
            for family, nets in self._nets.items()
            for statement in _nft_statements(family, nets, [one for one in changed if one[0].bits == nets.bits], facts)
        )


class _Watched:
    """Entries that are noted as they are read."""

    def __init__(self, entries: Entries, nets: "Nets") -> None:
        self._entries = entries
        self._nets = nets

    def __iter__(self) -> Iterator[Entry]:
        self._nets.clear()
        for entry in self._entries:
            if not (entry.is_host and entry.is_listed):
                self._nets.put(entry, entry.code)
            yield entry


class Nets:
    """The networks and exceptions of one family, in order."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._order: list[Place] = []
        self._codes: dict[Place, bytes] = {}

    def clear(self) -> None:
        self._order.clear()
        self._codes.clear()

    def put(self, entry: Entry, code: bytes | None) -> None:
        """Take an entry in with a code, or out (None)."""
        place = entry.addr, entry.plen
        if code is None:
            if self._codes.pop(place, None) is not None:
                del self._order[bisect_left(self._order, place)]
            return
        if place not in self._codes:
            if self._order and place < self._order[-1]:
                insort(self._order, place)
            else:
                self._order.append(place)
        self._codes[place] = code

    def around(self, entry: Entry) -> Entry:
        """Return the widest network here that covers an entry; itself if there is none."""
        for plen in range(entry.plen):
            shift = self.bits - plen
            place = entry.addr >> shift << shift, plen
            if place in self._codes:
                return Entry(self.bits, *place, self._codes[place])
        return entry

    def elements(self, region: Entry) -> Iterator[str]:
        """Return the elements of an interval set that lie in a region, which nothing here overlaps from outside."""
        return nets_of(self._inside(region))

    def _inside(self, region: Entry) -> Iterator[Entry]:
        at = bisect_left(self._order, (region.addr, region.plen))
        while at < len(self._order) and self._order[at][0] < region.end:
            place = self._order[at]
            yield Entry(self.bits, *place, self._codes[place])
            at += 1


def _entries(changes: Changes) -> Iterator[tuple[Entry, bytes | None]]:
    for key in sorted(changes):
        code = changes[key]
        yield of_key(key, EXCEPTION if code is None else code), code


def _ipset_line(entry: Entry, code: bytes | None, element: str, set_name: str) -> str:
    if code is None:
        return f"del {set_name} {element}\n"
    return f"add {set_name} {element}{'' if entry.is_listed else ' nomatch'}\n"


def _nft_statements(family: int, nets: Nets, changed: list[tuple[Entry, bytes | None]], facts: Facts) -> Iterator[str]:
    hosts = [(entry, code) for entry, code in changed if entry.is_host]
    listed = [entry.name for entry, code in hosts if code]
    gone = [entry.name for entry, code in hosts if not code]
    # To add what is there already is no error, but to delete what is not would be: so it is added first.
    yield from elements("add", facts, f"hosts{family}", [*listed, *gone])
    yield from elements("delete", facts, f"hosts{family}", gone)
    # A host shapes a network only as an exception, not where it is listed.
    shaping = [(entry, None if entry.is_host and code else code) for entry, code in changed]
    yield from _net_statements(family, nets, shaping, facts)


def _net_statements(family: int, nets: Nets, changed: list[tuple[Entry, bytes | None]], facts: Facts) -> Iterator[str]:
    regions = _regions(nets.around(entry) for entry, _ in changed)
    before = _elements(nets, regions)
    for entry, code in changed:
        nets.put(entry, code)
    after = _elements(nets, regions)
    yield from elements("delete", facts, f"nets{family}", sorted(before - after))
    yield from elements("add", facts, f"nets{family}", sorted(after - before))


def _elements(nets: Nets, regions: list[Entry]) -> set[str]:
    return {element for region in regions for element in nets.elements(region)}


def _regions(found: Iterable[Entry]) -> list[Entry]:
    """Return regions of which none lies in another one."""
    apart: list[Entry] = []
    for region in sorted(found, key=lambda entry: (entry.addr, entry.plen)):
        if not apart or not apart[-1].covers(region):
            apart.append(region)
    return apart
