"""Checkpoints: keep the log short, so that recovery is, without keeping others waiting.

A checkpoint writes every changed page and flushes every file; done in one go after 16 MiB of log (some 12,000 listings
in random order) it held the gate for a quarter of a second. So the pages are written in steps before, with the gate
open between them, the files are flushed outside the gate, and the checkpoint itself finds little left to do. Then the
log files that no recovery needs are removed, unless a backup holds them.
"""

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from berkeleydb import db as bdb

from spamcannibal.store.handles import MIB, NAMES, Handles

if TYPE_CHECKING:
    from spamcannibal.store.env import Env

INTERVAL_S = 1.0
LOG_LIMIT_BYTES = 16 * MIB
AGE_LIMIT_S = 60.0
STEPS_PERCENT = (20, 40, 60, 80, 100)


def is_due(handles: Handles, now: float) -> bool:
    """Tell whether enough log was written since the last checkpoint, or any some time ago."""
    log = handles.env.log_stat()
    written = log["wc_mbytes"] * MIB + log["wc_bytes"]
    is_old = now - handles.env.txn_stat()["time_ckp"] > AGE_LIMIT_S
    return bool(written > LOG_LIMIT_BYTES or (is_old and written > 4096))


def checkpoint(env: "Env") -> None:
    """Bring the databases up to the log, in steps."""
    for percent in STEPS_PERCENT:
        env.call(partial(_trickle, percent))
    for name in NAMES:
        fd = os.open(env.path / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
    env.call(lambda handles: handles.env.txn_checkpoint(0, 0, bdb.DB_FORCE))
    env.remove_logs()


def _trickle(percent: int, handles: Handles) -> None:
    """Write changed pages until so many percent of the cache are as on disk."""
    handles.env.memp_trickle(percent)


def keep_up(env: "Env") -> None:
    """Make a checkpoint if one is due."""
    if env.call(lambda handles: is_due(handles, time.time())):
        checkpoint(env)
