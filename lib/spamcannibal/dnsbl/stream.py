"""Records of a zone -> the messages of a transfer (RFC 5936, RFC 1995). Pure.

    listing(zone, labels, entry, text)      the records of one listed name
    standing(zone)                          those of the zone and its hosts
    Packer(query, limit)                    fills messages: each has the question, so the zone's name is always at 12

Names are compressed against the zone's and the owner before, which is where neighbours share most. A pointer reaches
16 KiB, so longer messages would not be shorter in all.

What DNS can't say of a listed network in a wildcard: `$` in a text is the network, not the address asked for; names
that are no address, or only part of one, match too; and an exception's name exists (NODATA instead of NXDOMAIN).
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from spamcannibal.addr import format_addr, unmap
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.wire import HEADER, Labels, Query
from spamcannibal.dnsbl.zone import TEXT_LIMIT, Zone, expand, with_serial

MESSAGE_BYTES = 1 << 14
HOPS_LIMIT = 4  # pointers in one name: some readers follow few
BLOCK_TYPE = 65280  # of private use (RFC 6895), no data: the name exists, and that is all
_HEAD = struct.Struct(">HHIH")
_ZONE_AT = 0xC000 | HEADER.size
_OWNER = 2  # bytes of a template's owner: a pointer


class Record(NamedTuple):
    """`owner` are the labels before the zone's, `data` what follows the owner; names in it point at the zone's."""

    owner: Labels
    data: bytes


def listing(zone: Zone, labels: str, entry: Entry, text: str) -> list[Record]:
    """Return the records of a listed name or wildcard, or an exception's BLOCK."""
    owner = tuple(labels.encode().split(b"."))
    if not entry.is_listed:
        return [Record(owner, _HEAD.pack(BLOCK_TYPE, wire.IN, zone.ttl_s, 0))]
    name = format_addr(unmap(entry.packed)) if entry.is_host else entry.name
    said = expand(text.encode("utf-8", "replace")[:TEXT_LIMIT] or zone.text, name)
    templates = zone.a_record(entry.code), zone.txt_record(said)
    return [Record(owner, template.data[_OWNER:]) for template in templates]


def soa(zone: Zone, serial: int) -> Record:
    """Return the SOA of a serial."""
    (template,) = zone.nodes[()][wire.SOA]
    return Record((), with_serial(template.fill(HEADER.size), serial)[_OWNER:])


def standing(zone: Zone) -> Iterator[Record]:
    """Yield the records of the zone and its hosts, but the SOA."""
    for owner, node in zone.nodes.items():
        for rtype, templates in node.items():
            if rtype != wire.SOA:
                yield from (Record(owner, template.fill(HEADER.size)[_OWNER:]) for template in templates)


class _Label(NamedTuple):
    """Where a label was written, and how many pointers follow from there to the end of the name."""

    at: int
    hops: int

    @property
    def is_reachable(self) -> bool:
        return self.at <= 0x3FFF and self.hops < HOPS_LIMIT


class Packer:
    """Packs records into messages of up to `limit` bytes; `room` is kept free in each for a TSIG."""

    def __init__(self, query: Query, room: int = 0, limit: int = MESSAGE_BYTES) -> None:
        self._query = query
        self._limit = limit - room
        flags = wire.DO if query.edns and query.edns.wants_dnssec else 0
        self._opt = struct.pack(">BHHIH", 0, wire.OPT, 1232, flags, 0) if query.edns else b""
        self._parts: list[bytes] = []
        self._begin()

    def messages(self, records: Iterable[Record]) -> Iterator[bytes]:
        """Yield full messages, then the last; at least one."""
        for owner, data in records:
            shared = self._shared(owner)
            name = self._name(owner, shared)
            if self._size + len(name) + len(data) > self._limit and self._count:
                yield self._message()
                self._begin()
                shared = 0
                name = self._name(owner, 0)
            self._remember(owner, shared)
            self._parts += (name, data)
            self._size += len(name) + len(data)
            self._count += 1
        yield self._message()

    def _begin(self) -> None:
        self._parts.clear()
        self._count = 0
        self._size = HEADER.size + len(self._query.question) + len(self._opt)
        self._last: Labels = ()
        self._places: list[_Label] = []  # of the last owner's labels

    def _shared(self, owner: Labels) -> int:
        """Return how many of an owner's last labels a pointer can stand for."""
        shared = 0
        for ours, theirs in zip(reversed(owner), reversed(self._last), strict=False):
            if ours != theirs:
                break
            shared += 1
        while shared and not self._places[-shared].is_reachable:
            shared -= 1
        return shared

    def _name(self, owner: Labels, shared: int) -> bytes:
        """Return an owner's bytes: its own labels, then a pointer to what it shares with the last, or the zone."""
        pointer = 0xC000 | self._places[-shared].at if shared else _ZONE_AT
        own = owner[: len(owner) - shared]
        return b"".join(bytes((len(label),)) + label for label in own) + pointer.to_bytes(2, "big")

    def _remember(self, owner: Labels, shared: int) -> None:
        """Note where the labels of an owner are that is written next."""
        at = self._size - len(self._opt)
        kept = self._places[-shared:] if shared else []
        hops = kept[0].hops + 1 if kept else 1
        places = []
        for label in owner[: len(owner) - shared]:
            places.append(_Label(at, hops))
            at += 1 + len(label)
        self._places = places + kept
        self._last = owner

    def _message(self) -> bytes:
        query, opt = self._query, self._opt
        flags = wire.QR | wire.AA | query.flags & (wire.RD | wire.CD)
        head = HEADER.pack(query.id, flags, 1, self._count, 0, int(bool(opt)))
        self._opt = b""  # the first message's only
        return head + query.question + b"".join(self._parts) + opt
