"""The environment: every call of Berkeley DB goes through Env.run or Env.read, which wait, heal and explain.

`run(fn)` is one transaction: fn(txn), then commit, durable unless told otherwise. `read(fn)` is a look without one.
Inside, fn asks `env.db(name)` for a handle each time and keeps none; outside nobody has one. So when the environment
must be recovered, whoever comes next does it and everybody else opens it again, without the callers knowing.

What happens at `kill -9` of any process (t/live/test_store_kill.py does it some hundred times):

    outside Berkeley DB    nothing to do: nobody holds anything there between calls
    inside                 the kernel frees the gate; the next one in finds the mark of the dead, recovers from the log
                           (milliseconds to a second, by the log since the last checkpoint) and counts the generation up
    survivors              see the new generation at their next call, drop their handles unread and open again
    after a reboot         the first process in is alone, and always recovers

A durable commit is on disk when `run` returns; any commit survives the death of processes, since its log records were
written to the file. Log files that no recovery needs are removed after checkpoints, which `run` makes by volume and by
time.

One environment a process and path, whoever asks: several Env of one path share it. A forked child opens its own.
Read-only: Berkeley DB needs its regions and the gate writable for every reader, so a reader's user must be in the
store's group (regions 0660), while databases and logs are 0640 and opened read-only. A reader can't recover: while no
writer has done so it gets Unavailable.
"""

import atexit
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from berkeleydb import db as bdb

from spamcannibal.errors import ConfigError, StoreError, Unavailable
from spamcannibal.store.gate import Gate
from spamcannibal.store.handles import MIB, Handles, explain

T = TypeVar("T")
Txn = Any  # berkeleydb ships no types

WAIT_S = 30.0
CHECKPOINT_KIB = 16 * 1024
CHECKPOINT_MINUTES = 1
UPKEEP_S = 1.0
# Recovery mends a death inside, and lack of room in a region (handles that dead processes left open fill it).
_FATAL = (bdb.DBRunRecoveryError, bdb.DBNoMemoryError)


class _Shared:
    """What all Env of one path have in common in this process: the gate and the handles of the current generation."""

    def __init__(self, path: Path, readonly: bool, cache_bytes: int, wait_s: float) -> None:
        self.path = path
        self.readonly = readonly
        self.cache_bytes = cache_bytes
        self.gate = Gate(path, wait_s)
        self.users = 0
        self.backups = 0
        self.handles: Handles | None = None
        self.generation = -1
        self.upkept_s = 0.0

    def current(self) -> Handles:
        """Give handles that work: those we have, or new ones, after recovery if need be. Call inside the gate."""
        if self.gate.is_broken or (self.handles is None and self.gate.is_alone()):
            return self._reopen(recover=True)
        if self.handles is None or self.generation != self.gate.generation:
            return self._reopen(recover=False)
        return self.handles

    def _reopen(self, recover: bool) -> Handles:
        if self.handles is not None:
            self.handles.drop()
            self.handles = None
        if recover and self.readonly:
            self.gate.quit()
            raise Unavailable(f"{self.path}: not open for writing yet; start a writer (the tarpit, or `db check`)")
        self.gate.begin()
        if recover:
            self.gate.renew()  # first: should we die in the middle, nobody goes on with the old one
        self.handles = Handles(self.path, self.readonly, self.cache_bytes, bdb.DB_RECOVER if recover else 0)
        self.generation = self.gate.generation
        self.gate.join()
        return self.handles


_shared: dict[tuple[int, int], _Shared] = {}


