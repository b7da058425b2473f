"""What a foreground daemon needs from the system around it: signals, notices to the supervisor, fewer rights.

    with Signals() as signals:
        notify("READY=1")
        while not signals.stop:
            if signals.take_reload(): ...
            signals.wait(0.1)
        notify("STOPPING=1")

SIGTERM and SIGINT ask to stop, SIGHUP to reload the settings; the handlers only set flags, and `wait` ends early.
Notices go where $NOTIFY_SOCKET says (sd_notify(3): systemd, and `spamcannibal up`); without it they go nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import select
import signal
import socket
import struct
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

from spamcannibal.errors import ConfigError, Unsupported

CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW = 12, 10, 13

# <linux/prctl.h>, <linux/capability.h>
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 8, 47, 2, 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


class Stopped(Exception):
    """The wish to stop came while `Signals.raises` was set."""


class Signals:
    """The pending wishes of whoever controls this process; a context manager for the main thread.

    A call that waits for others, such as reading a pipe, goes on after a signal: set `raises`, then look at `stop`,
    then call, and it ends by Stopped.
    """

    def __init__(self) -> None:
        self.stop = False
        self.raises = False
        self._reload = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        # The wake-up descriptor is written by the C handler, so a signal taken by another thread ends `wait` too.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        self._reader.close()
        self._writer.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stop = True
            if self.raises:
                self.raises = False
                raise Stopped

    def take_reload(self) -> bool:
        """Say whether a reload was asked for since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def wait(self, timeout_s: float) -> None:
        """Return when a signal came or the time is over."""
        if select.select([self._reader], [], [], max(0.0, timeout_s))[0]:
            with contextlib.suppress(BlockingIOError):
                self._reader.recv(4096)


def notify(state: str, env: Mapping[str, str] = os.environ) -> None:
    """Tell the supervisor, e.g. "READY=1" or "STATUS=..."; a supervisor that went away is no error."""
    path = env.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.sendto(state.encode(), address)


def watchdog_s(env: Mapping[str, str] = os.environ) -> float:
    """Return how often to send "WATCHDOG=1", in seconds: half of what the supervisor waits; 0 if it does not."""
    usec = env.get("WATCHDOG_USEC", "")
    meant = env.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdigit() or meant != str(os.getpid()):
        return 0.0
    return int(usec) / 2e6


def drop_privileges(user: str, keep: Iterable[int] = ()) -> None:
    """Become `user`, keeping only the capabilities `keep`, which child processes get too (ambient set).

    Call it before any thread is started: capabilities belong to threads. The signal that ends us with our parent, if
    one was set, is kept. An unknown user is a ConfigError, a process that may not change its user Unsupported. Nothing
    happens if we are that user already.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"no such user: {user!r}; make it (adduser --system) or leave the setting empty") from None
    if os.geteuid() == entry.pw_uid:
        return
    kept = sorted(keep)
    at_parents_death, parent = ctypes.c_int(), os.getppid()
    try:
        _prctl(_PR_GET_PDEATHSIG, ctypes.addressof(at_parents_death))
        if kept:
            _prctl(_PR_SET_KEEPCAPS, 1)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        set_capabilities(kept)
        _prctl(_PR_SET_PDEATHSIG, at_parents_death.value)  # the kernel forgets it when the user changes
    except OSError as error:
        raise Unsupported(f"cannot become user {user!r} ({error}); start as root or leave the setting empty") from error
    if at_parents_death.value and os.getppid() != parent:
        os.kill(os.getpid(), at_parents_death.value)  # it died while nobody was watching


def set_capabilities(kept: Iterable[int]) -> None:
    """Reduce this thread's capabilities, and those of its future threads and children, to `kept`."""
    mask = sum(1 << number for number in kept)
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable; then those over 31
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in kept:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
