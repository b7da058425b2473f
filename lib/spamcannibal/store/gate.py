"""The gate of a store: one process, one thread at a time inside Berkeley DB, and every death inside is noticed.

Berkeley DB's own sharing does not survive `kill -9`. Found with Debian's 5.3.28: its mutexes are plain process-shared
pthread mutexes in mapped files; one that a dead process held blocks every other process for ever, inside C, past any
time-out, and setting the panic flag wakes nobody. The same goes for its page locks: a waiter is woken only by a
deadlock detector, which needs those mutexes. DB_REGISTER notices a death only when the next process opens the
environment, and then recovers under the feet of those that are inside.

So nobody ever waits inside Berkeley DB here; everybody waits at this gate, which the kernel opens when its holder dies.
It is a small file beside the databases, with POSIX record locks on single bytes and a shared mapping:

    byte 0   lock: the turn to wait for byte 1, so that who holds it longest goes next and a busy loop starves nobody
    byte 1   lock: inside
    byte 2   lock, shared: a process that has the environment open
    byte 3   lock, shared: a backup is running, so log files must stay
    16       u64: generation of the environment, one more after each recovery; handles of an older one are dead
    24       u32: process id inside, 0 = nobody. Found non-zero by who gets in: that process died inside, so recover
    28       u32: openings since the last recovery less closings, so the living and those that died without closing

Who restores a copy puts other files in place of ours, and a process that went on with the old ones, which nobody else
sees any more, would follow and write for nothing. So `check_place` asks whether the gate is still that of its path.

POSIX locks end with the process, are not inherited by fork, and end too when the process closes any descriptor of the
file; so the file is opened once a process, by the one Gate of a path that env.py keeps.
"""

import fcntl
import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from spamcannibal.errors import Replaced, StoreError, Unavailable

FILE_NAME = "spamcannibal.lock"
_SIZE = 64
_TURN, _INSIDE, _MEMBER, _BACKUP = range(4)
_GENERATION = struct.Struct("=Q")
_PID = struct.Struct("=I")
_OPENINGS = struct.Struct("=I")
_GENERATION_AT, _PID_AT, _OPENINGS_AT = 16, 24, 28
# Waiting is by polling: a blocking lock could not be given up when the holder is stopped (SIGSTOP, a frozen cgroup).
_SHORTEST_S, _LONGEST_S = 0.0001, 0.002


class Gate:
    """Exclusive entry to one environment for this process and its threads."""

    def __init__(self, directory: Path, wait_s: float) -> None:
        """Open or create the gate's file; OSError if that can't be."""
        self._directory = directory
        self.wait_s = wait_s
        self._thread_lock = threading.Lock()
        self._owner = 0
        self._fd = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            if os.fstat(self._fd).st_size < _SIZE:
                # Allocated, not only lengthened: a hole in a mapping on a full disk is a SIGBUS.
                os.posix_fallocate(self._fd, 0, _SIZE)
            with suppress(PermissionError):  # not ours: then who made it did so
                os.fchmod(self._fd, 0o660)  # readers of the group write here too, whatever the umask
            self._map = mmap.mmap(self._fd, _SIZE)
            self._identity = _identity(os.fstat(self._fd))
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def generation(self) -> int:
        return int(_GENERATION.unpack_from(self._map, _GENERATION_AT)[0])

    @property
    def is_broken(self) -> bool:
        """Tell whether a process died inside, or left without saying that all is well. Ask only when inside."""
        return bool(_PID.unpack_from(self._map, _PID_AT)[0])

    def enter(self) -> None:
        """Get in, after everybody who came before; Unavailable when the wait is too long."""
        if self._owner == threading.get_ident():
            raise StoreError("store: a call within a call; one transaction must end before the next begins")
        deadline = time.monotonic() + self.wait_s
        if not self._thread_lock.acquire(timeout=self.wait_s):
            raise self._too_long()
        try:
            self._wait_for(_TURN, deadline)
            try:
                self._wait_for(_INSIDE, deadline)
            finally:
                self._unlock(_TURN)
        except BaseException:
            self._thread_lock.release()
            raise
        self._owner = threading.get_ident()

    def check_place(self) -> None:
        """Raise Unavailable if the gate is gone from its path, Replaced if another one stands there."""
        try:
            there = _identity((self._directory / FILE_NAME).stat())
        except OSError as error:
            raise Unavailable(f"{self._directory}: {FILE_NAME} is gone ({error.strerror}); was it moved?") from None
        if there != self._identity:
            raise Replaced(f"{self._directory}: another database was put here while this one was open; start anew")

    def leave(self) -> None:
        """Get out."""
        self._owner = 0
        self._unlock(_INSIDE)
        self._thread_lock.release()

    def begin(self) -> None:
        """Mark that Berkeley DB is about to be called: dying from here on breaks the environment."""
        _PID.pack_into(self._map, _PID_AT, os.getpid())

    def end(self) -> None:
        """Mark that nothing of Berkeley DB's is held any more."""
        _PID.pack_into(self._map, _PID_AT, 0)

    def renew(self) -> None:
        """Count a recovery: a new generation, which nobody has open yet."""
        _GENERATION.pack_into(self._map, _GENERATION_AT, self.generation + 1)
        _OPENINGS.pack_into(self._map, _OPENINGS_AT, 0)

    @property
    def openings(self) -> int:
        """Give how many have the environment open, or died without closing it; ask only when inside."""
        return int(_OPENINGS.unpack_from(self._map, _OPENINGS_AT)[0])

    def join(self) -> None:
        """Count as a process that has the environment open, while inside."""
        self._try(_MEMBER, fcntl.LOCK_SH)
        _OPENINGS.pack_into(self._map, _OPENINGS_AT, self.openings + 1)

    def quit(self) -> None:
        """Count no more as one, having closed it in good order, while inside."""
        self._unlock(_MEMBER)
        _OPENINGS.pack_into(self._map, _OPENINGS_AT, max(self.openings - 1, 0))

    def is_alone(self) -> bool:
        """Tell whether no process has the environment open; ask while inside and not a member."""
        if not self._try(_MEMBER, fcntl.LOCK_EX):
            return False
        self._unlock(_MEMBER)
        return True

    def hold_logs(self) -> None:
        """Ask everybody to keep log files, while inside, until release_logs or death."""
        self._try(_BACKUP, fcntl.LOCK_SH)

    def release_logs(self) -> None:
        self._unlock(_BACKUP)

    def are_logs_held(self) -> bool:
        """Tell whether another process asked to keep log files."""
        if not self._try(_BACKUP, fcntl.LOCK_EX):
            return True
        self._unlock(_BACKUP)
        return False

    def close(self) -> None:
        """Stop being a member; the locks of this process go with the descriptor."""
        self._map.close()
        os.close(self._fd)

    def _wait_for(self, byte: int, deadline: float) -> None:
        pause = _SHORTEST_S
        while not self._try(byte, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise self._too_long()
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_S)

    def _try(self, byte: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._fd, kind | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):  # POSIX allows EAGAIN and EACCES
            return False
        return True

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def _too_long(self) -> Unavailable:
        (pid,) = _PID.unpack_from(self._map, _PID_AT)
        holder = f"process {pid} is using it" if pid else "other processes are using it"
        return Unavailable(f"{self._directory}: busy for more than {self.wait_s:g} s: {holder}; try again")


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
