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

Root acts as the owner of the store's directory, so that its commands leave no file there that a daemon can't use.
One environment a process and path, whoever asks: several Env of one path share it. A forked child opens its own.
Read-only: Berkeley DB needs its regions and the gate writable for every reader, so a reader's user must be in the
store's group (regions 0660), while databases and logs are 0640 and opened read-only. A reader can't recover: while no
writer has done so it gets Unavailable.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any, TypeVar

from berkeleydb import db as bdb

from spamcannibal.errors import ConfigError, StoreError, Unavailable
from spamcannibal.store import upkeep
from spamcannibal.store.handles import FATAL, MIB, Handles, explain
from spamcannibal.store.shared import Shared, attach, detach

T = TypeVar("T")
Txn = Any  # berkeleydb ships no types

WAIT_S = 30.0


class Env:
    """One store directory; see the module's docstring."""

    def __init__(
        self, path: str | Path, readonly: bool = False, cache_bytes: int = 64 * MIB, wait_s: float = WAIT_S
    ) -> None:
        """Open the store, creating it (in a directory that exists) unless readonly; ConfigError or StoreError."""
        self.path = Path(path)
        self.readonly = readonly
        _make_directory(self.path, readonly)
        try:
            self._shared: Shared | None = attach(self.path, readonly, cache_bytes, wait_s)
        except OSError as error:
            raise StoreError(f"{error.filename or self.path}: {error.strerror}") from None
        self._inside: Handles | None = None
        self._looker = 0
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
        """Return fn(); it may be called a second time, after recovery. Cursors must be closed when it ends.

        Inside fn may be others: then all that is read is of one moment, and the gate is passed once.
        """
        if self._looker == threading.get_ident():
            return fn()

        def look(handles: Handles) -> T:
            self._looker = threading.get_ident()
            try:
                return fn()
            finally:
                self._looker = 0

        return self.call(look)

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

        result = self.call(transaction)
        self._upkeep()
        return result

    def checkpoint(self) -> None:
        """Write all changes to the databases and remove logs that are not needed any more."""
        try:
            upkeep.checkpoint(self)
        except OSError as error:
            raise StoreError(f"{error.filename or self.path}: {error.strerror}") from None

    def remove_logs(self) -> None:
        """Remove the log files that no recovery needs, unless they are held."""
        shared = self._current_shared()

        def remove(handles: Handles) -> None:
            if not shared.backups and not shared.gate.are_logs_held():
                handles.env.log_archive(bdb.DB_ARCH_REMOVE)

        self.call(remove)

    @contextmanager
    def logs_held(self) -> Iterator[None]:
        """Keep every log file while this lasts."""
        shared = self._current_shared()
        with shared.entered():
            shared.backups += 1
            shared.gate.hold_logs()
        try:
            yield
        finally:
            with shared.entered():
                shared.backups -= 1
                if not shared.backups:
                    shared.gate.release_logs()

    def close(self) -> None:
        """Let go; the last Env of a path in this process closes it."""
        if self._shared is not None:
            shared, self._shared = self._shared, None
            detach(shared)

    def __enter__(self) -> "Env":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _current_shared(self) -> Shared:
        if self._shared is None:
            raise StoreError(f"{self.path}: closed")
        return self._shared

    def call(self, fn: Callable[[Handles], T]) -> T:
        """Return fn(handles), run inside the gate; if Berkeley DB wants recovery, recover and run it once more.

        For run, read and upkeep; everybody else uses those.
        """
        shared = self._current_shared()
        with shared.entered():
            try:
                return self._attempt(shared, fn)
            except FATAL:
                # The mark has stayed, so this recovers, and should it fail, whoever is next does.
                try:
                    return self._attempt(shared, fn)
                except FATAL as error:
                    raise explain(self.path, error) from None

    def _attempt(self, shared: Shared, fn: Callable[[Handles], T]) -> T:
        self._inside = shared.current()
        shared.gate.begin()
        try:
            result = fn(self._inside)
        except FATAL:
            raise
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

    def _upkeep(self) -> None:
        """After a commit, once a second at most: see to the log."""
        shared = self._current_shared()
        now_s = time.monotonic()
        if now_s - shared.upkept_s < upkeep.INTERVAL_S:
            return
        shared.upkept_s = now_s
        # What was committed is safe in the log: what hinders a checkpoint is told to the next writer, not to this one.
        with suppress(StoreError, Unavailable, OSError):
            upkeep.keep_up(self)


def _make_directory(path: Path, readonly: bool) -> None:
    """Make the store's directory if need be; ConfigError if it is none."""
    try:
        if not readonly:
            path.mkdir(mode=0o2770, exist_ok=True)
        is_directory = S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise ConfigError(f"store.path: {path}: no such directory; create it, for the user that runs this") from None
    except FileExistsError:
        is_directory = False
    except OSError as error:
        raise ConfigError(f"store.path: {path}: {error.strerror}") from None
    if not is_directory:
        raise ConfigError(f"store.path: {path}: not a directory")
