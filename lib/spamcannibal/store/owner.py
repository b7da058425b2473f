"""Act as the owner of the store: what root's commands create there must be usable by the daemons' user.

Berkeley DB creates log and region files at any moment, for whoever happens to be inside. Were they root's, the daemon
could not write them. So root takes the file system identity of the directory's owner while inside (setfsuid(2), which
is of one thread and changes nothing else). Nobody else changes anything.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Owner:
    """Who owns a directory, if that matters to this process."""

    def __init__(self, directory: Path) -> None:
        stat = directory.stat()
        self._ids = (stat.st_uid, stat.st_gid) if os.geteuid() == 0 != stat.st_uid else None
        self._libc: Any = None
        if self._ids is not None:
            import ctypes  # here, since most processes are no root's

            self._libc = ctypes.CDLL(None)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Create and open files as the owner, in this thread, while this lasts."""
        if self._ids is None or os.geteuid() != 0:
            yield
            return
        uid, gid = self._ids
        own_gid = os.getegid()
        self._libc.setfsgid(gid)
        self._libc.setfsuid(uid)
        try:
            yield
        finally:
            self._libc.setfsuid(0)
            self._libc.setfsgid(own_gid)
