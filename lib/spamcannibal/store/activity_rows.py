"""The rows of the database `activity`: bytes <-> values. Pure; store/activity.py writes and reads them.

    figures   1 u8 · unit u8 · start, s u64     Figures        each unit as long as Keep says
    lists     2 u8 · unit u8 · start, s u64     Lists          of hours and days; of hours for some days
    held      3 u8 · addr                       Hold           the longest that go on
    gone      4 u8 · last packet, ms u64 · addr Hold           the newest that ended
    place     5 u8 · name                       u64            how far somebody's notes were taken over; see PLACES

Values are a u8 of the layout's version, 1, and a msgpack array of the struct's fields.
"""

import struct
from typing import Any, TypeVar

import msgspec

from spamcannibal.activity.figures import LENGTH_S, Figures, Hold, Lists
from spamcannibal.errors import StoreError, WireError
from spamcannibal.layout import pack_seq, unpack_seq

NAME = "activity"
VERSION = b"\x01"
FIGURES, LISTS, HELD, GONE, PLACE = (bytes((kind,)) for kind in range(1, 6))
PLACES = {
    "version": "counts writes",
    "gone": "rows of gone",
    "journal": "number of the last change that was counted",
    "dnsbl": "last line of the DNS server's spool",
}

T = TypeVar("T")


def pack(value: Figures | Lists | Hold) -> bytes:
    return VERSION + msgspec.msgpack.encode(value)


def unpack(kind: type[T], data: bytes) -> T:
    """Give a row's value; StoreError if it is none of this release's."""
    if data[:1] != VERSION:
        raise StoreError(f"{NAME}: record version: got {data[:1].hex() or 'none'}, want {VERSION.hex()}")
    try:
        return msgspec.msgpack.decode(memoryview(data)[1:], type=kind)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{NAME}: damaged record ({error}): {data[:40].hex()}") from None


KINDS: dict[bytes, Any] = {FIGURES: Figures, LISTS: Lists, HELD: Hold, GONE: Hold}


def problem(key: bytes, data: bytes) -> str:
    """Say what is wrong with a row, "" if nothing; StoreError says it too."""
    kind = key[:1]
    if kind == PLACE:
        return "" if len(data) == 8 and key[1:].decode("ascii", "replace") in PLACES else "no place that is known"
    if kind not in KINDS:
        return "none of the five kinds"
    value = unpack(KINDS[kind], data)
    if kind in (FIGURES, LISTS):
        is_whole = len(key) == 10 and key[1] in LENGTH_S and unpack_seq(key[2:]) % LENGTH_S[key[1]] == 0
        return "" if is_whole else "its key is no minute, hour or day"
    addr = key[1:] if kind == HELD else key[9:]
    return "" if addr == value.addr and len(addr) in (4, 16) else "its key is of another address"


def to_json(key: bytes, data: bytes) -> bytes:
    """Give a row's value as JSON: what dump writes."""
    return msgspec.json.encode(unpack_seq(data) if key[:1] == PLACE else unpack(KINDS[key[:1]], data))


def from_json(key: bytes, text: bytes) -> bytes:
    """Give a row's value of its JSON; WireError if it is none."""
    kind = key[:1]
    if kind != PLACE and kind not in KINDS:
        raise WireError("row: none of the five kinds")
    try:
        if kind == PLACE:
            data = pack_seq(msgspec.json.decode(text, type=int))
        else:
            data = pack(msgspec.json.decode(text, type=KINDS[kind]))
        wrong = problem(key, data)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, struct.error, StoreError) as error:
        raise WireError(f"value: {error}") from None
    if wrong:
        raise WireError(f"row: {wrong}")
    return data


def span_key(kind: bytes, unit: int, start_s: int) -> bytes:
    return kind + bytes((unit,)) + pack_seq(start_s)
