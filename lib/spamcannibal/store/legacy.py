"""Read the original's databases (2003-2014, reference: its sections 2.1 and 2.2) and list what they hold.

    tarpit, archive   key 4 bytes IPv4; value the time of last contact in seconds, in the writer's byte order, 4 bytes,
                      or 8 where a 64-bit build wrote it
    blcontrib         code 4 · 00 · text · 00 · remote code 4 · 00 · expiry u32 big-endian · 00 · zone; variants:
                      … · zone · 00 · host      the expiry then is the time of writing: no expiry
                      code 4 · 00 · text [· 00]    a hand-made one: no zone, no expiry
    evidence          the text as it came

Kept: who is listed, since when it last knocked, why. Left out: 0.0.0.0 and 127/8, which were bookkeeping, and what the
never-list forbids. Evidence makes a published 127.0.0.2, as it did there; blcontrib makes hearsay, its code brought to
127.0.0.3 where it was outside what was allowed. Hearsay whose time is over gets seven days (the original's default), so
that the next check can ask again. A tarpit record without a reason is listed, not published.

The files are B-trees of Berkeley DB, opened one by one, read-only, without an environment: copy them, or stop what
writes them, first.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from berkeleydb import db as bdb

from spamcannibal.addr import format_addr
from spamcannibal.errors import NeverListed, StoreError, WireError
from spamcannibal.record import HEARSAY_CODE, PROVEN_CODE, PUBLISHED, Cause
from spamcannibal.store.stores import BATCH_LIMIT, Hearsay, NewListing, Store

NAMES = ("tarpit", "archive", "blcontrib", "evidence")
GRACE_MS = 7 * 24 * 3600 * 1000
_EXPIRY = struct.Struct(">I")


class OldContrib(msgspec.Struct, frozen=True):
    code: bytes
    text: str
    remote_code: bytes = bytes(4)
    expiry_ms: int = 0
    zone: str = ""


class Imported(msgspec.Struct):
    """What an import did, by number; and what it left out, by address and reason."""

    listed: int = 0
    archived: int = 0
    left_out: list[tuple[str, str]] = []


class OldFiles:
    """The original's files in one directory, each opened read-only."""

    def __init__(self, directory: Path) -> None:
        """Open what is there; StoreError if nothing is, or something is no database."""
        self._dbs = {name: _open(directory / name) for name in NAMES if (directory / name).is_file()}
        if not self._dbs:
            raise StoreError(f"{directory}: none of the files {', '.join(NAMES)} is there")

    def close(self) -> None:
        for handle in self._dbs.values():
            handle.close()

    def times(self, name: str, left_out: list[tuple[str, str]]) -> Iterator[tuple[bytes, int]]:
        """Yield (address, last contact in ms) of tarpit or archive; what can't be read goes to left_out."""
        swapped = name in self._dbs and bool(self._dbs[name].get_byteswapped())
        for key, data in self._rows(name):
            try:
                if len(key) != 4:
                    raise WireError(f"{name}: key of {len(key)} bytes, want an IPv4 address of 4")
                seconds = parse_time(data, swapped)
            except WireError as error:
                left_out.append((key.hex(), str(error)))
                continue
            if not _is_bookkeeping(key):
                yield key, seconds * 1000

    def reason(self, name: str, key: bytes) -> bytes | None:
        """Give the raw record of blcontrib or evidence."""
        handle = self._dbs.get(name)
        data: bytes | None = None if handle is None else handle.get(key)
        return data

    def count(self) -> int:
        return sum(self._dbs[name].stat()["nkeys"] for name in ("tarpit", "archive") if name in self._dbs)

    def _rows(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        if name not in self._dbs:
            return
        cursor = self._dbs[name].cursor()
        try:
            row = cursor.first()
            while row is not None:
                yield row
                row = cursor.next()
        finally:
            cursor.close()


def parse_time(data: bytes, swapped: bool) -> int:
    """Read a time: 4 or 8 bytes in this machine's byte order, or in the other one."""
    if len(data) not in (4, 8):
        raise WireError(f"time: got {len(data)} bytes, want 4 or 8")
    order = ">" if swapped == (struct.pack("=H", 1) == b"\1\0") else "<"
    return int(struct.unpack(order + ("I" if len(data) == 4 else "Q"), data)[0])


def parse_contrib(data: bytes) -> OldContrib:
    """Read a blcontrib record in any of its forms; WireError says what is wrong."""
    if len(data) < 5 or data[4]:
        raise WireError("blcontrib: want a code and a zero byte first")
    code = data[:4] if HEARSAY_CODE <= data[:4] < bytes((128, 0, 0, 0)) else HEARSAY_CODE
    raw_text, _, rest = data[5:].partition(b"\0")
    text = raw_text.decode("utf-8", "backslashreplace")
    if not rest:
        return OldContrib(code, text)
    if len(rest) < 10 or rest[4] or rest[9]:
        raise WireError("blcontrib: want remote code, expiry and zone after the text, zero bytes between")
    zone, has_host, _ = rest[10:].partition(b"\0")
    expiry_ms = 0 if has_host else _EXPIRY.unpack_from(rest, 5)[0] * 1000
    return OldContrib(code, text, rest[:4], expiry_ms, zone.decode("utf-8", "backslashreplace"))


def import_files(
    store: Store, files: OldFiles, source: str, now: float, progress: Callable[[int], None] = lambda count: None,
    dry_run: bool = False,
) -> Imported:  # fmt: skip
    """List and archive what the files hold, a transaction for each 1,000; give what was done."""
    done = Imported()
    times = files.times("tarpit", done.left_out)
    while part := list(islice(times, BATCH_LIMIT)):
        wanted = [(item, ms) for key, ms in part if (item := _wanted(store, files, key, source, now, done)) is not None]
        if not dry_run:
            store.list([item for item, _ in wanted], now)
            store.touch([(item.key, 1, ms, ms) for item, ms in wanted])
        done.listed += len(wanted)
        progress(len(part))
    seen = files.times("archive", done.left_out)
    while part := list(islice(seen, BATCH_LIMIT)):
        if not dry_run:
            store.archive([(addr, 1, ms, ms) for addr, ms in part])
        done.archived += len(part)
        progress(len(part))
    return done


def _wanted(store: Store, files: OldFiles, key: bytes, source: str, now: float, done: Imported) -> NewListing | None:
    """Give the listing of an old tarpit key, or None, noted in done."""
    try:
        store.guard.check(key)
        return _listing(files, key, source, int(now * 1000))
    except (NeverListed, WireError) as error:
        done.left_out.append((format_addr(key), str(error)))
        return None


def _listing(files: OldFiles, key: bytes, source: str, now_ms: int) -> NewListing:
    evidence, contrib = files.reason("evidence", key), files.reason("blcontrib", key)
    if evidence is not None:
        return NewListing(key, PROVEN_CODE, source=source, evidence=evidence, flags=PUBLISHED)
    if contrib is None:
        return NewListing(key, PROVEN_CODE, source=source)
    old = parse_contrib(contrib)
    expiry_ms = now_ms + GRACE_MS if 0 < old.expiry_ms < now_ms else old.expiry_ms
    heard = Hearsay((Cause(old.zone, old.remote_code, key, old.text),))
    return NewListing(key, old.code, old.text, source, expiry_ms=expiry_ms, contrib=heard)


def _is_bookkeeping(key: bytes) -> bool:
    return key[0] == 127 or key == bytes(4)


def _open(path: Path) -> Any:
    handle = bdb.DB()
    handle.set_get_returns_none(2)
    try:
        handle.open(str(path), dbtype=bdb.DB_UNKNOWN, flags=bdb.DB_RDONLY)
    except bdb.DBError as error:
        handle.close()
        raise StoreError(f"{path}: not a database that can be read: {error.args[-1]}") from None
    return handle
