"""A bounded Maildir of mode 0700: what the robot could not handle, and the originals of evidence.

A message is written to tmp/, synced, and renamed into new/ (both as Maildir says), so that it is there whole or not at
all once `put` returns. Its name is made of its content: what a mail server hands over twice is kept once. Past the
limits the oldest go; `put` looks at them at its first call and then once in CHECK_EVERY.
"""

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spamcannibal.errors import ConfigError, Unavailable

CHECK_EVERY = 64
_UNSAFE = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many messages are kept, about, how many bytes in all, and for how long."""

    count: int = 10_000
    total_bytes: int = 1 << 30
    age_s: float = 90 * 86_400.0


class Folder:
    """One Maildir; threads and processes may share it."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path = path
        self._bounds = bounds
        self._puts = 0

    def put(self, message: bytes, headers: Mapping[str, str], now: float) -> Path:
        """Keep a message durably with some headers in front of it; return where. Unavailable if that can't be."""
        self._make()
        name = f"{hashlib.sha256(message).hexdigest()[:40]}.robot"
        head = "".join(f"{key}: {_UNSAFE.sub(' ', value)[:900]}\n" for key, value in headers.items())
        temporary = self.path / "tmp" / f"{name}.{os.getpid()}.{threading.get_native_id()}"
        kept = self.path / "new" / name
        try:
            if kept.exists():
                return kept
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(head.encode("ascii"))
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(kept)
            _sync(kept.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise Unavailable(f"{kept}: {error.strerror}; nothing was done") from None
        self._puts += 1
        if self._puts % CHECK_EVERY == 1:
            self._prune(now)
        return kept

    def count(self) -> int:
        """Return how many messages there are, read or not."""
        return sum(1 for _ in self._entries())

    def _make(self) -> None:
        try:
            for folder in (self.path, *(self.path / part for part in ("tmp", "new", "cur"))):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}; make its directory for the robot's user") from None

    def _prune(self, now: float) -> None:
        """Remove what is too old, and the oldest of what is too many."""
        entries = []
        for entry in self._entries():
            with suppress(FileNotFoundError):  # another process was quicker
                stat = entry.stat()
                entries.append((stat.st_mtime, stat.st_size, entry.path))
        count, total = len(entries), sum(size for _, size, _ in entries)
        bounds = self._bounds
        for time_s, size, path in sorted(entries):
            if count <= bounds.count and total <= bounds.total_bytes and time_s >= now - bounds.age_s:
                break
            Path(path).unlink(missing_ok=True)
            count, total = count - 1, total - size

    def _entries(self) -> Iterator["os.DirEntry[str]"]:
        for part in ("new", "cur"):
            if (self.path / part).is_dir():
                with os.scandir(self.path / part) as found:
                    yield from found


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
