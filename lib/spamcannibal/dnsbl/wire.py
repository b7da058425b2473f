"""A DNS query's bytes -> Query; strict, bounded, and without an exception for any input.

    header (12)  id u16 · QR 1 · opcode 4 · AA 1 · TC 1 · RD 1 · RA 1 · Z 1 · AD 1 · CD 1 · rcode 4 · four counts u16
    question     name (labels to 63 after their length, then a zero; to 255 bytes, no pointers) · type u16 · class u16
    records      only additional ones; of them OPT (RFC 6891) is read, others (TSIG, ...) are stepped over
    options      of the OPT only the first COOKIE (RFC 7873) is read

| query | answer |
|---|---|
| under 12 bytes, or itself an answer (QR) | silence: nothing can be matched to it, or it would start a loop |
| opcode other than QUERY | NOTIMP |
| counts, names, records or cookies that do not hold | FORMERR |

A query without a question is one for a cookie (RFC 7873 5.4) if it brings a cookie.

Error replies are the bare header: what could not be read is not sent back, so they are never larger than the query.
A name is kept as its labels in lower case; the question's own bytes are kept too, since replies echo its letter case.
dnslib is the oracle in the tests; here it would accept names over 255 bytes and recurse once for each chained pointer.
"""

import struct
from typing import NamedTuple

from spamcannibal.dnsbl.cookies import is_well_formed

HEADER = struct.Struct(">6H")
NAME_LIMIT = 255
LABEL_LIMIT = 63
ADDITIONAL_LIMIT = 8  # OPT and TSIG or SIG(0) are what a query can carry; the rest of the bound is courtesy
MESSAGE_LIMIT = 65535

QR, AA, TC, RD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0010
OPCODE = 0x7800
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS, BADCOOKIE = 0, 1, 2, 3, 4, 5, 16, 23

IN, CHAOS, ANY_CLASS = 1, 3, 255
A, NS, SOA, MX, TXT, AAAA, OPT = 1, 2, 6, 15, 16, 28, 41
TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY = 249, 250, 251, 252, 253, 254, 255

RCODE_NAMES = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    BADVERS: "BADVERS",
    BADCOOKIE: "BADCOOKIE",
}
TYPE_NAMES = {A: "A", NS: "NS", SOA: "SOA", MX: "MX", TXT: "TXT", AAAA: "AAAA", IXFR: "IXFR", AXFR: "AXFR", ANY: "ANY"}

Labels = tuple[bytes, ...]

OPTION_COOKIE = 10
DO = 0x8000  # of an OPT's flags: to be copied into the reply, whatever we make of it (RFC 3225 section 3)
_OPTION = struct.Struct(">HH")
_QUESTION_TAIL = struct.Struct(">HH")
_RECORD_HEAD = struct.Struct(">HHIH")


class Edns(NamedTuple):
    version: int
    payload_bytes: int
    cookie: bytes = b""
    wants_dnssec: bool = False


class Query(NamedTuple):
    """One question. `question` is its bytes as they came, `labels` its name in lower case, leftmost label first.

    Where only a cookie is asked for, `question` is empty.
    """

    id: int
    flags: int
    question: bytes
    labels: Labels
    qtype: int
    qclass: int
    edns: Edns | None


def read_query(data: bytes) -> Query | bytes | None:
    """Return the query, or the bare reply that is due instead, or None for silence."""
    if len(data) < HEADER.size:
        return None
    _, flags, questions, answers, authority, additional = HEADER.unpack_from(data)
    if flags & QR:
        return None
    if flags & OPCODE:
        return bare_reply(data, NOTIMP)
    if questions > 1 or answers or authority > 1 or additional > ADDITIONAL_LIMIT:
        return bare_reply(data, FORMERR)
    query = _read_body(data, questions, authority, additional)
    if query is None or not (query.question or (query.edns and query.edns.cookie)):
        return bare_reply(data, FORMERR)
    return query


def bare_reply(query: bytes, rcode: int) -> bytes:
    """Return the header alone with an rcode; `query` has at least a header."""
    ident, flags, *_ = HEADER.unpack_from(query)
    return HEADER.pack(ident, QR | flags & (OPCODE | RD | CD) | rcode, 0, 0, 0, 0)


def pack_name(labels: Labels) -> bytes:
    """Return a name's bytes, uncompressed; the labels come from settings that were checked."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def name_size(labels: Labels) -> int:
    """Return how many bytes a name takes, uncompressed."""
    return sum(map(len, labels)) + len(labels) + 1


def _read_body(data: bytes, questions: int, authority: int, additional: int) -> Query | None:
    """Return the query behind a good header, None where the bytes do not hold what the counts say."""
    labels: Labels = ()
    qtype, qclass, end = 0, IN, HEADER.size
    if questions:
        name = read_name(data, HEADER.size)
        if name is None or name[1] + _QUESTION_TAIL.size > len(data):
            return None
        labels, at = name
        qtype, qclass = _QUESTION_TAIL.unpack_from(data, at)
        end = at + _QUESTION_TAIL.size
    edns, at = None, end
    for index in range(authority + additional):
        record = _read_record(data, at)
        if record is None:
            return None
        opt, at = record
        if opt is None:
            continue
        if edns is not None or index < authority:  # RFC 6891 6.1.1: one OPT, and in the additional section
            return None
        edns = opt
    ident, flags, *_ = HEADER.unpack_from(data)
    return Query(ident, flags, data[HEADER.size : end], labels, qtype, qclass, edns)


def read_name(data: bytes, at: int) -> tuple[Labels, int] | None:
    """Return a name without pointers and where it ends."""
    labels: list[bytes] = []
    limit = min(len(data), at + NAME_LIMIT)
    while at < limit:
        size = data[at]
        at += 1
        if size == 0:
            return tuple(labels), at
        if size > LABEL_LIMIT or at + size > limit:
            return None
        labels.append(data[at : at + size].lower())
        at += size
    return None


def skip_name(data: bytes, at: int) -> int | None:
    """Return where a name ends that may end in a pointer (which is not followed)."""
    limit = min(len(data), at + NAME_LIMIT)
    while at < limit:
        size = data[at]
        if size == 0:
            return at + 1
        if size >= 0xC0:
            return at + 2
        if size > LABEL_LIMIT:
            return None
        at += 1 + size
    return None


def _read_record(data: bytes, at: int) -> tuple[Edns | None, int] | None:
    """Return a record's EDNS values if it is an OPT, and where it ends."""
    start = at
    end = skip_name(data, at)
    if end is None or end + _RECORD_HEAD.size > len(data):
        return None
    rtype, rclass, ttl, size = _RECORD_HEAD.unpack_from(data, end)
    at = end + _RECORD_HEAD.size + size
    if at > len(data):
        return None
    if rtype != OPT:
        return None, at
    cookie = _read_options(data[at - size : at])
    if data[start] != 0 or cookie is None:
        return None
    return Edns(ttl >> 16 & 0xFF, rclass, cookie, bool(ttl & DO)), at


def _read_options(options: bytes) -> bytes | None:
    """Return an OPT's cookie, empty if it has none, None if the options do not fill their space exactly."""
    at, cookie = 0, b""
    while at + _OPTION.size <= len(options):
        code, size = _OPTION.unpack_from(options, at)
        at += _OPTION.size + size
        if code != OPTION_COOKIE or cookie:
            continue
        cookie = options[at - size : at]
        if not is_well_formed(cookie):
            return None
    return cookie if at == len(options) else None
