"""One export: made once, or kept equal to the store while the journal moves.

    export = Export(store, Job("nft", select, facts), log)
    export.full()                        writes the file and runs the command, or loads the kernel
    export.turn(now)                     does what is due: call it every follow_interval_s

Kernel sets follow by deltas; files are written anew, and a command (a reload of the consumer) runs only after a file
that has changed. After any failure, and where the journal does not connect to what was exported (a store restored from
a copy), all is exported anew; so it is by renew(), for who knows that a consumer has lost it. A failing consumer or
store costs a log line and a growing wait, never the process; Replaced comes out, since that store never moves again.

The journal's number is read first and the list after it, so what changes meanwhile is exported once more by the next
turn: that does no harm. A file of an export that is not followed may hold a little of what came after its serial.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spamcannibal.dnsbl.export import files, kernel
from spamcannibal.dnsbl.export.entry import Select
from spamcannibal.dnsbl.export.facts import Entries, Facts
from spamcannibal.dnsbl.export.formats import FORMATS
from spamcannibal.dnsbl.export.pace import Pace
from spamcannibal.dnsbl.export.source import StoreEntries
from spamcannibal.errors import Replaced, SpamCannibalError
from spamcannibal.events import EventLog
from spamcannibal.record import Action
from spamcannibal.store.stores import Store

PAGE_LIMIT = 10_000
CHANGES_LIMIT = 100_000  # beyond this the list is read anew
SETTLE_S = 1.0

Progress = Callable[[int], None]


def _no_progress(step: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Job:
    """What is exported, and to where: a file, or without `path` the kernel. `command` runs after a file has changed."""

    name: str
    select: Select
    facts: Facts
    path: Path | None = None
    command: tuple[str, ...] = ()

    @property
    def families(self) -> tuple[int, ...]:
        return FORMATS[self.name].families


@dataclass(frozen=True)
class Result:
    """What an export did. `mode` is full or delta; `entries` were written, or for a delta changed."""

    mode: str
    seq: int
    entries: int
    size_bytes: int
    is_changed: bool = True


def entries(store: Store, job: Job, progress: Progress = _no_progress) -> dict[int, StoreEntries]:
    """Return the entries of a job by family."""
    in_full = FORMATS[job.name].has_text
    return {family: StoreEntries(store, family, job.select, in_full, progress) for family in (4, 6)}


def chunks(store: Store, job: Job, sides: dict[int, StoreEntries]) -> Iterator[str]:
    """Return the export's text as of now."""
    return FORMATS[job.name].write(sides[4], sides[6], job.facts._replace(serial=store.last_seq()))


class Export:
    """A job, and how far it has followed the journal: `seq` is the last change exported, -1 none. One thread."""

    def __init__(self, store: Store, job: Job, log: EventLog | None = None, settle_s: float = SETTLE_S) -> None:
        self.seq = -1
        self.counters: Counter[str] = Counter()
        self._store = store
        self._job = job
        self._log = log
        self._pace = Pace(settle_s)
        self._delta = None if job.path else kernel.KERNELS[job.name].new_delta()
        self._seen = -1
        self._command_is_due = False

    @property
    def is_current(self) -> bool:
        """Tell whether the consumer has all changes that were seen."""
        return self.seq >= 0 and self._pace.is_settled

    def renew(self) -> None:
        """Have all exported anew at the next turn: the consumer may have lost it."""
        self.seq = -1
        self._pace.owe()

    def full(self, progress: Progress = _no_progress) -> Result:
        """Export everything; Unavailable if the consumer fails."""
        self.seq = -1  # what fails from here on leaves a consumer in an unknown state
        seq = self._store.last_seq()
        sides = entries(self._store, self._job, progress)
        if self._job.path:
            size, is_changed = files.replace(self._job.path, chunks(self._store, self._job, sides))
        else:
            size, is_changed = self._load(seq, sides), True
        self._run_command(is_changed)
        self.seq = seq
        count = sum(sides[family].count for family in self._job.families)
        return Result("full", seq, count, size, is_changed)

    def turn(self, now: float) -> Result | None:
        """Export what is due; None if nothing was or it failed. `now` is of a monotonic clock."""
        began = time.monotonic()
        try:
            self._look(now)
            if not self._pace.is_due(now):
                return None
            result = self._by_delta() or self.full()
        except Replaced:
            raise  # there is another store: this one never moves again
        except SpamCannibalError as error:
            self.seq = -1
            self.counters["failures"] += 1
            self._tell(result="failed", error=str(error), retry_s=self._pace.failed(now))
            return None
        took_s = time.monotonic() - began
        self._pace.done(now + took_s, took_s)
        self.counters["exports"] += 1
        self._tell(
            result=result.mode if result.is_changed else "unchanged",
            seq=result.seq,
            entries=result.entries,
            bytes=result.size_bytes,
            took_s=round(took_s, 3),
        )
        return result

    def _look(self, now: float) -> None:
        """Note whether the journal has moved."""
        last = self._store.last_seq()
        if self._seen != last:
            # What was exported at the start, by `full`, is not due again.
            if last != self.seq:
                self._pace.changed(now)
            self._seen = last

    def _load(self, seq: int, sides: dict[int, StoreEntries]) -> int:
        assert self._delta is not None
        watched: tuple[Entries, Entries] = self._delta.watched(sides[4], sides[6])
        facts = self._job.facts._replace(serial=seq)
        return kernel.feed(kernel.KERNELS[self._job.name].load, FORMATS[self._job.name].write(*watched, facts))

    def _by_delta(self) -> Result | None:
        """Apply what changed; None if that needs reading everything anew."""
        if self._delta is None or self.seq < 0:
            return None
        changes: dict[bytes, bytes | None] = {}
        seq = self.seq
        while page := self._store.read(seq, PAGE_LIMIT):
            if page[0].seq != seq + 1 or page[-1].seq != seq + len(page) or len(changes) > CHANGES_LIMIT:
                return None
            for change in page:
                value = change.state
                changes[change.key] = None if change.action is Action.UNLIST else self._job.select(value)
            seq = page[-1].seq
        if seq != self._store.last_seq() and seq == self.seq:
            return None
        script = self._delta.script(changes, self._job.facts)
        if script:
            kernel.feed(kernel.KERNELS[self._job.name].load, [script])
        self.seq = seq
        return Result("delta", seq, len(changes), len(script), bool(script))

    def _run_command(self, is_changed: bool) -> None:
        """Run the command if the file has changed since it last ran well."""
        self._command_is_due = self._command_is_due or is_changed
        if self._command_is_due and self._job.command:
            kernel.run(self._job.command)
        self._command_is_due = False

    def _tell(self, **fields: object) -> None:
        if self._log:
            to = str(self._job.path) if self._job.path else "kernel"
            self._log.emit("EXPORT", format=self._job.name, to=to, **fields)
