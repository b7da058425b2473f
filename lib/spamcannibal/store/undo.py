"""Take changes back: each key becomes what it was before them, by new changes in the journal; nothing is rewritten.

Of a key's changes those are taken back that follow each other up to its newest; one that somebody else changed since is
left alone and told, since his change may rest on it. What was unlisted comes back with the reasons that the unlisting
took away. Undoing an undo makes it done again. The never-list is asked as for any listing.
"""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

from spamcannibal import layout
from spamcannibal.errors import NeverListed, StoreError
from spamcannibal.record import PUBLISHED, Action, Cause, Change, Contrib, Piece
from spamcannibal.store.batch import Batch, Wanted
from spamcannibal.store.stores import BATCH_LIMIT, Store, scan_back

KEYS_LIMIT = 1_000_000
PAGE_LIMIT = 1000

Reasons = tuple[Contrib | None, list[Piece]]


class Step(NamedTuple):
    """What is to be done with one key: back to `before` (None: not listed), unless `newest` is not its newest change.

    `problem` says why nothing is, "" if something is.
    """

    key: bytes
    newest: int
    before: Change | None
    reasons: Reasons = (None, [])
    problem: str = ""


class Done(NamedTuple):
    """What became of one key: listed, unlisted, changed, same (it came and went) or left; `seq` is 0 for no change."""

    key: bytes
    done: str
    seq: int
    why: str = ""


def select(store: Store, first: int, last: int, source: str) -> dict[bytes, list[int]]:
    """Give the changes past `first` up to `last` from a source (`*` stands for anything), by key, oldest first."""
    chosen: dict[bytes, list[int]] = {}
    at = first
    while at < last and (changes := store.read(at, min(PAGE_LIMIT, last - at))):
        at = changes[-1].seq
        for change in changes:
            if change.seq <= last and fnmatchcase(change.source, source):
                chosen.setdefault(change.key, []).append(change.seq)
        if len(chosen) > KEYS_LIMIT:
            raise StoreError(f"undo: more than {KEYS_LIMIT} listings; ask for a shorter time")
    return chosen


def numbered(store: Store, numbers: Iterable[int]) -> dict[bytes, list[int]]:
    """Give changes by key; StoreError for a number that the journal does not have."""
    chosen: dict[bytes, list[int]] = {}
    for number in sorted(set(numbers)):
        change = store.change(number)
        if change is None:
            raise StoreError(f"the journal has no change number {number}; its last is {store.last_seq()}")
        chosen.setdefault(change.key, []).append(number)
    return chosen


def plan(store: Store, key: bytes, numbers: Sequence[int], now: float) -> Step:
    """Give what taking back a key's changes means."""
    wanted, run = set(numbers), []
    newest = store.change_at(key, (1 << 64) - 1)
    change = newest
    while change is not None and change.seq in wanted:
        run.append(change)
        change = store.change_at(key, change.seq - 1)
    if newest is None or not run or len(run) < len(wanted):
        blocking = newest if not run else change
        by = f"change {blocking.seq} by {blocking.source} is newer" if blocking else "the journal was pruned"
        return Step(key, 0, None, problem=by)
    if run[-1].action is not Action.LIST and change is None:
        return Step(key, 0, None, problem="the journal was pruned: what it was before is not known")
    before = None if change is None or change.action is Action.UNLIST else change
    problem = _objection(store, before, now) if before else ""
    reasons: Reasons = _reasons(store, key, before, run) if before and not problem else (None, [])
    return Step(key, newest.seq, before, reasons, problem)


def apply(store: Store, steps: Iterable[Step], source: str, reason: str, now: float) -> Iterator[Done]:
    """Carry steps out, a thousand a transaction."""
    batch: list[Step] = []
    for step in steps:
        batch.append(step)
        if len(batch) == BATCH_LIMIT:
            yield from store.transact(now, partial(_write, store, batch, source, reason))
            batch = []
    yield from store.transact(now, partial(_write, store, batch, source, reason)) if batch else ()


def outcome(store: Store, step: Step) -> Done:
    """Give what a step would do."""
    if step.problem:
        return Done(step.key, "left", 0, step.problem)
    is_listed = store.get_key(step.key) is not None
    if step.before is None:
        return Done(step.key, "unlisted" if is_listed else "same", 0)
    return Done(step.key, "changed" if is_listed else "listed", 0)


def _objection(store: Store, before: Change, now: float) -> str:
    """Say why a key can't be listed as it was, "" if it can."""
    if before.expiry_ms and before.expiry_ms <= now * 1000:
        return "it would have expired meanwhile"
    try:
        store.guard.check(before.key)
    except NeverListed as error:
        return str(error)
    return ""


def _reasons(store: Store, key: bytes, before: Change, run: Sequence[Change]) -> Reasons:
    """Give hearsay or evidence of a listing as it was before a run of changes, the newest of these first."""
    removal = next((change for change in reversed(run) if change.action is Action.UNLIST), None)
    contrib, pieces = store.removed(key, removal.seq) if removal else (store.contrib(key), store.evidence(key))
    theirs, since_ms = {change.source for change in run}, run[-1].time_ms
    pieces = [piece for piece in pieces if piece.source not in theirs or piece.time_ms < since_ms]
    if pieces:
        return None, pieces
    if contrib is not None:
        return contrib, []
    # Its reasons went when it was proven otherwise: what the journal says of it is left.
    if before.flags & PUBLISHED:
        return None, [Piece(before.time_ms, before.source, before.text.encode("utf-8", "replace"))]
    cause = Cause(before.source.partition(":")[2], before.code, text=before.text)
    return Contrib(before.code, before.expiry_ms, (cause,)), []


def _write(store: Store, steps: Sequence[Step], source: str, reason: str, batch: Batch) -> list[Done]:
    return [_write_one(store, step, source, reason, batch) for step in steps]


def _write_one(store: Store, step: Step, source: str, reason: str, batch: Batch) -> Done:
    if step.problem:
        return Done(step.key, "left", 0, step.problem)
    rows = scan_back(store.env.db("history"), bytes((len(step.key),)) + step.key, 1, txn=batch.txn)
    if not rows or layout.unpack_seq(rows[0][-8:]) != step.newest:
        return Done(step.key, "left", 0, "somebody changed it meanwhile")
    if step.before is None:
        seq = batch.unlist(step.key, source, reason)
        return Done(step.key, "unlisted" if seq else "same", seq)
    is_listed = batch.is_listed(step.key)
    wanted = Wanted(*(getattr(step.before, name) for name in ("code", "mode", "flags", "expiry_ms", "text")))
    return Done(step.key, "changed" if is_listed else "listed", batch.restore(step.key, wanted, *step.reasons, source))