class Env:
    """One store directory; see the module's docstring."""

    def __init__(
        self, path: str | Path, readonly: bool = False, cache_bytes: int = 64 * MIB, wait_s: float = WAIT_S
    ) -> None:
        """Open the store, creating it (in a directory that exists) unless readonly; ConfigError or StoreError."""
        self.path = Path(path)
        self.readonly = readonly
        self._key = _directory(self.path, readonly)
        shared = _shared.get(self._key)
        if shared is None:
            try:
                shared = _Shared(self.path, readonly, cache_bytes, wait_s)
            except OSError as error:
                raise StoreError(f"{error.filename or self.path}: {error.strerror}") from None
        if shared.readonly and not readonly:
            raise StoreError(f"{self.path}: this process has it open read-only")
        _shared[self._key] = shared
        shared.users += 1
        self._inside: Handles | None = None
        try:
            self.read(lambda: None)
        except BaseException:
            self.close()
            raise

    def db(self, name: str) -> Any:
        """Give a database's handle, only inside fn of run or read."""
        return self.handles().dbs[name]

    def handles(self) -> Handles:
        """Give all handles, only inside fn of run or read."""
        if self._inside is None:
            raise StoreError("store: a database was asked for outside of run and read")
        return self._inside

    def read(self, fn: Callable[[], T]) -> T:
        """Return fn(); it may be called a second time, after recovery. Cursors must be closed when it ends."""
        return self._healed(lambda handles: fn())

    def run(self, fn: Callable[[Txn], T], durable: bool = True) -> T:
        """Return fn(txn) once that is committed; nothing of it happened if this raises.

        fn may be called a second time, after recovery, with another txn; should the commit itself have been cut short,
        its first run may have taken effect.
        """
        if self.readonly:
            raise StoreError(f"{self.path}: opened read-only")

        def transaction(handles: Handles) -> T:
            txn = handles.env.txn_begin()
            try:
                result = fn(txn)
            except BaseException:
                txn.abort()
                raise
            txn.commit(0 if durable else bdb.DB_TXN_WRITE_NOSYNC)
            return result

        result = self._healed(transaction)
        self._upkeep()
        return result

    def checkpoint(self) -> None:
        """Write all changes to the databases and remove logs that are not needed any more."""
        self._healed(lambda handles: self._checkpoint(handles, bdb.DB_FORCE))

    @contextmanager
    def logs_held(self) -> Iterator[None]:
        """Keep every log file while this lasts."""
        shared = self._current_shared()
        with self._entered(shared):
            shared.backups += 1
            shared.gate.hold_logs()
        try:
            yield
        finally:
            with self._entered(shared):
                shared.backups -= 1
                if not shared.backups:
                    shared.gate.release_logs()

    def close(self) -> None:
        """Let go; the last Env of a path in this process closes it."""
        shared = _shared.get(self._key)
        if shared is None or self._key == (0, 0):
            return
        key, self._key = self._key, (0, 0)
        shared.users -= 1
        if shared.users:
            return
        del _shared[key]
        _close(shared)

    def __enter__(self) -> "Env":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _current_shared(self) -> _Shared:
        shared = _shared.get(self._key)
        if shared is None:
            raise StoreError(f"{self.path}: closed")
        return shared

    def _healed(self, call: Callable[[Handles], T]) -> T:
        """Run call inside the gate; if Berkeley DB says that recovery is needed, recover and run it once more."""
        shared = self._current_shared()
        with self._entered(shared):
            for is_last in (False, True):
                try:
                    handles = shared.current()
                    shared.gate.begin()
                    self._inside = handles
                    result = call(handles)
                except _FATAL as error:
                    # The mark stays: whoever is next, here or elsewhere, recovers.
                    if is_last:
                        raise explain(self.path, error) from None
                    continue
                except bdb.DBError as error:
                    shared.gate.end()
                    raise explain(self.path, error) from None
                except BaseException:
                    shared.gate.end()
                    raise
                finally:
                    self._inside = None
                shared.gate.end()
                return result
        raise AssertionError("unreachable")

    @contextmanager
    def _entered(self, shared: _Shared) -> Iterator[None]:
        shared.gate.enter()
        try:
            yield
        finally:
            shared.gate.leave()

    def _upkeep(self) -> None:
        """Once a second at most, after a commit: a checkpoint if enough was written or enough time went by."""
        shared = self._current_shared()
        now_s = time.monotonic()
        if now_s - shared.upkept_s < UPKEEP_S:
            return
        shared.upkept_s = now_s
        # What was committed is safe in the log: what hinders a checkpoint is told to the next writer, not to this one.
        with suppress(StoreError, Unavailable):
            self._healed(lambda handles: self._checkpoint(handles, 0))

    def _checkpoint(self, handles: Handles, flags: int) -> None:
        shared = self._current_shared()
        handles.env.txn_checkpoint(CHECKPOINT_KIB, CHECKPOINT_MINUTES, flags)
        if not shared.backups and not shared.gate.are_logs_held():
            handles.env.log_archive(bdb.DB_ARCH_REMOVE)


def _directory(path: Path, readonly: bool) -> tuple[int, int]:
    """Make the store's directory if need be; give what identifies it."""
    try:
        if not readonly:
            path.mkdir(mode=0o2770, exist_ok=True)
        stat = path.stat()
    except FileNotFoundError:
        raise ConfigError(f"store.path: {path}: no such directory; create it, for the user that runs this") from None
    except FileExistsError:
        raise ConfigError(f"store.path: {path}: not a directory") from None
    except OSError as error:
        raise ConfigError(f"store.path: {path}: {error.strerror}") from None
    if not path.is_dir():
        raise ConfigError(f"store.path: {path}: not a directory")
    return stat.st_dev, stat.st_ino


def _close(shared: _Shared) -> None:
    """Close handles inside the gate; if that goes wrong the mark stays and the next process recovers."""
    try:
        shared.gate.enter()
    except Unavailable:
        if shared.handles is not None:
            shared.handles.abandon()
        return
    handles, shared.handles = shared.handles, None
    try:
        if handles is None:
            return
        if shared.gate.is_broken or shared.generation != shared.gate.generation:
            handles.drop()
            return
        shared.gate.begin()
        try:
            handles.close()
        except bdb.DBError:
            return
        shared.gate.end()
    finally:
        shared.gate.leave()
        shared.gate.close()


@atexit.register
def _close_all() -> None:
    """Close in order at exit: the interpreter would do it in any order, outside the gate."""
    while _shared:
        _close(_shared.popitem()[1])


def _after_fork() -> None:
    """Give a forked child its own gate and no handles."""
    inherited = dict(_shared)
    _shared.clear()
    for key, old in inherited.items():
        if old.handles is not None:
            old.handles.abandon()
        new = _Shared(old.path, old.readonly, old.cache_bytes, old.gate.wait_s)
        new.users = old.users
        _shared[key] = new


os.register_at_fork(after_in_child=_after_fork)
