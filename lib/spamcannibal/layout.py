"""Record layouts of the store: bytes <-> values. Pure; the only place that knows what lies at which offset.

All integers are unsigned and big-endian; times are milliseconds since the epoch, 0 = none. The first byte of every
value is the layout's version, 1 (blcontrib: 2). `str16` is a u16 length and that many bytes of UTF-8; `bytes8`,
`bytes32` likewise with u8 and u32.

    tarpit     Listing    version u8 · state u32 · listed_ms u64 · contact_ms u64 · expiry_ms u64 · seq u64
    archive    Contact    version u8 · count u32 · first_ms u64 · last_ms u64
    blcontrib  Contrib    version u8 · code 4 · expiry_ms u64 · causes u16 · causes x (zone str16 · code 4 · addr bytes8
                          · text str16), the heaviest first
    evidence   Evidence   version u8 · pieces u16 · pieces x (time_ms u64 · source str16 · body bytes32), oldest first
    journal    Change     version u8 · action u8 · state u32 · time_ms u64 · expiry_ms u64 · key bytes8 · source str16
                          · text str16
    meta       Tally      version u8 · last seq u64 · records in archive, blcontrib, evidence, each u64
                          · 33 x u32 (IPv4 listings by prefix length) · 129 x u32 (IPv6)
    history    Removed    version u8 · contrib bytes32 · evidence bytes32 (empty: there was none)
    checked    Checked    version u8 · unknown u16 · checked_ms u64
    meta       Hits       version u8 · since_ms u64 · passed, never, given up, each u64 · zones u16
                          · zones x (zone str16 · count u64)

`state` (record.py) is word for word what the C tables hold, so that a table is filled without decoding more than four
bytes.
"""

import struct
from collections.abc import Callable
from typing import TypeVar

from spamcannibal.errors import StoreError
from spamcannibal.record import (
    EXCLUDED,
    OWN_TEXT,
    SHADOW,
    Action,
    Cause,
    Change,
    Checked,
    Contact,
    Contrib,
    Hits,
    Listing,
    Piece,
    Tally,
    split_table_value,
)

VERSION = 1
CONTRIB_VERSION = 2

_LISTING = struct.Struct(">BIQQQQ")
_CONTACT = struct.Struct(">BIQQ")
_CONTRIB = struct.Struct(">B4sQH")
_PIECES = struct.Struct(">BH")
_CHANGE = struct.Struct(">BBIQQ")
_TALLY = struct.Struct(">B4Q162I")
_REMOVED = struct.Struct(">B")
_SEEN = struct.Struct(">BHQ")
_HITS = struct.Struct(">B4QH")
_U8, _U16, _U32, _U64 = (struct.Struct(f) for f in (">B", ">H", ">I", ">Q"))
_STATE = struct.Struct(">xI")
_CONTACT_AT = 13

T = TypeVar("T")


def pack_listing(listing: Listing) -> bytes:
    return _LISTING.pack(VERSION, listing.state, listing.listed_ms, listing.contact_ms, listing.expiry_ms, listing.seq)


def unpack_listing(data: bytes) -> Listing:
    return _checked("tarpit", data, _unpack_listing)


def listing_state(data: bytes) -> int:
    """Give the state word of a tarpit value and nothing else: what fills the tables a million times."""
    return int(_STATE.unpack_from(data)[0])


def is_shadow(data: bytes) -> bool:
    """Tell whether a tarpit value is a listing on trial."""
    return bool(data[4] >> 4 & SHADOW)


def is_refusing(data: bytes) -> bool:
    """Tell whether a tarpit value is a listing that refuses: no exception, not on trial."""
    return not data[4] >> 4 & (EXCLUDED | SHADOW)


def with_contact(data: bytes, contact_ms: int) -> bytes:
    """Give a tarpit value with a newer time of last contact; the same object if it is not newer."""
    if contact_ms <= _U64.unpack_from(data, _CONTACT_AT)[0]:
        return data
    return data[:_CONTACT_AT] + _U64.pack(contact_ms) + data[_CONTACT_AT + 8 :]


