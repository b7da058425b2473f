"""One instance of a job at a time: a lock on a file in the store's directory, which the kernel frees at any death.

The file's time tells when the job last came to its end.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spamcannibal.errors import StoreError
from spamcannibal.store.handles import SHARED_MODE
from spamcannibal.store.owner import Owner


@contextmanager
def alone(path: Path, job: str) -> Iterator[bool]:
    """Tell whether nobody else runs this job on the store at `path`; while this lasts nobody else can."""
    file = path / f"{job}.lock"
    try:
        with Owner(path).acting():
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SHARED_MODE)
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            os.utime(fd)
    finally:
        os.close(fd)


def last_run_s(path: Path, job: str) -> float | None:
    """Return when a job last came to its end, or first began, in seconds since the epoch; None if it never did."""
    try:
        return (path / f"{job}.lock").stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
