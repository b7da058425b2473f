"""A query's bytes and what is published -> the reply's bytes. Pure: no socket, clock or store.

    respond(query, view, asker) -> Reply     the reply, and what those who count and limit want to know of it
                                 | None      silence: no query, or an answer sent to us
                                 | Pending   this listing's text is needed first; ask again when view.text knows it
    answer(query, view)                      the same, of the reply only the bytes
    cut(reply)                               what is sent instead of a reply that is one too many

| name | asked for | answer |
|---|---|---|
| version.bind and the like in class CHAOS, if the settings tell | TXT, ANY | the text |
| outside our zones, any other class than IN, AXFR, IXFR | anything | REFUSED |
| in a zone that does not let this address ask | anything | REFUSED |
| in a zone whose data is too old | anything | SERVFAIL |
| the zone, its hosts, a listed address | a type it has | the records |
| | ANY | one of its types (RFC 8482) |
| | another type | NOERROR, no records, SOA (NODATA, RFC 2308) |
| above a listing | anything | NODATA: it exists (RFC 8020) |
| all else in the zone | anything | NXDOMAIN, SOA |

The longest prefix that covers an address decides. 127.0.0.2 is always listed, 127.0.0.1 never.

Replies fit what the query allows: 512 bytes over UDP, with EDNS what it names but no more than ours (1232: no
fragments); what does not fit is left out record by record and TC is set, so that the client asks again over TCP.

A query with a cookie gets one back (cookies.py). Only when replies to a network are being limited does a cookie that is
not ours matter: then it gets BADCOOKIE, where others get TC.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from spamcannibal._core import DnsView
from spamcannibal.addr import format_addr, make_key, mask
from spamcannibal.colours import Kind
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.cookies import Cookies, Judged
from spamcannibal.dnsbl.names import TEST_CLEAR, TEST_LISTED, holds_test_point, is_host, readings
from spamcannibal.dnsbl.wire import HEADER, Edns, Labels, Query
from spamcannibal.dnsbl.zone import Node, Template, Zone, Zones, character_strings, expand, with_serial
from spamcannibal.record import PROVEN_CODE

CLASSIC_LIMIT = 512
PAYLOAD_BYTES = 1232  # fits every path unfragmented (dnsflagday.net/2020)
_OPT = struct.Struct(">BHHBBHH")  # root name, type, our payload size, upper rcode, version, flags, length
_RECORD = struct.Struct(">HHHIH")
_COOKIE = struct.Struct(">HH")
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


class Asker(NamedTuple):
    """Who asks, how and when (s since the epoch). Without an address it is ourselves."""

    transport: Transport = UDP
    addr: bytes = b""
    now: int = 0


class Pending(NamedTuple):
    """The listing whose text must be fetched before the query can be answered."""

    key: bytes


class Listings(Protocol):
    """What one kind of zone shows."""

    def __len__(self) -> int: ...

    def match(self, addr: bytes) -> tuple[int, int] | None:
        """Return (prefix length, table value) of the longest entry that covers an address."""

    def has_below(self, addr: bytes, plen: int) -> bool:
        """Tell whether anything under a prefix is listed; may err towards yes, never towards no."""


@dataclass(frozen=True)
class View:
    """What is published. `listings` by kind of zone; `text(key)` is a listing's own text, empty if it has none.

    `fast` is the same for the C loop; None: it asks Python everything. `chaos` is what we tell of ourselves, by name.
    """

    zones: Zones
    listings: Mapping[Kind, Listings]
    serial: Callable[[], int]
    text: Callable[[bytes], bytes | Pending]
    fast: DnsView | None = None
    cookies: Cookies | None = None
    is_stale: Callable[[], bool] = lambda: False
    chaos: Mapping[Labels, bytes] = field(default_factory=dict)


class Reply(NamedTuple):
    """A reply's bytes and what it says. `zone` is empty outside ours, `query` None where it could not be read."""

    data: bytes
    rcode: int
    query: Query | None = None
    zone: str = ""
    judged: Judged | None = None

    @property
    def name(self) -> bytes:
        """Return what makes it equal to others: the name, none for an error."""
        return wire.pack_name(self.query.labels) if self.query and self.rcode in (wire.NOERROR, wire.NXDOMAIN) else b""

    @property
    def is_trusted(self) -> bool:
        """Tell whether it goes to an address that is not forged, by its cookie."""
        return self.judged is not None and self.judged.is_valid


class Found(NamedTuple):
    """What a question comes to. An empty `answers` with NOERROR is NODATA."""

    rcode: int
    answers: tuple[Template, ...] = ()
    glue: tuple[Template, ...] = ()


NODATA = Found(wire.NOERROR)
NXDOMAIN = Found(wire.NXDOMAIN)


def answer(data: bytes, view: View, transport: Transport = UDP) -> bytes | Pending | None:
    """Return the reply to a query, None for silence, Pending if a text is missing. Never raises, whatever the bytes."""
    reply = respond(data, view, Asker(transport))
    return reply.data if isinstance(reply, Reply) else reply


