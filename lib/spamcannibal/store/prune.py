"""Shorten the journal: what is old goes, but for what still tells the list as it was at any later moment.

The floor is the number of a change. Up to it only the newest change of each key that was listed then is kept (text and
source of a listing stand there); past it nothing is missing. So the list can be read as it was at the floor and at any
later change (past.py), and followers that were there or later notice nothing. Who comes from before it finds a hole:
followers load again, secondaries get the whole zone.

    change            superseded up to the floor    newest of its key up to the floor
    list, amend       goes                          stays
    unlist            goes                          goes, with what it took away: there is no undo past the floor

The newest change of all stays, so that numbers are never given twice. The floor rises with each transaction, change by
change: killed anywhere, the next run goes on from there.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from spamcannibal import layout
from spamcannibal.record import Action, Change
from spamcannibal.store.batch import Batch, history_row
from spamcannibal.store.contacts import read_tally
from spamcannibal.store.env import Txn
from spamcannibal.store.stores import Store, scan, scan_back

FLOOR_KEY = b"floor"
STEP_LIMIT = 250  # changes a transaction: each may take two away, in two databases


class _Step(NamedTuple):
    """How far a transaction came, and the changes that it took away: (key, number)."""

    floor: int
    gone: list[tuple[bytes, int]]
    is_last: bool


def floor(store: Store) -> int:
    """Give the number of the change up to which others may be missing."""
    return store.env.read(lambda: floor_inside(store))


def prune(
    store: Store, before_ms: int, dry_run: bool = False, stop: Callable[[], bool] = lambda: False
) -> int:  # fmt: skip
    """Take away changes older than a time; give how many went."""
    gone, at = 0, floor(store)
    while not stop():
        if dry_run:
            step = store.env.read(partial(_look, store, at, before_ms))
        else:
            step = store.transact(0, partial(_write, store, before_ms), durable=False)
        gone += len(step.gone)
        at = step.floor
        if step.is_last:
            break
    return gone


def _write(store: Store, before_ms: int, batch: Batch) -> _Step:
    step = _look(store, floor_inside(store, batch.txn), before_ms, batch.txn)
    for key, seq in step.gone:
        batch.drop("journal", layout.pack_seq(seq))
        batch.drop("history", history_row(key, seq))
    batch.put("meta", FLOOR_KEY, layout.pack_seq(step.floor))
    return step


def _look(store: Store, at: int, before_ms: int, txn: Txn = None) -> _Step:
    """Find what goes of the next changes past `at`."""
    rows = scan(store.env.db("journal"), layout.pack_seq(at + 1), STEP_LIMIT, txn)
    last = read_tally(store.env, txn).seq
    gone: list[tuple[bytes, int]] = []
    for key, data in rows:
        change = layout.unpack_change(layout.unpack_seq(key), data)
        if change.time_ms >= before_ms or change.seq >= last:
            return _Step(at, gone, True)
        at = change.seq
        gone += _superseded(store, change, txn)
    return _Step(at, gone, len(rows) < STEP_LIMIT)


def _superseded(store: Store, change: Change, txn: Txn) -> list[tuple[bytes, int]]:
    """Give what a change makes needless: the change of its key before it, and itself if it is a removal.

    A removal before it went by itself already.
    """
    prefix = bytes((len(change.key),)) + change.key
    gone = []
    for row in scan_back(store.env.db("history"), prefix, 1, change.seq - 1, txn):
        before = layout.unpack_seq(row[-8:])
        data = store.env.db("journal").get(row[-8:], txn=txn)
        if data is None or layout.unpack_change(before, data).action is not Action.UNLIST:
            gone.append((change.key, before))
    if change.action is Action.UNLIST:
        gone.append((change.key, change.seq))
    return gone


def floor_inside(store: Store, txn: Txn = None) -> int:
    """Give the floor; inside run or read."""
    raw = store.env.db("meta").get(FLOOR_KEY, txn=txn)
    return layout.unpack_seq(raw) if raw else 0
