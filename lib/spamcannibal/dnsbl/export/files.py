"""Files that are always whole: written beside the old one, flushed to the disk, then renamed over it.

What a writer that was killed left beside it, the next one removes: a living writer holds a lock on its own.
"""

import contextlib
import fcntl
import filecmp
import glob
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from spamcannibal.errors import ConfigError, Unavailable


class Written(NamedTuple):
    size: int
    is_changed: bool


def replace(path: Path, chunks: Iterable[str]) -> Written:
    """Put chunks in place of a file; one with the same content is left alone. Unavailable if it can't be written.

    Mode and owner stay those of the old file. A reader sees the old file or the new one, also after a crash.
    """
    target = _target(path)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        _sweep(target)
        size = _write(beside, chunks, target)
        if target.exists() and filecmp.cmp(beside, target, shallow=False):
            return Written(size, False)
        beside.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        raise Unavailable(f"can't write {path}: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True)
    return Written(size, True)


def lines(path: Path) -> Iterator[str]:
    """Yield a file's lines as they are; Unavailable if it can't be read."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            yield from stream
    except OSError as error:
        raise Unavailable(f"can't read {path}: {error.strerror or error}") from None


def _target(path: Path) -> Path:
    """Return the file to rename over: where links lead, and a file if it is there at all."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise ConfigError(f"{path}: can't be replaced, got no regular file; leave -o out to write to a pipe")
    return target


def _sweep(target: Path) -> None:
    """Remove what dead writers of a file have left."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with contextlib.suppress(OSError):  # held by one who lives, or removed by another
            fd = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(fd)


def _write(beside: Path, chunks: Iterable[str], like: Path) -> int:
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace", newline="") as stream:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if like.exists():
            old = like.stat()
            os.fchmod(fd, old.st_mode & 0o777)
            # Only root may give files away; anybody else's stays his own.
            with contextlib.suppress(PermissionError):
                os.fchown(fd, old.st_uid, old.st_gid)
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        os.fsync(fd)
        return os.fstat(fd).st_size


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
