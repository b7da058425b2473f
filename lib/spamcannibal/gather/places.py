"""How far followers are, kept over stops: a JSON object in a file, replaced at once, of one process alone.

    with held(path, "follow.state_file"):
        rows = read(path)                   a damaged file is an error: nobody must guess how far he was
        ... write(path, rows) ...

The lock is on a file beside it, since each write replaces the file itself; the kernel frees it at any death.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spamcannibal.errors import ConfigError, StoreError, Unavailable

LIMIT_BYTES = 1 << 20
LOCK_MODE = 0o640


@contextmanager
def held(path: str, setting: str) -> Iterator[None]:
    """Keep other processes off a file; Unavailable if one has it, ConfigError if there can't be such a file."""
    lock = f"{path}.lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, LOCK_MODE)
    except OSError as error:
        why = f"{error.strerror}; its folder must be there, and writable for who runs this"
        raise ConfigError(f"{setting}: can't make {lock}: {why}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Unavailable(
            f"{setting}: another process keeps its places in {path}; stop it, or give each a file of its own"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def read(path: str) -> dict[str, Any]:
    """Return what was written last, empty if nothing ever was; StoreError if it can't be read."""
    try:
        with Path(path).open("rb") as file:
            return dict(json.loads(file.read(LIMIT_BYTES)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path, error) from None


def damaged(path: str, why: object) -> StoreError:
    """Return the error of a file that does not say what it should."""
    return StoreError(f"{path}: can't read how far we were: {why}; remove it to begin anew")


def write(path: str, rows: Mapping[str, Any]) -> None:
    """Replace the file at once; Unavailable if that can't be done."""
    partial = Path(f"{path}.partial")
    try:
        partial.write_text(json.dumps(dict(rows)))
        partial.replace(path)
    except OSError as error:
        raise Unavailable(f"{path}: can't write how far we are: {error.strerror}") from None
