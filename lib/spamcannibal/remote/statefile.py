"""The file that remembers between runs how lists fared: read once, merged and replaced at the end, under a lock.

It belongs to the owner of its directory, the store's as a rule, whoever runs: root's cron job must not lock the others
out.
"""

import fcntl
import os
from pathlib import Path

from spamcannibal.remote.health import MEMORY_LIMIT_BYTES, Memory, decode, encode, merge
from spamcannibal.store.owner import Owner


def load(path: Path) -> Memory:
    """Return what is remembered; nothing where the file is missing or is none of ours."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MEMORY_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return Memory()
    return decode(raw) or Memory() if len(raw) <= MEMORY_LIMIT_BYTES else Memory()


def save(path: Path, memory: Memory, asked: dict[str, int], now: float) -> None:
    """Merge into the file what this process found and how many questions it asked today; OSError if it can't be.

    Whoever reads meanwhile sees the old file or the new one.
    """
    with Owner(path.parent).acting(), Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = encode(merge(memory, load(path), asked, now))
        new = Path(f"{path}.new")
        with new.open("wb") as stream:
            stream.write(made)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)
