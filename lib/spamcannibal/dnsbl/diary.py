"""Note what the DNS server did, for the activity report: a thread that writes two small files beside the store.

    dnsbl.now        what goes on now (activity/now.py), every second
    dnsbl.activity   a line a minute (activity/spool.py), for who may write to the database (store/catchup.py)

This process only reads the database; a file is all it needs to write. Where it can't, it says so once and goes on.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from spamcannibal.activity.figures import MINUTE, rank, start_of
from spamcannibal.activity.now import FILES, Now, pack_now
from spamcannibal.activity.spool import LINE_BYTES, Line, pack_line, read_lines
from spamcannibal.store.catchup import SPOOL_FILE
from spamcannibal.store.owner import Owner

TURN_S = 1.0
SPOOL_BYTES = 1 << 20  # past it the older half goes: a week and more
MODE = 0o640

Counts = tuple[Mapping[str, int], Mapping[str, int]]


class Log(Protocol):
    """events.EventLog."""

    def emit(self, verb: str, /, **fields: Any) -> None: ...


class Diary:
    """`counts` gives what was counted since the start, by name and by zone."""

    def __init__(self, folder: Path, counts: Callable[[], Counts], log: Log) -> None:
        self._folder = folder
        self._counts = counts
        self._log = log
        self._since_ms = int(time.time() * 1000)
        self._told: Counts = ({}, {})
        self._at = 0
        self._minute = start_of(MINUTE, time.time())
        self._is_failing = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="diary", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what is left, and end."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
            self._try(self._note)

    def _run(self) -> None:
        while not self._closed.wait(TURN_S):
            self._try(self._turn)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            with Owner(self._folder).acting():
                work()
        except OSError as error:
            if not self._is_failing:
                self._log.emit("TROUBLE", service="dnsbl", what="activity", why=f"{error.filename}: {error.strerror}")
            self._is_failing = True
        else:
            self._is_failing = False

    def _turn(self) -> None:
        if start_of(MINUTE, time.time()) != self._minute:
            self._note()
        counts, _ = self._counts()
        told = pack_now(Now(int(time.time() * 1000), self._since_ms, dict(counts)))
        _replace(self._folder / FILES["dnsbl"], told)

    def _note(self) -> None:
        """Append the line of the minute that is over."""
        now, counted = time.time(), self._counts()
        counts, zones = (_growth(after, before) for after, before in zip(counted, self._told, strict=True))
        path = self._folder / SPOOL_FILE
        counts["dns.minutes"] = 1
        self._at = max(int(now * 1000), (self._at or _last(path)) + 1)
        _append(path, pack_line(Line(self._at, self._minute, counts, {"zones": rank(zones)})))
        self._told, self._minute = counted, start_of(MINUTE, now)


def _growth(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in grown.items() if count > 0}


def _last(path: Path) -> int:
    """Return the number of a spool's last line."""
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - 2 * LINE_BYTES))
        return max((line.at for line in read_lines(stream.read().splitlines(), 0)), default=0)


def _append(path: Path, line: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE), "ab") as stream:
        stream.write(line)
        size = stream.tell()
    if size > SPOOL_BYTES:
        kept = path.read_bytes()[-SPOOL_BYTES // 2 :]
        _replace(path, kept.partition(b"\n")[2])


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE), "wb") as stream:
            stream.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
