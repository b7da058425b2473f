"""Work that comes round: a thread that runs each chore at its interval and survives whatever a chore throws.

    worker = Worker("clerk", [Chore("contacts", 1.0, write_contacts), ...], log)
    worker.start() ... worker.stop()

A chore that fails is logged (TROUBLE) and tried again after twice its last wait, up to LONGEST_WAIT_S; when it works
again that is logged too (RECOVERED). This is the boundary that keeps the packet path from depending on the store. A
worker that is not urgent leaves the processors to the packets by its niceness.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from spamcannibal.errors import SpamCannibalError
from spamcannibal.events import EventLog

LONGEST_WAIT_S = 5.0
JOIN_S = 10.0


@dataclass
class Chore:
    """One function and how often; the rest is the worker's book-keeping."""

    name: str
    every_s: float
    run: Callable[[], None]
    due: float = 0.0
    failures: int = field(default=0, init=False)

    def wait_s(self) -> float:
        """Return the time until the next try after the last one, which had `failures` before it in a row."""
        if not self.failures:
            return self.every_s
        return max(self.every_s, min(self.every_s * 2.0**self.failures, LONGEST_WAIT_S))


class Worker(threading.Thread):
    """A thread of chores; `stop` lets the one under way end, and waits for that within bounds."""

    def __init__(self, name: str, chores: Sequence[Chore], log: EventLog, niceness: int = 0) -> None:
        super().__init__(name=name, daemon=True)
        self.chores = chores
        self.log = log
        self.niceness = niceness
        self._stopping = threading.Event()

    def run(self) -> None:
        me = threading.get_native_id()
        # A system call filter may forbid it; the chores matter more than their manners.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, me, max(self.niceness, os.getpriority(os.PRIO_PROCESS, me)))
        for chore in self.chores:
            chore.due = time.monotonic() + chore.every_s
        while not self._stopping.is_set():
            for chore in self.chores:
                if chore.due <= time.monotonic():
                    self.do(chore)
            self._stopping.wait(max(0.0, min(chore.due for chore in self.chores) - time.monotonic()))

    def do(self, chore: Chore) -> None:
        """Run a chore once and set when it is due again."""
        try:
            chore.run()
        except Exception as error:
            chore.failures = min(chore.failures + 1, 16)
            why = str(error) if isinstance(error, SpamCannibalError) else f"{type(error).__name__}: {error}"
            self.log.emit("TROUBLE", what=chore.name, why=why, retry_s=chore.wait_s())
        else:
            if chore.failures:
                self.log.emit("RECOVERED", what=chore.name, failures=chore.failures)
            chore.failures = 0
        chore.due = time.monotonic() + chore.wait_s()

    def stop(self) -> bool:
        """Ask to stop and wait; False if a chore did not end in time (the thread dies with the process)."""
        self._stopping.set()
        self.join(JOIN_S)
        return not self.is_alive()
