"""Put a backup in the place of a store that nobody uses; what was there stays beside it.

    1  copy the backup to PATH.partial, as the store's owner, fsync
    2  enter the gate of the store; Unavailable if any process has it open
    3  rename PATH to PATH.before-restore (-2, -3, ... ), PATH.partial to PATH
    4  count on from past the numbers that the store before had given

A process that opens the path between the two renames finds nothing, and one that had opened the gate's file before
finds that another stands there (gate.check_place); neither writes to what is not the store any more.

Without step 4 numbers would be given twice, and a secondary whose serial is one of them would take other changes for
those that it has. So it finds a hole instead, and fetches the whole zone; the floor (prune.py) rises past the hole.
"""

import os
import shutil
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from spamcannibal import layout
from spamcannibal.errors import NeverListed, SpamCannibalError, StoreError, Unavailable
from spamcannibal.store.backup import sync
from spamcannibal.store.batch import Batch
from spamcannibal.store.contacts import read_tally
from spamcannibal.store.env import Env
from spamcannibal.store.gate import FILE_NAME, Gate
from spamcannibal.store.handles import ADDED, DATA_MODE, MIB, NAMES
from spamcannibal.store.prune import FLOOR_KEY
from spamcannibal.store.stores import Store

WAIT_S = 5.0
SPARE_SEQS = 1000
UNREADABLE_SEQ = 1 << 24


def restore(source: Path, target: Path, progress: Callable[[int], None] = lambda count: None) -> Path | None:
    """Make the backup `source` the store at `target`; give where the store that was there is now, None if none was.

    StoreError if the source is no backup or can't be copied, Unavailable if the store is in use: nothing has changed.
    """
    check(source, target)
    partial = target.with_name(target.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        _copy(source, partial, target if target.exists() else target.parent, progress)
        aside = _swap(partial, target)
        _leap(target, _last_seq(aside) if aside else 0)
        return aside
    except OSError as error:
        raise StoreError(f"{error.filename or target}: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check(source: Path, target: Path) -> None:
    """Raise what `restore` would raise now, before it has copied anything."""
    missing = [name for name in NAMES if name not in ADDED and not (source / name).is_file()]
    if missing or not any(source.glob("log.*")):
        raise StoreError(f"{source}: no backup, lacks {', '.join(missing) or 'logs'}; want one of `db backup`")
    if not _is_idle(source):
        raise Unavailable(f"{source}: is in use as a database itself; make a backup of it with `db backup`")
    if not _is_idle(target):
        raise _in_use(target)


def _in_use(target: Path) -> Unavailable:
    return Unavailable(f"{target}: in use; stop everything that has it open first (systemctl stop …)")


def _is_idle(path: Path) -> bool:
    if not (path / FILE_NAME).exists():
        return True
    gate = Gate(path, WAIT_S)
    try:
        gate.enter()
        try:
            return gate.is_alone()
        finally:
            gate.leave()
    finally:
        gate.close()


def _copy(source: Path, partial: Path, like: Path, progress: Callable[[int], None]) -> None:
    """Copy databases and logs into a new directory with the owner and, if it is a store's, the mode of `like`."""
    there = like.stat()
    partial.mkdir(mode=0o700)
    for file in sorted(source.iterdir()):
        if file.name in NAMES or file.name.startswith("log."):
            made = Path(shutil.copyfile(file, partial / file.name))
            made.chmod(DATA_MODE)
            os.chown(made, there.st_uid, there.st_gid)
            progress(made.stat().st_size)
    os.chown(partial, there.st_uid, there.st_gid)
    partial.chmod((there.st_mode & 0o7777) if (like / "tarpit").exists() else 0o2770)
    sync(partial)


def _swap(partial: Path, target: Path) -> Path | None:
    if not target.exists():
        partial.rename(target)
        sync(target.parent, inside=False)
        return None
    gate = Gate(target, WAIT_S)
    try:
        gate.enter()
        try:
            if not gate.is_alone():
                raise _in_use(target)
            aside = _aside(target)
            target.rename(aside)
            try:
                partial.rename(target)
            except OSError:
                aside.rename(target)
                raise
            sync(target.parent, inside=False)
            return aside
        finally:
            gate.leave()
    finally:
        gate.close()


def _last_seq(path: Path) -> int:
    """Give the number of the newest change of the store that was there, a guess if it can't be read any more."""
    try:
        with Env(path, cache_bytes=MIB) as env:
            return env.read(lambda: read_tally(env)).seq
    except SpamCannibalError:
        return UNREADABLE_SEQ


def _leap(target: Path, past: int) -> None:
    def write(batch: Batch) -> None:
        seq = batch.tally.seq
        if past > seq > 0:
            batch.leap(past + SPARE_SEQS)
            batch.put("meta", FLOOR_KEY, layout.pack_seq(past + SPARE_SEQS))

    with Env(target, cache_bytes=MIB) as env:
        Store(env, _Nobody()).transact(time.time(), write)


class _Nobody:
    """A guard for what lists nothing."""

    def check(self, key: bytes) -> None:
        raise NeverListed(key, "nothing is listed here")


def _aside(target: Path) -> Path:
    """Give a name beside the store that is free."""
    names = (f"{target.name}.before-restore{f'-{n}' if n > 1 else ''}" for n in count(1))
    return next(path for path in map(target.with_name, names) if not path.exists())
