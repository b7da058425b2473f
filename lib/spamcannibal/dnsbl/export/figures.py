"""Keeps the file of outlet.py current beside an export that is followed."""

import time
from pathlib import Path

from spamcannibal.dnsbl.export import files, outlet
from spamcannibal.dnsbl.export.follow import Export, Job
from spamcannibal.errors import SpamCannibalError
from spamcannibal.events import EventLog

INTERVAL_S = 15.0


def outlet_name(job: Job, server: str | None = None) -> str:
    """Name a consumer, as metrics do."""
    if server and job.facts.zone:
        return f"{job.facts.zone.name}@{server}"
    return f"{job.name}:{job.path or job.facts.table}"


class Figures:
    """Writes at most every INTERVAL_S; what hinders costs a log line, once, and never the export."""

    def __init__(self, export: Export, name: str, path: Path | None, log: EventLog) -> None:
        self._export = export
        self._name = name
        self._path = path
        self._log = log
        self._success_s = 0.0
        self._written_s = float("-inf")
        self._trouble = ""

    def turn(self) -> None:
        """Note how the export stands; write if it is time."""
        if self._export.is_current:
            self._success_s = time.time()
        if time.monotonic() - self._written_s >= INTERVAL_S:
            self.write()

    def write(self) -> None:
        """Write now."""
        self._written_s = time.monotonic()
        if self._path is None:
            return
        text = outlet.followed(self._name, self._success_s, self._export.seq, self._export.counters)
        try:
            files.replace(self._path, [text])
            self._trouble = ""
        except SpamCannibalError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                self._log.emit("METRICS", file=str(self._path), error=self._trouble)
