"""Open Berkeley DB: the environment and its databases as one thing that is opened, recovered and thrown away together.

    tarpit archive blcontrib evidence     by store key, see layout.py
    journal                               by sequence number u64
    history                               by length of key u8, key, sequence number: empty, or what an unlisting took
    expiry                                by expiry_ms u64, key: empty
    checked                               by the key that an address would be listed under, see examine.py
    meta                                  "format": version of all this; "tally": last sequence number and counts;
                                          "loading": there while a dump is being loaded, see load.py;
                                          "floor": changes up to this number may be missing, see prune.py;
                                          "hits": how often each zone caused a listing
    seen                                  what the mail robot dealt with before, see seen.py
    activity                              what happened, as figures, see activity_rows.py
    trials                                what is known of listings on trial, see trial_rows.py
    cabinet                               small records of the web pages: users, sessions, requests, see cabinet.py

All are B-trees of 4 KiB pages, one file each, transactional. There is no lock subsystem: gate.py lets one thread of one
process in at a time, so there is nothing to lock, nothing to dead-lock, no lock table to outgrow, and each call costs
two thirds (measured: 222,000 puts/s and 331,000 gets/s against 150,000 and 244,000 with DB_INIT_LOCK). For the same
reason Oracle's own tools (db5.3_dump and so on) must not be used on a store that is in use; `spamcannibal db` is there.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from berkeleydb import db as bdb

from spamcannibal.errors import ConfigError, StoreError

NAMES = (
    "tarpit",
    "archive",
    "blcontrib",
    "evidence",
    "journal",
    "history",
    "expiry",
    "meta",
    "checked",
    "seen",
    "cabinet",
    "activity",
    "trials",
)
# What stores and backups of earlier releases lack: the first who opens such a store for writing adds it.
ADDED = frozenset({"cabinet", "activity", "trials"})
FORMAT_KEY, FORMAT = b"format", b"2"
LOADING_KEY = b"loading"
MIB = 1 << 20
# Recovery mends a death inside, and lack of room in a region: handles that some 600 dead processes left open fill it.
# That comes as Python's own MemoryError.
FATAL = (bdb.DBRunRecoveryError, MemoryError)
LOG_FILE_BYTES = 16 * MIB
LOG_BUFFER_BYTES = MIB
LOG_REGION_BYTES = 8 * MIB
# What the regions need beside the cache (which takes a quarter more than asked), and recovery for its log records.
SPARE_BYTES = 8 * MIB
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of fallocate(2)
# Files that hold data may be read by the group; the regions and the gate must be written even by readers.
DATA_MODE, SHARED_MODE = 0o640, 0o660


class Handles:
    """The open environment `env` and its databases `dbs` by name, of one generation."""

    def __init__(self, path: Path, readonly: bool, cache_bytes: int, recover: int) -> None:
        """Open all, creating what is missing; `recover` is 0, DB_RECOVER or DB_RECOVER_FATAL. Only inside the gate.

        StoreError or ConfigError says what is wrong with the files; bdb.DBRunRecoveryError means: recover.
        """
        self.path = path
        self.dbs: dict[str, Any] = {}
        if recover:
            _need_space(path, cache_bytes * 5 // 4 + SPARE_BYTES)
        self.env = bdb.DBEnv()
        try:
            self._open(readonly, cache_bytes, recover)
        except FATAL:
            self.drop()
            raise
        except BaseException as error:
            # Opened for others too: leave as we came. Recovered just now: nobody else is in, and it can't be trusted.
            (self.drop if recover else self._leave)()
            if isinstance(error, bdb.DBError):
                raise explain(path, error) from None
            raise

    def _open(self, readonly: bool, cache_bytes: int, recover: int) -> None:
        self.env.set_cachesize(cache_bytes >> 30, cache_bytes & ((1 << 30) - 1), 1)
        self.env.set_lg_max(LOG_FILE_BYTES)
        self.env.set_lg_bsize(LOG_BUFFER_BYTES)
        self.env.set_lg_regionmax(LOG_REGION_BYTES)
        self.env.set_lg_filemode(DATA_MODE)
        create = 0 if readonly else bdb.DB_CREATE
        flags = bdb.DB_INIT_TXN | bdb.DB_INIT_LOG | bdb.DB_INIT_MPOOL | create
        self.env.open(str(self.path), flags | recover, SHARED_MODE)
        if recover:
            self._settle_regions()
        for name in NAMES:
            if readonly and name in ADDED and not (self.path / name).exists():
                continue
            handle = bdb.DB(self.env)
            handle.set_get_returns_none(2)
            self.dbs[name] = handle
            if readonly:
                handle.open(name, dbtype=bdb.DB_BTREE, flags=bdb.DB_RDONLY)
            else:
                handle.open(name, dbtype=bdb.DB_BTREE, flags=bdb.DB_CREATE | bdb.DB_AUTO_COMMIT, mode=DATA_MODE)
        self._check_format(readonly)

    def _settle_regions(self) -> None:
        """Give the mapped regions all the blocks they can grow to, and the group its rights.

        They are sparse files: a page first touched when the disk is full would be a SIGBUS, not an error.
        """
        *others, cache = sorted(self.path.glob("__db.0*"))
        for region in (*others, cache):
            most_bytes = self.env.memp_stat()[0]["bytes"] if region == cache else region.stat().st_size
            fd = os.open(region, os.O_RDWR | os.O_CLOEXEC)
            try:
                _allocate(fd, most_bytes + MIB)
                os.fchmod(fd, SHARED_MODE)
            except OSError as error:
                raise StoreError(f"{region}: {error.strerror}; free some space") from None
            finally:
                os.close(fd)

    def _check_format(self, readonly: bool) -> None:
        found = self.dbs["meta"].get(FORMAT_KEY)
        if found is None and not readonly and not any(self.dbs[name].stat(bdb.DB_FAST_STAT)["nkeys"] for name in NAMES):
            self.dbs["meta"].put(FORMAT_KEY, FORMAT)
        elif found != FORMAT:
            got = "none" if found is None else found.decode("ascii", "backslashreplace")
            raise ConfigError(
                f"{self.path}: store format: got {got}, want {FORMAT.decode()}; "
                "the original's files are read by `spamcannibal db import`, other releases' by their `db dump`"
            )

    def close(self) -> None:
        """Close in good order; the environment stays usable for others."""
        for handle in self.dbs.values():
            handle.close()
        self.env.close()

    def drop(self) -> None:
        """Throw away handles whose regions may be damaged.

        Panic is set first: then closing only closes descriptors, and touches no mutex that a dead process may hold.
        What stays is the old mapping (at most the cache size) until the process ends.
        """
        with suppress(bdb.DBError):
            self.env.set_flags(bdb.DB_PANIC_ENVIRONMENT, 1)
        self._leave()

    def _leave(self) -> None:
        """Close what could be opened, without panic."""
        for step in self._closers():
            with suppress(bdb.DBError):
                step()

    def abandon(self) -> None:
        """In a forked child: never touch what the parent uses, not even at interpreter exit, so leak it for good."""
        import ctypes  # here, since few fork, and a command at a terminal waits for each import

        for handle in (self.env, *self.dbs.values()):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))

    def _closers(self) -> list[Any]:
        return [*(handle.close for handle in self.dbs.values()), self.env.close]


def explain(path: Path, error: Exception) -> StoreError:
    """Give the StoreError for one of Berkeley DB's, naming path and cure."""
    number = error.args[0] if error.args else 0
    text = str(error.args[-1] if error.args else error)
    if number == errno.ENOSPC:
        return StoreError(f"{path}: no space left on the device; nothing was changed; free some space")
    if isinstance(error, bdb.DBPermissionsError | bdb.DBAccessError) or number in (errno.EACCES, errno.EPERM):
        return _denied(path, text)
    if number == bdb.DB_VERSION_MISMATCH or isinstance(error, bdb.DBOldVersionError):
        return StoreError(
            f"{path}: made by another release of Berkeley DB, want {bdb.DB_VERSION_STRING}; "
            "dump it with that release, load it here"
        )
    return StoreError(f"{path}: {text}; `spamcannibal db check` tells more, `db backup` copies restore it")


def need_rights(path: Path) -> None:
    """Raise StoreError unless the databases that are there may be written, before anything is touched."""
    try:
        os.close(os.open(path / "meta", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _denied(path, str(error.strerror)) from None


def _denied(path: Path, text: str) -> StoreError:
    return StoreError(f"{path}: permission denied; its owner's group may read, only its owner may write ({text})")


def _allocate(fd: int, size_bytes: int) -> None:
    """Give a file blocks up to a size past its end, which stays; a file system that can't is left as it is."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size_bytes)) == 0:
        return
    if ctypes.get_errno() != errno.EOPNOTSUPP:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _need_space(path: Path, need_bytes: int) -> None:
    """Refuse to create regions that the disk can't hold: what is there already counts as free."""
    stat = os.statvfs(path)
    have = stat.f_bavail * stat.f_frsize + sum(p.stat().st_blocks * 512 for p in path.glob("__db.0*"))
    if have < need_bytes:
        raise StoreError(
            f"{path}: {have // MIB} MiB free, opening needs {need_bytes // MIB}; "
            "free some space, or make store.cache_bytes smaller"
        )
