"""Act as the owner of the store: what root's commands create there must be usable by the daemons' user.

Berkeley DB creates log and region files at any moment, for whoever happens to be inside. Were they root's, the daemon
could not write them. So root takes the file system identity of the directory's owner while inside (setfsuid(2), which
is of one thread and changes nothing else). Nobody else changes anything.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None)


class Owner:
    """Who owns a directory, if that matters to this process."""

    def __init__(self, directory: Path) -> None:
        stat = directory.stat()
        self._ids = (stat.st_uid, stat.st_gid) if os.geteuid() == 0 != stat.st_uid else None

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Create and open files as the owner, in this thread, while this lasts."""
        if self._ids is None or os.geteuid() != 0:
            yield
            return
        uid, gid = self._ids
        own_gid = os.getegid()
        _libc.setfsgid(gid)
        _libc.setfsuid(uid)
        try:
            yield
        finally:
            _libc.setfsuid(0)
            _libc.setfsgid(own_gid)
