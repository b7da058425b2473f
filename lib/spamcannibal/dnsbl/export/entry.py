"""An entry of an export: a listed network, or an exception inside one. Which entries there are, and their order. Pure.

Three selections, each a rule for one table value (record.table_value):

| selection | listed | exception: what lies in it is let be | left out |
|---|---|---|---|
| published | what the zone shows: colours.answer_code | EXCLUDED | hearsay that the zone hides, SHADOW |
| refused | what this host's tarpit refuses | EXCLUDED, mode OBSERVE | SHADOW |
| all | everything that is listed, in whatever mode | EXCLUDED | nothing |

In each the longest prefix decides, as in the tarpit and in DNS. A shadow entry hides no network around it.

Order: by address, and of those with the same address the widest first, so that every network comes before what lies in
it. Store keys have the bare host before the networks that begin with it; `ordered` mends that.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from spamcannibal.addr import format_addr
from spamcannibal.colours import answer_code
from spamcannibal.dnsbl.zone import Zone
from spamcannibal.record import EXCLUDED, SHADOW, Listing, Mode, split_table_value, table_value

EXCEPTION = b""
_NETWORK_SIZES = (5, 17)

# Table value -> the code it is exported with, EXCEPTION, or None: not in this export.
Select = Callable[[int], bytes | None]
# Key and tarpit value, as in the store.
Row = tuple[bytes, bytes]


class Entry(NamedTuple):
    """`addr` is the network's number, `code` its answer address (EXCEPTION: not listed), `text` its own, if any."""

    bits: int
    addr: int
    plen: int
    code: bytes
    text: str = ""
    listing: Listing | None = None

    @property
    def is_listed(self) -> bool:
        return self.code != EXCEPTION

    @property
    def is_host(self) -> bool:
        return self.plen == self.bits

    @property
    def end(self) -> int:
        """The number after the last address."""
        return self.addr + (1 << self.bits - self.plen)

    @property
    def packed(self) -> bytes:
        return self.addr.to_bytes(self.bits // 8, "big")

    @property
    def key(self) -> bytes:
        """The store key."""
        return self.packed if self.plen == self.bits else self.packed + bytes((self.plen,))

    @property
    def name(self) -> str:
        """The address or prefix as text; a host has no length."""
        return format_addr(self.packed) if self.plen == self.bits else self.prefix

    @property
    def prefix(self) -> str:
        """The prefix as text, with its length always."""
        return f"{format_addr(self.packed)}/{self.plen}"

    def covers(self, other: "Entry") -> bool:
        return self.plen <= other.plen and self.addr <= other.addr < self.end

    def at(self, addr: int, plen: int) -> "Entry":
        """Return a part of this entry."""
        return self._replace(addr=addr, plen=plen)


def of_key(key: bytes, code: bytes, text: str = "", listing: Listing | None = None) -> Entry:
    """Return the entry of a store key, which is taken to be one: this runs for each of millions."""
    bits = 32 if len(key) < 16 else 128
    plen = key[-1] if len(key) in _NETWORK_SIZES else bits
    return Entry(bits, int.from_bytes(key[: bits // 8], "big"), plen, code, text, listing)


def published(promiscuous: bool) -> Select:
    """Return the selection of a zone that shows all that is published."""

    def select(value: int) -> bytes | None:
        _, _, flags = split_table_value(value)
        if flags & SHADOW:
            return None
        return EXCEPTION if flags & EXCLUDED else answer_code(value, promiscuous)

    return select


def of_zone(zone: Zone) -> Select:
    """Return the selection of a zone of any kind: a colour's zone has that colour only, and its own code for all."""
    kind = zone.kind
    if not kind.only:
        return published(zone.promiscuous)

    def select(value: int) -> bytes | None:
        code, _, flags = split_table_value(value)
        return zone.code if zone.code and table_value(code, 0, flags) == kind.wanted else None

    return select


def refused(value: int) -> bytes | None:
    """Select what the tarpit refuses."""
    code, mode, flags = split_table_value(value)
    if flags & SHADOW:
        return None
    return EXCEPTION if flags & EXCLUDED or mode == Mode.OBSERVE else code


def everything(value: int) -> bytes | None:
    """Select all that is listed."""
    code, _, flags = split_table_value(value)
    return EXCEPTION if flags & EXCLUDED else code


def ordered(rows: Iterable[Row]) -> Iterator[Row]:
    """Put rows of one family in key order into the order of entries, holding those of one address at a time."""
    same: list[Row] = []
    address = b""
    for row in rows:
        key = row[0]
        own = key[:-1] if len(key) in _NETWORK_SIZES else key
        if own != address:
            yield from _widest_first(same)
            same, address = [], own
        same.append(row)
    yield from _widest_first(same)


def _widest_first(same: list[Row]) -> list[Row]:
    """Order rows of one address: networks by length, as they are, and the bare host last."""
    return same if len(same) < 2 or len(same[0][0]) in _NETWORK_SIZES else [*same[1:], same[0]]