def respond(data: bytes, view: View, asker: Asker) -> Reply | Pending | None:
    """Return the reply to a query, None for silence, Pending if a text is missing. Never raises, whatever the bytes."""
    query = wire.read_query(data)
    if query is None:
        return None
    if isinstance(query, bytes):
        return Reply(query, query[3] & 15)
    judged = None
    if view.cookies and query.edns and query.edns.cookie:
        judged = view.cookies.judge(query.edns.cookie, asker.addr or bytes(4), asker.now)
    refusal = _refusal(query, judged)
    if refusal == wire.REFUSED and (told := _chaos(query, view)):
        return Reply(_message(query, asker.transport, wire.NOERROR, judged, ([told],)), wire.NOERROR, query, "", judged)
    zone = view.zones.find(query.labels) if refusal is None else None
    if zone is not None and asker.addr and not zone.admits(asker.addr):
        zone = None
    if zone is not None and view.is_stale():
        refusal = wire.SERVFAIL
    if zone is None or refusal is not None:
        rcode = wire.REFUSED if refusal is None else refusal
        return Reply(_message(query, asker.transport, rcode, judged), rcode, query, zone.name if zone else "", judged)
    found = find(zone, query.labels[: len(query.labels) - len(zone.labels)], query.qtype, view)
    if isinstance(found, Pending):
        return found
    zone_at = HEADER.size + wire.name_size(query.labels) - zone.size
    answers = [_filled(template, zone_at, view) for template in found.answers]
    authority = [] if answers else [with_serial(zone.negative_soa.fill(zone_at), view.serial())]
    glue = [template.fill(zone_at) for template in found.glue]
    message = _message(query, asker.transport, found.rcode, judged, (answers, authority, glue))
    return Reply(message, found.rcode, query, zone.name, judged)


def cut(reply: Reply) -> bytes:
    """Return what tells a client that is really there how to get the reply: TC, or BADCOOKIE where it knows cookies.

    It is no longer than the query, but for the cookie.
    """
    if reply.query is None:
        return reply.data
    if reply.judged is not None:
        return _message(reply.query, UDP, wire.BADCOOKIE, reply.judged)
    message = bytearray(_message(reply.query, UDP, wire.NOERROR, None))
    message[2] |= wire.TC >> 8
    return bytes(message)


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


def _refusal(query: Query, judged: Judged | None) -> int | None:
    """Return the rcode for a question that is no matter of zones, None if it is."""
    if query.edns is not None and query.edns.version > 0:
        return wire.BADVERS
    if not query.question:
        if judged is None:
            return wire.FORMERR
        return wire.BADCOOKIE if judged.has_server and not judged.is_valid else wire.NOERROR
    if query.qclass != wire.IN:
        return wire.REFUSED
    return _META.get(query.qtype)


def _chaos(query: Query, view: View) -> bytes:
    """Return the record that tells who we are (RFC 4892), empty if that is not asked or not told."""
    if query.qclass != wire.CHAOS or query.qtype not in (wire.TXT, wire.ANY) or query.labels not in view.chaos:
        return b""
    strings = character_strings(view.chaos[query.labels])
    return _RECORD.pack(0xC000 | HEADER.size, wire.TXT, wire.CHAOS, 0, len(strings)) + strings


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


def _message(
    query: Query, transport: Transport, rcode: int, judged: Judged | None, sections: tuple[list[bytes], ...] = ()
) -> bytes:
    """Return the message: header, question, as many records as fit, OPT if the query had one.

    The rcode's upper bits go into the OPT. AA is set where one of our zones spoke, which is where sections are given.
    """
    opt = _opt(rcode, judged, query.edns) if query.edns else b""
    room = _limit(query, transport) - HEADER.size - len(query.question) - len(opt)
    flags = wire.QR | query.flags & (wire.RD | wire.CD) | rcode & 15 | (wire.AA if sections else 0)
    body, counts, is_cut = _fitting(sections, room)
    counts[2] += bool(opt)
    header = HEADER.pack(query.id, flags | (wire.TC if is_cut else 0), bool(query.question), *counts)
    return header + query.question + body + opt


def _fitting(sections: tuple[list[bytes], ...], room: int) -> tuple[bytes, list[int], bool]:
    """Return the records that fit, how many of each section, and whether any is missed."""
    body, counts = b"", [0, 0, 0]
    for index, records in enumerate(sections):
        for record in records:
            if len(body) + len(record) > room:
                return body, counts, index < 2  # addresses beside an answer are a courtesy
            body += record
            counts[index] += 1
    return body, counts, False


def _opt(rcode: int, judged: Judged | None, asked: Edns) -> bytes:
    option = b"" if judged is None else _COOKIE.pack(wire.OPTION_COOKIE, len(judged.reply)) + judged.reply
    flags = wire.DO if asked.wants_dnssec else 0
    return _OPT.pack(0, wire.OPT, PAYLOAD_BYTES, rcode >> 4, 0, flags, len(option)) + option


def _limit(query: Query, transport: Transport) -> int:
    """Return how long the reply may be."""
    if transport.is_stream:
        return transport.limit_bytes
    asked = CLASSIC_LIMIT if query.edns is None else query.edns.payload_bytes
    return max(CLASSIC_LIMIT, min(asked, transport.limit_bytes))