def pack_contact(contact: Contact) -> bytes:
    return _CONTACT.pack(VERSION, min(contact.count, 0xFFFFFFFF), contact.first_ms, contact.last_ms)


def unpack_contact(data: bytes) -> Contact:
    return _checked("archive", data, lambda b: Contact(*_CONTACT.unpack(b)[1:]))


def merge_contact(data: bytes | None, count: int, first_ms: int, last_ms: int) -> bytes:
    """Add a sighting to an archive value (None: a new one), in bytes: this is the daemon's once-a-second loop."""
    if data is not None:
        version, had, first, last = _CONTACT.unpack(data)
        if version != VERSION:
            unpack_contact(data)
        count, first_ms, last_ms = min(count + had, 0xFFFFFFFF), min(first, first_ms), max(last, last_ms)
    return _CONTACT.pack(VERSION, count, first_ms, last_ms)


def pack_contrib(contrib: Contrib) -> bytes:
    parts = [_CONTRIB.pack(CONTRIB_VERSION, contrib.code, contrib.expiry_ms, len(contrib.causes))]
    for cause in contrib.causes:
        parts += (_str16(cause.zone), cause.code, _U8.pack(len(cause.addr)), cause.addr, _str16(cause.text))
    return b"".join(parts)


def unpack_contrib(data: bytes) -> Contrib:
    return _checked("blcontrib", data, _unpack_contrib, CONTRIB_VERSION)


def pack_evidence(pieces: list[Piece]) -> bytes:
    parts = [_PIECES.pack(VERSION, len(pieces))]
    for piece in pieces:
        parts += (_U64.pack(piece.time_ms), _str16(piece.source), _U32.pack(len(piece.body)), piece.body)
    return b"".join(parts)


def unpack_evidence(data: bytes) -> list[Piece]:
    return _checked("evidence", data, _unpack_evidence)


def pack_change(change: Change) -> bytes:
    """Give the journal value; the sequence number is its key (pack_seq)."""
    head = _CHANGE.pack(VERSION, change.action, change.state, change.time_ms, change.expiry_ms)
    return head + _U8.pack(len(change.key)) + change.key + _str16(change.source) + _str16(change.text)


def unpack_change(seq: int, data: bytes) -> Change:
    return _checked("journal", data, lambda b: _unpack_change(seq, b))


def pack_tally(tally: Tally) -> bytes:
    numbers = (tally.seq, tally.archive, tally.blcontrib, tally.evidence)
    return _TALLY.pack(VERSION, *numbers, *tally.v4, *tally.v6)


def unpack_tally(data: bytes) -> Tally:
    return _checked("meta", data, _unpack_tally)


def pack_removed(contrib: bytes | None, evidence: bytes | None) -> bytes:
    """Keep the raw values that an unlisting took away, so that it can be undone."""
    return _REMOVED.pack(VERSION) + b"".join(_U32.pack(len(b)) + b for b in (contrib or b"", evidence or b""))


def unpack_removed(data: bytes) -> tuple[Contrib | None, list[Piece]]:
    return _checked("history", data, _unpack_removed)


def pack_checked(checked: Checked) -> bytes:
    return _SEEN.pack(VERSION, min(checked.unknown, 0xFFFF), checked.checked_ms)


def unpack_checked(data: bytes) -> Checked:
    return _checked("checked", data, _unpack_seen)


def pack_hits(hits: Hits) -> bytes:
    numbers = (hits.since_ms, hits.passed, hits.never, hits.given_up)
    zones = (_str16(zone) + _U64.pack(count) for zone, count in hits.zones.items())
    return _HITS.pack(VERSION, *numbers, len(hits.zones)) + b"".join(zones)


def unpack_hits(data: bytes) -> Hits:
    return _checked("meta", data, _unpack_hits)


def pack_seq(seq: int) -> bytes:
    return _U64.pack(seq)


def unpack_seq(data: bytes) -> int:
    return int(_U64.unpack(data)[0])


