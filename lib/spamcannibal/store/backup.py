"""Hot backup: copy a store that is in use into a directory that is a store by itself.

    1  hold the log files: nobody removes any while this lasts
    2  copy the databases in pieces, each inside the gate, so that no page is torn; pages are of different moments
    3  copy the logs, the last one in one piece; that moment is the backup's
    4  recover the copy from the first log on (DB_RECOVER_FATAL), which brings all pages to that moment
    5  fsync, rename into place

Whatever was committed before step 3 is in the backup; nothing of it exists under its name unless all went well. See
restore.py for the way back.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from berkeleydb import db as bdb

from spamcannibal.errors import SpamCannibalError, StoreError
from spamcannibal.store.env import Env
from spamcannibal.store.handles import MIB, NAMES, Handles, explain

PIECE_BYTES = 4 * MIB


def backup(env: Env, target: Path, progress: Callable[[int], None] = lambda count: None) -> int:
    """Copy the store to `target`, which must not exist; give the copy's size. progress gets bytes copied."""
    partial = target.with_name(target.name + ".partial")
    if target.exists():
        raise StoreError(f"{target}: exists; name a new directory")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        with env.logs_held():
            for name in NAMES:
                _copy(env, env.path / name, partial / name, progress)
            _copy_logs(env, partial, progress)
        _recover(partial)
        sync(partial)
        partial.rename(target)
        sync(target.absolute().parent, inside=False)
    except (OSError, SpamCannibalError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise StoreError(f"{error.filename or target}: {error.strerror}") from None
        raise
    return size_bytes(target)


def size_bytes(path: Path) -> int:
    """Give the size of a store's databases and logs."""
    return sum(file.stat().st_size for file in path.iterdir() if file.name in NAMES or file.name.startswith("log."))


def _copy(env: Env, source: Path, target: Path, progress: Callable[[int], None]) -> None:
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        while data := env.read(lambda: reader.read(PIECE_BYTES)):
            writer.write(data)
            progress(len(data))


def _copy_logs(env: Env, partial: Path, progress: Callable[[int], None]) -> None:
    done: set[str] = set()
    while True:
        # A log file that has a successor does not change any more.
        *full, _ = _logs(env.path)
        for log in full:
            if log.name not in done:
                progress(shutil.copyfile(log, partial / log.name).stat().st_size)
                done.add(log.name)
        # Written outside the gate: in there root acts as the store's owner, who may have no right to the backup.
        if last := env.read(lambda: _read_last(env.path, done)):
            name, data = last
            (partial / name).write_bytes(data)
            return


def _read_last(path: Path, done: set[str]) -> tuple[str, bytes] | None:
    """Give name and content of the last log, at one moment, None if another full one appeared meanwhile."""
    *full, last = _logs(path)
    if any(log.name not in done for log in full):
        return None
    return last.name, last.read_bytes()


def _logs(path: Path) -> list[Path]:
    return sorted(path.glob("log.*"))


def _recover(path: Path) -> None:
    try:
        handles = Handles(path, readonly=False, cache_bytes=16 * MIB, recover=bdb.DB_RECOVER_FATAL)
        handles.env.txn_checkpoint(0, 0, bdb.DB_FORCE)
        handles.env.log_archive(bdb.DB_ARCH_REMOVE)
        handles.close()
    except bdb.DBError as error:
        raise explain(path, error) from None
    for region in path.glob("__db.*"):
        region.unlink()


def sync(path: Path, inside: bool = True) -> None:
    """Flush a directory to disk, and the files in it."""
    for file in (*(path.iterdir() if inside else ()), path):
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
