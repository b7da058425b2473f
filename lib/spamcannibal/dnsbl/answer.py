"""A query's bytes and what is published -> the reply's bytes. Pure: no socket, clock or store.

    answer(query, view) -> bytes     the reply
                         | None      silence: no query, or an answer sent to us
                         | Pending   the text of this listing is needed first; ask again when view.text knows it

| name | asked for | answer |
|---|---|---|
| outside our zones, a class other than IN (CHAOS too), AXFR, IXFR | anything | REFUSED |
| the zone, its hosts, a listed address | a type it has | the records |
| | ANY | one of its types (RFC 8482) |
| | another type | NOERROR, no records, SOA (NODATA, RFC 2308) |
| above a listing | anything | NODATA: it exists (RFC 8020) |
| all else in the zone | anything | NXDOMAIN, SOA |

The longest prefix that covers an address decides. 127.0.0.2 is always listed, 127.0.0.1 never.

Replies fit what the query allows: 512 bytes over UDP, with EDNS what it names but no more than ours (1232: no
fragments); what does not fit is left out record by record and TC is set, so that the client asks again over TCP.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from spamcannibal.addr import format_addr, make_key, mask
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.colours import Kind
from spamcannibal.dnsbl.names import TEST_CLEAR, TEST_LISTED, holds_test_point, is_host, readings
from spamcannibal.dnsbl.wire import HEADER, Labels, Query
from spamcannibal.dnsbl.zone import Node, Template, Zone, Zones, expand, with_serial
from spamcannibal.record import PROVEN_CODE

CLASSIC_LIMIT = 512
PAYLOAD_BYTES = 1232  # fits every path unfragmented (dnsflagday.net/2020)
_OPT = struct.Struct(">BHHBBHH")  # root name, type, our payload size, upper rcode, version, flags, length
_META = {
    wire.OPT: wire.FORMERR,
    wire.TSIG: wire.FORMERR,
    wire.TKEY: wire.NOTIMP,
    wire.MAILB: wire.NOTIMP,
    wire.MAILA: wire.NOTIMP,
    wire.AXFR: wire.REFUSED,
    wire.IXFR: wire.REFUSED,
}


class Transport(NamedTuple):
    """How a query came: over a stream (TCP) or in a datagram, and the longest reply we send that way."""

    is_stream: bool
    limit_bytes: int


UDP = Transport(False, PAYLOAD_BYTES)
TCP = Transport(True, wire.MESSAGE_LIMIT)


class Pending(NamedTuple):
    """The listing whose text must be fetched before the query can be answered."""

    key: bytes


class Listings(Protocol):
    """What one kind of zone shows."""

    def match(self, addr: bytes) -> tuple[int, int] | None:
        """Return (prefix length, table value) of the longest entry that covers an address."""

    def has_below(self, addr: bytes, plen: int) -> bool:
        """Tell whether anything under a prefix is listed; may err towards yes, never towards no."""


@dataclass(frozen=True)
class View:
    """What is published. `listings` by kind of zone; `text(key)` is a listing's own text, empty if it has none."""

    zones: Zones
    listings: Mapping[Kind, Listings]
    serial: Callable[[], int]
    text: Callable[[bytes], bytes | Pending]


class Found(NamedTuple):
    """What a question comes to. An empty `answers` with NOERROR is NODATA."""

    rcode: int
    answers: tuple[Template, ...] = ()
    glue: tuple[Template, ...] = ()


NODATA = Found(wire.NOERROR)
NXDOMAIN = Found(wire.NXDOMAIN)


def answer(data: bytes, view: View, transport: Transport = UDP) -> bytes | Pending | None:
    """Return the reply to a query, None for silence, Pending if a text is missing. Never raises, whatever the bytes."""
    query = wire.read_query(data)
    if not isinstance(query, Query):
        return query
    refusal = _refusal(query)
    zone = None if refusal else view.zones.find(query.labels)
    if zone is None:
        return _reply(query, transport, refusal or wire.REFUSED)
    found = find(zone, query.labels[: len(query.labels) - len(zone.labels)], query.qtype, view)
    if isinstance(found, Pending):
        return found
    zone_at = HEADER.size + wire.name_size(query.labels) - zone.size
    answers = [_filled(template, zone_at, view) for template in found.answers]
    authority = [] if answers else [with_serial(zone.negative_soa.fill(zone_at), view.serial())]
    glue = [template.fill(zone_at) for template in found.glue]
    return _reply(query, transport, found.rcode, (answers, authority, glue))