def _checked(store: str, data: bytes, unpack: Callable[[bytes], T], version: int = VERSION) -> T:
    """Turn anything wrong with data into one StoreError that names store and reason."""
    if data[:1] != bytes((version,)):
        got = data[0] if data else "an empty value"
        raise StoreError(f"{store}: record version: got {got}, want {version}; it was written by another release")
    try:
        return unpack(data)
    except (struct.error, ValueError, IndexError) as error:
        raise StoreError(f"{store}: damaged record ({error}): {data[:40].hex()}") from error


def _unpack_listing(data: bytes) -> Listing:
    _, state, listed_ms, contact_ms, expiry_ms, seq = _LISTING.unpack(data)
    return Listing(*split_table_value(state), listed_ms, contact_ms, expiry_ms, seq, bool(state & OWN_TEXT))


def _unpack_contrib(data: bytes) -> Contrib:
    _, code, expiry_ms, count = _CONTRIB.unpack_from(data)
    causes, at = [], _CONTRIB.size
    for _ in range(count):
        zone, at = _take_str(data, at)
        remote, at = data[at : at + 4], at + 4
        addr, at = _take(data, at, _U8)
        text, at = _take_str(data, at)
        causes.append(Cause(zone, remote, addr, text))
    _end(data, at)
    return Contrib(code, expiry_ms, tuple(causes))


def _unpack_seen(data: bytes) -> Checked:
    _, unknown, checked_ms = _SEEN.unpack(data)
    return Checked(checked_ms, unknown)


def _unpack_hits(data: bytes) -> Hits:
    _, since_ms, passed, never, given_up, count = _HITS.unpack_from(data)
    zones: dict[str, int] = {}
    at = _HITS.size
    for _ in range(count):
        zone, at = _take_str(data, at)
        (zones[zone],) = _U64.unpack_from(data, at)
        at += _U64.size
    _end(data, at)
    return Hits(since_ms, passed, never, given_up, zones)


def _unpack_evidence(data: bytes) -> list[Piece]:
    _, count = _PIECES.unpack_from(data)
    pieces, at = [], _PIECES.size
    for _ in range(count):
        (time_ms,) = _U64.unpack_from(data, at)
        source, at = _take_str(data, at + 8)
        body, at = _take(data, at, _U32)
        pieces.append(Piece(time_ms, source, body))
    _end(data, at)
    return pieces


def _unpack_change(seq: int, data: bytes) -> Change:
    _, action, state, time_ms, expiry_ms = _CHANGE.unpack_from(data)
    key, at = _take(data, _CHANGE.size, _U8)
    source, at = _take_str(data, at)
    text, at = _take_str(data, at)
    _end(data, at)
    code, mode, flags = split_table_value(state)
    return Change(seq, time_ms, Action(action), key, code, text, source, expiry_ms, flags, mode)


def _unpack_tally(data: bytes) -> Tally:
    _, seq, archive, blcontrib, evidence, *counts = _TALLY.unpack(data)
    return Tally(seq, archive, blcontrib, evidence, counts[:33], counts[33:])


def _unpack_removed(data: bytes) -> tuple[Contrib | None, list[Piece]]:
    contrib, at = _take(data, _REMOVED.size, _U32)
    evidence, at = _take(data, at, _U32)
    _end(data, at)
    return (unpack_contrib(contrib) if contrib else None), (unpack_evidence(evidence) if evidence else [])


def _str16(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) > 0xFFFF:
        raise StoreError(f"text of {len(data)} bytes: the longest that a record holds is 65535")
    return _U16.pack(len(data)) + data


def _take(data: bytes, at: int, length: struct.Struct) -> tuple[bytes, int]:
    (size,) = length.unpack_from(data, at)
    start = at + length.size
    if start + size > len(data):
        raise ValueError("cut short")
    return data[start : start + size], start + size


def _take_str(data: bytes, at: int) -> tuple[str, int]:
    raw, at = _take(data, at, _U16)
    return raw.decode("utf-8"), at


def _end(data: bytes, at: int) -> None:
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")
