"""A reply's bytes and the question that it should answer -> Reply, or WireError. Pure, strict, bounded.

What a reply must be: one question, that which was asked; names of at most 255 bytes, whose pointers only go backwards
(those that nobody needs are stepped over); records that end where the message says, at most RECORDS_LIMIT of them in
answer or authority section. Of the answer only what belongs to the name counts: the records of the type that was asked
for, at the name or at the end of the chain of CNAMEs from it (RFC 2317 delegates reverse zones so), which has at most
CHAIN_LIMIT steps and no loop.

| reply | reading |
|---|---|
| NOERROR with such records | their data: A as 4 bytes, TXT with its strings joined, PTR as text, others as bytes |
| NOERROR with none, but an SOA | NODATA (RFC 2308) |
| NOERROR with none and no SOA | WireError: a referral, a lame server or a broken one; it proves nothing |
| NXDOMAIN | NXDOMAIN |
| any other rcode | that rcode, nothing else is read |

The TTL is the least of the records and CNAMEs used, of a negative answer that of the SOA or its MINIMUM, else 0.
dnslib is the oracle in the tests.
"""

import struct
from enum import Enum
from typing import NamedTuple

from spamcannibal.errors import WireError
from spamcannibal.remote.query import NAME_LIMIT, PTR, SOA, TXT, A

HEADER_BYTES = 12
RECORDS_LIMIT = 64
ADDITIONAL_LIMIT = 256
CHAIN_LIMIT = 8
DATA_LIMIT = 4096
TTL_LIMIT_S = 604_800

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16
RCODES = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    BADVERS: "BADVERS",
}

_QR, _TC, _OPCODE = 0x80, 0x02, 0x78
_CNAME, _OPT, _IN = 5, 41, 1
_HEADER = struct.Struct(">6H")
_RECORD = struct.Struct(">HHIH")
_POINTER_TO_QUESTION = b"\xc0\x0c"


class Match(Enum):
    """How a reply's question compares with the one that was asked."""

    SAME = "same"
    OTHER_CASE = "other case"
    BARE = "no question, and an rcode that says why"
    OTHER = "other question"


class Reply(NamedTuple):
    rcode: int
    data: tuple[bytes, ...] = ()
    ttl_s: int = 0


class _Record(NamedTuple):
    owner: bytes
    rtype: int
    ttl_s: int
    start: int
    end: int


def match(data: bytes, question: bytes) -> Match:
    """Compare the question of a reply, which has at least a header, with the one asked."""
    if data[4:6] == b"\0\1":
        if data.startswith(question, HEADER_BYTES):
            return Match.SAME
        found = data[HEADER_BYTES : HEADER_BYTES + len(question)]
        return Match.OTHER_CASE if found.lower() == question.lower() else Match.OTHER
    is_bare = data[4:6] == b"\0\0" and data[3] & 15 not in (NOERROR, NXDOMAIN)
    return Match.BARE if is_bare else Match.OTHER


def is_reply(data: bytes) -> bool:
    """Tell whether bytes have a header that answers a query."""
    return len(data) >= HEADER_BYTES and data[2] & (_QR | _OPCODE) == _QR


def is_truncated(data: bytes) -> bool:
    return data[2] & _TC != 0


def read_reply(data: bytes, question: bytes) -> Reply:
    """Return what a reply says whose question matches; WireError if it does not hold."""
    _, flags, _, answers, authority, additional = _HEADER.unpack_from(data)
    rcode = flags & 15
    if rcode not in (NOERROR, NXDOMAIN):
        return Reply(rcode)
    if answers > RECORDS_LIMIT or authority > RECORDS_LIMIT or additional > ADDITIONAL_LIMIT:
        raise WireError(f"too many records: {answers} answers, {authority} of authority, {additional} additional")
    at = HEADER_BYTES + len(question)
    records: list[_Record] = []
    if answers:
        records, at = _records(data, at, answers)
    negative_s, at = _authority(data, at, authority)
    if additional:
        rcode |= _extended_rcode(data, at, additional)
        if rcode not in (NOERROR, NXDOMAIN):
            return Reply(rcode)
    found, ttl_s = _follow(data, records, question) if records else ((), TTL_LIMIT_S)
    if found and rcode == NXDOMAIN:
        raise WireError("NXDOMAIN with answers")
    if found:
        return Reply(rcode, found, min(ttl_s, TTL_LIMIT_S))
    if negative_s < 0 and rcode == NOERROR:
        raise WireError("an answer without answers")
    return Reply(rcode, (), min(ttl_s, negative_s, TTL_LIMIT_S) if negative_s > 0 else 0)