def find(zone: Zone, relative: Labels, qtype: int, view: View) -> Found | Pending:
    """Return what the zone holds for the labels before its name."""
    node = zone.nodes.get(relative)
    if node is not None:
        return _of_node(node, qtype, zone.glue)
    exists = False
    for addr, plen in readings(relative):
        if not is_host(addr, plen):
            exists = exists or holds_test_point(addr, plen) or view.listings[zone.kind].has_below(addr, plen)
            continue
        listed = _listed(zone, addr, view)
        if listed is not None:
            return _of_listing(zone, addr, listed, qtype, view)
    return NODATA if exists else NXDOMAIN


def servfail(data: bytes) -> bytes | None:
    """Return the reply of a server that failed on a query, None where silence is due."""
    if len(data) < HEADER.size or data[2] & 0x80:
        return None
    return wire.bare_reply(data, wire.SERVFAIL)


def _refusal(query: Query) -> int:
    """Return the rcode for a question that is no matter of zones, 0 if it is."""
    if query.edns is not None and query.edns.version > 0:
        return wire.BADVERS
    if query.qclass != wire.IN:
        return wire.REFUSED
    return _META.get(query.qtype, 0)


def _of_node(node: Node, qtype: int, glue: tuple[Template, ...]) -> Found:
    if qtype == wire.ANY:
        qtype = next(iter(node), qtype)
    return Found(wire.NOERROR, node.get(qtype, ()), glue if qtype == wire.NS and wire.NS in node else ())


def _listed(zone: Zone, addr: bytes, view: View) -> tuple[bytes, bytes] | None:
    """Return (answer code, key of the listing) of an address that the zone lists."""
    if addr == TEST_LISTED:
        return zone.code or PROVEN_CODE, addr
    match = None if addr == TEST_CLEAR else view.listings[zone.kind].match(addr)
    if match is None:
        return None
    plen, value = match
    code = zone.code_of(value)
    return None if code is None else (code, make_key(mask(addr, plen), plen))


def _of_listing(zone: Zone, addr: bytes, listed: tuple[bytes, bytes], qtype: int, view: View) -> Found | Pending:
    code, key = listed
    if qtype in (wire.A, wire.ANY):
        return Found(wire.NOERROR, (zone.a_record(code),))
    if qtype != wire.TXT:
        return NODATA
    text = b"" if addr == TEST_LISTED else view.text(key)
    if isinstance(text, Pending):
        return text
    return Found(wire.NOERROR, (zone.txt_record(expand(text or zone.text, format_addr(addr))),))


def _filled(template: Template, zone_at: int, view: View) -> bytes:
    """Return the bytes of a record that the name asked for owns."""
    record = template.fill(zone_at, HEADER.size)
    return with_serial(record, view.serial()) if template.has_serial else record


def _reply(query: Query, transport: Transport, rcode: int, sections: Iterable[list[bytes]] = ()) -> bytes:
    """Return the message: header, question, as many records as fit, OPT if the query had one.

    The rcode's upper bits go into the OPT. AA is set where one of our zones spoke, which is where sections are given.
    """
    opt = b"" if query.edns is None else _OPT.pack(0, wire.OPT, PAYLOAD_BYTES, rcode >> 4, 0, 0, 0)
    room = _limit(query, transport) - HEADER.size - len(query.question) - len(opt)
    sections = tuple(sections)
    flags = wire.QR | query.flags & (wire.RD | wire.CD) | rcode & 15 | (wire.AA if sections else 0)
    body, counts = b"", [0, 0, 0]
    for index, records in enumerate(sections):
        for record in records:
            if len(body) + len(record) > room:
                flags |= 0 if index == 2 else wire.TC  # addresses beside an answer are a courtesy
                return _message(query, flags, counts, body, opt)
            body += record
            counts[index] += 1
    return _message(query, flags, counts, body, opt)


def _message(query: Query, flags: int, counts: list[int], body: bytes, opt: bytes) -> bytes:
    header = HEADER.pack(query.id, flags, 1, counts[0], counts[1], counts[2] + bool(opt))
    return header + query.question + body + opt


def _limit(query: Query, transport: Transport) -> int:
    """Return how long the reply may be."""
    if transport.is_stream:
        return transport.limit_bytes
    asked = CLASSIC_LIMIT if query.edns is None else query.edns.payload_bytes
    return max(CLASSIC_LIMIT, min(asked, transport.limit_bytes))
