"""Give back the room that removals left: Berkeley DB's own compaction, in steps, while others go on.

A page that is half empty is merged with its neighbour and, where a page nearer to the file's beginning is free, moved
there; what is free at the file's end is given back. Each step is a transaction of its own over STEP_ROWS rows, so the
gate is held for some hundredth of a second and an interruption loses nothing.
"""

from collections.abc import Callable
from functools import partial

from berkeleydb import db as bdb

from spamcannibal.store.env import Env
from spamcannibal.store.handles import NAMES
from spamcannibal.store.stores import scan

STEP_ROWS = 500


def compact(
    env: Env, progress: Callable[[int], None] = lambda rows: None, stop: Callable[[], bool] = lambda: False
) -> dict[str, tuple[int, int]]:
    """Compact all databases; give the size of each before and after. `progress` gets rows gone over."""
    before = _sizes(env)
    for name in NAMES:
        start = b""
        while not stop():
            rows, start = _step(env, name, start)
            progress(rows)
            if not rows:
                break
    env.checkpoint()
    after = _sizes(env)
    return {name: (before[name], after[name]) for name in NAMES}


def _step(env: Env, name: str, start: bytes) -> tuple[int, bytes]:
    """Compact the next rows from `start` on; give how many, and where the next step begins."""
    rows = [key for key, _ in env.read(lambda: scan(env.db(name), start, STEP_ROWS))]
    if not rows:
        return 0, start
    env.run(partial(_compact, env, name, start or None, rows[-1]), durable=False)
    return len(rows), rows[-1] + b"\0"


def _compact(env: Env, name: str, start: bytes | None, end: bytes, txn: object) -> None:
    env.db(name).compact(start=start, stop=end, flags=bdb.DB_FREE_SPACE, txn=txn)


def _sizes(env: Env) -> dict[str, int]:
    return {name: (env.path / name).stat().st_size for name in NAMES}
