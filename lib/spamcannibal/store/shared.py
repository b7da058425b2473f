"""What all Env of one store have in common in a process: one gate, one set of handles of the current generation.

Handles are opened, thrown away and opened again here, always inside the gate; see env.py for when and why. At exit they
are closed in order, and a forked child gets a gate of its own and none of its parent's handles.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berkeleydb import db as bdb

from spamcannibal.errors import StoreError, Unavailable
from spamcannibal.store.gate import Gate
from spamcannibal.store.handles import FATAL, Handles, need_rights
from spamcannibal.store.owner import Owner

OPENINGS_LIMIT = 200


class Shared:
    """The gate and the handles of one store; `users` counts its Env, `backups` those that hold the logs."""

    def __init__(self, path: Path, readonly: bool, cache_bytes: int, wait_s: float) -> None:
        self.path = path
        self.readonly = readonly
        self.cache_bytes = cache_bytes
        self._owner = Owner(path)
        with self._owner.acting():
            self.gate = Gate(path, wait_s)
        self.users = 0
        self.backups = 0
        self.handles: Handles | None = None
        self.generation = -1
        self.upkept_s = 0.0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside the gate, as the store's owner, while this lasts."""
        self.gate.enter()
        try:
            with self._owner.acting():  # root, too, may lack the right to look into another's directory
                self.gate.check_place()
                yield
        finally:
            self.gate.leave()

    def current(self) -> Handles:
        """Give handles that work: those we have, or new ones, after recovery if need be. Call inside the gate."""
        if self.gate.is_broken or (self.handles is None and self.gate.is_alone()):
            return self._reopen(recover=True)
        if self.handles is not None and self.generation == self.gate.generation:
            return self.handles
        # What the dead left open takes room in the regions, and in those of the next recovery: clear it in time.
        return self._reopen(recover=self.gate.openings >= OPENINGS_LIMIT and not self.readonly)

    def _reopen(self, recover: bool) -> Handles:
        if self.handles is not None:
            self.handles.drop()
            self.handles = None
        if recover and self.readonly:
            raise Unavailable(f"{self.path}: not open for writing yet; start a writer (the tarpit, or `db check`)")
        if not self.readonly:
            need_rights(self.path)  # who could not finish a recovery must not begin one
        self.gate.begin()
        if recover:
            self.gate.renew()  # first: should we die in the middle, nobody goes on with the old one
        try:
            self.handles = Handles(self.path, self.readonly, self.cache_bytes, bdb.DB_RECOVER if recover else 0)
        except FATAL:
            raise
        except BaseException:
            if not recover:
                self.gate.end()  # it is ours that can't open; the environment is as good as before
            raise
        self.generation = self.gate.generation
        self.gate.join()
        return self.handles

    def start_again(self) -> None:
        """In a forked child: what was inherited is the parent's."""
        if self.handles is not None:
            self.handles.abandon()
            self.handles = None
        self.backups = 0
        with self._owner.acting():
            self.gate = Gate(self.path, self.gate.wait_s)

    def close(self) -> None:
        """Close handles inside the gate; if that goes wrong the mark stays and the next process recovers."""
        try:
            self.gate.enter()
        except Unavailable:
            if self.handles is not None:
                self.handles.abandon()
            return
        handles, self.handles = self.handles, None
        try:
            if handles is None:
                return
            if self.gate.is_broken or self.generation != self.gate.generation:
                handles.drop()
                return
            self.gate.begin()
            try:
                handles.close()
            except bdb.DBError:
                return
            self.gate.quit()
            self.gate.end()
        finally:
            self.gate.leave()
            self.gate.close()


# By device and inode: POSIX locks belong to the file, whatever path leads there.
_open: dict[tuple[int, int], Shared] = {}
_lock = threading.Lock()


def attach(path: Path, readonly: bool, cache_bytes: int, wait_s: float) -> Shared:
    """Give the one Shared of a directory, counting one more user; OSError if its gate can't be opened."""
    key = _key(path)
    with _lock:
        if key not in _open:
            _open[key] = Shared(path, readonly, cache_bytes, wait_s)
        shared = _open[key]
        if shared.readonly and not readonly:
            raise StoreError(f"{path}: this process has it open read-only")
        shared.users += 1
        return shared


def detach(shared: Shared) -> None:
    """Count one user less; the last one closes."""
    with _lock:
        shared.users -= 1
        if shared.users:
            return
        for key in [key for key, each in _open.items() if each is shared]:
            del _open[key]
        shared.close()


def _key(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


@atexit.register
def close_all() -> None:
    """Close in order, at exit too: the interpreter would do it in any order, outside the gate."""
    with _lock:
        while _open:
            _open.popitem()[1].close()


def _after_fork() -> None:
    """Give a forked child gates of its own and no handles."""
    global _lock
    _lock = threading.Lock()
    for shared in _open.values():
        shared.start_again()


os.register_at_fork(after_in_child=_after_fork)