def skip_name(data: bytes, at: int) -> int:
    """Return where a name's bytes end, without following a pointer; WireError if it breaks off."""
    end = min(len(data), at + NAME_LIMIT)
    while at < end:
        length = data[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if length == 0:
            return at
        if length > 63:
            break
    raise WireError("a name breaks off")


def read_name(data: bytes, at: int) -> tuple[bytes, int]:
    """Return a name in lower case and uncompressed, and where its bytes at `at` end; WireError if it is none."""
    labels: list[bytes] = []
    size, end, lowest = 1, 0, at
    while True:
        length = data[at] if at < len(data) else -1
        if length == 0:
            return b"".join(labels) + b"\0", end or at + 1
        if 0 < length < 64 and at + length < len(data):
            size += 1 + length
            labels.append(data[at : at + 1 + length].lower())
            at += 1 + length
        elif length >= 0xC0 and at + 1 < len(data):
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            # Each jump goes further back than all before, so that there are finitely many.
            if at >= lowest or at < HEADER_BYTES:
                raise WireError("a name's pointer leads nowhere")
            lowest = at
        else:
            raise WireError("a name breaks off")
        if size > NAME_LIMIT:
            raise WireError("a name of more than 255 bytes")


def name_text(name: bytes) -> str:
    """Return an uncompressed name as text: bytes that are no part of host names escaped as RFC 4343 does."""
    labels, at = [], 0
    while name[at]:
        labels.append("".join(map(_shown, name[at + 1 : at + 1 + name[at]])))
        at += 1 + name[at]
    return ".".join(labels) or "."


def _shown(byte: int) -> str:
    char = chr(byte)
    return char if byte < 128 and (char.isalnum() or char in "-_/") else f"\\{byte:03d}"


def _records(data: bytes, at: int, count: int) -> tuple[list[_Record], int]:
    """Return so many records, and where they end."""
    found = []
    for _ in range(count):
        if data.startswith(_POINTER_TO_QUESTION, at):
            owner, at = b"", at + 2  # the name that was asked for: most of them are
        else:
            owner, at = read_name(data, at)
        start = at + _RECORD.size
        rtype, rclass, ttl_s, at = _head(data, at)
        if rclass == _IN:
            # RFC 2181 8: a TTL with the highest bit set is none.
            found.append(_Record(owner, rtype, ttl_s if ttl_s < 1 << 31 else 0, start, at))
    return found, at


def _authority(data: bytes, at: int, count: int) -> tuple[int, int]:
    """Return how long a negative answer holds by the SOA (RFC 2308 5), -1 if there is none, and where it all ends."""
    negative_s = -1
    for _ in range(count):
        at = skip_name(data, at)
        rtype, rclass, ttl_s, end = _head(data, at)
        if rtype == SOA and rclass == _IN and negative_s < 0:
            if skip_name(data, skip_name(data, at + _RECORD.size)) + 20 != end:
                raise WireError("an SOA record of the wrong length")
            minimum_s = int.from_bytes(data[end - 4 : end], "big")
            negative_s = ttl_s if ttl_s < minimum_s else minimum_s
        at = end
    return negative_s, at


def _extended_rcode(data: bytes, at: int, count: int) -> int:
    """Return the upper bits of the rcode, which the OPT of the additional section holds (RFC 6891 6.1.3)."""
    for _ in range(count):
        at = skip_name(data, at)
        rtype, _, ttl_s, end = _head(data, at)
        if rtype == _OPT:
            return ttl_s >> 24 << 4
        at = end
    return 0


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return a record's type, class, TTL and end, from behind its owner's name."""
    if at + _RECORD.size > len(data):
        raise WireError("a record breaks off")
    rtype, rclass, ttl_s, size = _RECORD.unpack_from(data, at)
    end = at + _RECORD.size + size
    if end > len(data):
        raise WireError("a record breaks off")
    return rtype, rclass, ttl_s, end


def _follow(data: bytes, records: list[_Record], question: bytes) -> tuple[tuple[bytes, ...], int]:
    """Return the data at the end of the chain from the question's name, and the least TTL on the way."""
    name, qtype = question[:-4].lower(), int.from_bytes(question[-4:-2], "big")
    ttl_s = TTL_LIMIT_S
    owned: dict[bytes, list[_Record]] = {}
    for record in records:
        owned.setdefault(record.owner or name, []).append(record)
    for _ in range(CHAIN_LIMIT + 1):
        here = owned.get(name, [])
        wanted = [record for record in here if record.rtype == qtype]
        if wanted:
            ttl_s = min(ttl_s, *(record.ttl_s for record in wanted))
            return tuple(_value(data, record) for record in wanted), ttl_s
        alias = next((record for record in here if record.rtype == _CNAME), None)
        if alias is None:
            return (), ttl_s
        ttl_s = min(ttl_s, alias.ttl_s)
        name = _name_at(data, alias)
    raise WireError("a loop of CNAMEs, or too many of them")


def _value(data: bytes, record: _Record) -> bytes:
    """Return a record's data in the form that the module's table says."""
    raw = data[record.start : record.end]
    if record.rtype == A and len(raw) != 4:
        raise WireError(f"an A record of {len(raw)} bytes")
    if record.rtype == TXT:
        return _strings(raw)[:DATA_LIMIT]
    if record.rtype == PTR:
        return name_text(_name_at(data, record)).encode()
    return raw


def _name_at(data: bytes, record: _Record) -> bytes:
    name, end = read_name(data, record.start)
    if end != record.end:
        raise WireError("a name that does not fill its record")
    return name


def _strings(raw: bytes) -> bytes:
    """Return the strings of a TXT record, joined."""
    parts, at = [], 0
    while at < len(raw):
        size = raw[at]
        if at + 1 + size > len(raw):
            raise WireError("a TXT string breaks off")
        parts.append(raw[at + 1 : at + 1 + size])
        at += 1 + size
    return b"".join(parts)
