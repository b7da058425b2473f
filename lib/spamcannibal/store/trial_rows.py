"""The rows of the database `trials`: what is known of listings on trial (SHADOW). Pure; store/trials.py has the use.

    trial       1 u8 · key               Trial      how often its packets came, and what the logs last fed say of it
    feed        2 u8                     Feed       the logs last fed
    confirmed   3 u8 · source, UTF-8     u64        its listings on trial that another source listed for good

A value is a u8 of the layout's version, 1, and the fields in order.
"""

import struct

import msgspec

from spamcannibal.addr import split_key
from spamcannibal.errors import StoreError

NAME = "trials"
VERSION = 1
TRIAL, FEED, CONFIRMED = b"\x01", b"\x02", b"\x03"
SOURCE_LIMIT_BYTES = 400
_TRIAL, _FEED, _COUNT = struct.Struct(">BQQQQII"), struct.Struct(">BQQQQ"), struct.Struct(">BQ")
_MOST = 0xFFFFFFFF


class Trial(msgspec.Struct, frozen=True):
    """`count` packets that passed and would not have; mails accepted and rejected in the logs fed at `fed_ms`."""

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    fed_ms: int = 0
    accepted: int = 0
    rejected: int = 0


class Feed(msgspec.Struct, frozen=True):
    """Logs: when they were fed, from when to when they are, and how many mails were accepted in all."""

    fed_ms: int
    first_ms: int
    last_ms: int
    mails: int


def sighted(trial: Trial | None, count: int, first_ms: int, last_ms: int) -> Trial:
    """Add a sighting to a trial, None: a new one."""
    if trial is None or not trial.count:
        return Trial(count, first_ms, last_ms, *((trial.fed_ms, trial.accepted, trial.rejected) if trial else ()))
    return msgspec.structs.replace(
        trial,
        count=trial.count + count,
        first_ms=min(trial.first_ms, first_ms),
        last_ms=max(trial.last_ms, last_ms),
    )


def pack_trial(trial: Trial) -> bytes:
    mails = (min(trial.accepted, _MOST), min(trial.rejected, _MOST))
    return _TRIAL.pack(VERSION, trial.count, trial.first_ms, trial.last_ms, trial.fed_ms, *mails)


def unpack_trial(data: bytes) -> Trial:
    return Trial(*_fields(_TRIAL, data))


def pack_feed(feed: Feed) -> bytes:
    return _FEED.pack(VERSION, feed.fed_ms, feed.first_ms, feed.last_ms, feed.mails)


def unpack_feed(data: bytes) -> Feed:
    return Feed(*_fields(_FEED, data))


def pack_count(count: int) -> bytes:
    return _COUNT.pack(VERSION, count)


def unpack_count(data: bytes) -> int:
    return _fields(_COUNT, data)[0]


def confirmed_key(source: str) -> bytes:
    return CONFIRMED + source.encode("utf-8", "replace")[:SOURCE_LIMIT_BYTES]


def problem(row: bytes, data: bytes) -> str:
    """Say what is wrong with a row, "" if nothing; SpamCannibalError says it too."""
    kind = row[:1]
    if kind == TRIAL:
        split_key(row[1:])
        unpack_trial(data)
    elif row == FEED:
        unpack_feed(data)
    elif kind == CONFIRMED:
        unpack_count(data)
    else:
        return "none of the three kinds"
    return ""


def _fields(layout: struct.Struct, data: bytes) -> tuple[int, ...]:
    if data[:1] != bytes((VERSION,)) or len(data) != layout.size:
        raise StoreError(f"{NAME}: damaged record, or of another release: {data[:40].hex()}")
    return layout.unpack(data)[1:]
