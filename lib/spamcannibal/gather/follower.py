"""Logs -> reports: read on in all files, look for signs, bring what they say to the listener, keep how far we are.

    Tail -> whole lines -> Signs -> age, Storms -> a report a minute for each address and colour -> Courier -> places

A block counts as read once the listener has answered to its reports, so a stop at any moment, here or there, loses
none; those of the last block may be brought twice, which the tally counts once. A line older than `oldest_s` says
nothing about today and is passed over.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cachetools import TTLCache

from spamcannibal.addr import listing_key
from spamcannibal.errors import Unavailable
from spamcannibal.gather import places
from spamcannibal.gather.line import Report, clean
from spamcannibal.gather.server import Log
from spamcannibal.gather.signs import Signs
from spamcannibal.gather.stamp import Clock, age_s
from spamcannibal.gather.storms import Storms
from spamcannibal.gather.tail import GRACE_S, Place, Tail

AGAIN_S = 60.0  # as the tally's session: what comes oftener counts once there
KEEP_EVERY_S = 1.0
RETRY_S, RETRY_LIMIT_S = 1.0, 60.0


class Messenger(Protocol):
    """Courier, or a rehearsal."""

    def bring(self, reports: Sequence[Report]) -> list[str]: ...


@dataclass(frozen=True)
class Manner:
    """How to follow: where places are kept ("": nowhere), the age that is too old, bounds, and what Tail wants."""

    state_file: str = ""
    oldest_s: float = 3600.0
    addresses: int = 100_000
    v6_plen: int = 64
    from_start: bool = False
    grace_s: float = GRACE_S


class LogFollower:
    """All logs of one process. `turn` until asked to stop, then `close`; `signs` may be set anew between turns."""

    def __init__(self, paths: Sequence[Path], signs: Signs, messenger: Messenger, manner: Manner, log: Log) -> None:
        self.counts: Counter[str] = Counter()
        self.signs = signs
        self._messenger = messenger
        self._manner = manner
        self._log = log
        self._storms = Storms(manner.addresses)
        self._told: TTLCache[Report, bool] = TTLCache(manner.addresses, AGAIN_S, time.monotonic)
        # How far all is dealt with; files that are not read this time keep their places, while they are there.
        ours = set(map(str, paths))
        self._places = {name: at for name, at in self._kept().items() if name in ours or Path(name).exists()}
        self._tails = [Tail(path, self._places.get(str(path)), manner.from_start, manner.grace_s) for path in paths]
        self._waiting: list[Report] = []
        self._kept_s, self._known = time.monotonic(), set(self._places)
        self._retry_at, self._retry_s = 0.0, RETRY_S
        self._trouble: dict[str, str] = {}

    def turn(self) -> bool:
        """Read and report once; True if there may be more at once."""
        now_s = time.monotonic()
        is_more = self._advance(now_s)
        if now_s - self._kept_s >= KEEP_EVERY_S or self._places.keys() != self._known:
            self.keep()
        return is_more

    def keep(self) -> None:
        """Write down how far all files are dealt with."""
        path = self._manner.state_file
        if not path:
            return
        self._kept_s, self._known = time.monotonic(), set(self._places)
        try:
            places.write(path, self._places)
        except Unavailable as error:
            self._complain(path, str(error))
        else:
            self._recovered(path)

    def close(self) -> bool:
        """Keep places and let go; False if something was not brought, so that it will be read again."""
        self.keep()
        for tail in self._tails:
            tail.close()
        return not self._waiting

    def _advance(self, now_s: float) -> bool:
        """Bring what waits, then read on in all files; False at the first report that can't be brought."""
        if self._waiting and not self._brought(now_s):
            return False
        self._settle(self._tails)
        is_more = False
        for tail in self._tails:
            block = self._read(tail)
            is_more = is_more or bool(block)
            self.counts["lines"] += block.count(b"\n")
            self._waiting = self._reports(block)
            if self._waiting and not self._brought(now_s):
                return False
            self._settle([tail])
        return is_more

    def _settle(self, tails: Iterable[Tail]) -> None:
        """Take it that all that was read of some files is dealt with."""
        self._places |= {str(tail.path): tail.place for tail in tails if tail.place is not None}

    def _read(self, tail: Tail) -> bytes:
        lost = tail.lost
        try:
            if tail.begin():
                self._settle([tail])  # so that it goes on here, whatever happens before something is brought
            block = tail.read()
        except OSError as error:
            tail.close()
            self._complain(str(tail.path), error.strerror or str(error))
            return b""
        self._recovered(str(tail.path))
        if tail.lost > lost:
            self.counts["lost"] += tail.lost - lost
            self._log.emit("LOST", file=str(tail.path), why="a part was rotated away unread, or a line was too long")
        return block

    def _reports(self, block: bytes) -> list[Report]:
        """Return what the signs in a block say, each once."""
        now = time.time()
        clock = Clock(now, time.localtime(now).tm_gmtoff)
        found: dict[Report, None] = {}
        for sign, addr, line in self.signs.look(block):
            self.counts["signs"] += 1
            age = age_s(line, clock) or 0.0
            if age > self._manner.oldest_s:
                self.counts["too_old"] += 1
                continue
            if not self._storms.note(sign.name, addr, now - age, sign.times, sign.within_s):
                continue
            report = Report(sign.colour, listing_key(addr, self._manner.v6_plen), clean(sign.reason))
            if report not in self._told:
                found[report] = None
        return list(found)

    def _brought(self, now_s: float) -> bool:
        """Bring what waits; False if that must be tried again later."""
        if now_s < self._retry_at:
            return False
        try:
            answers = self._messenger.bring(self._waiting)
        except Unavailable as error:
            self._complain("listener", str(error))
            self._retry_at, self._retry_s = now_s + self._retry_s, min(self._retry_s * 2, RETRY_LIMIT_S)
            return False
        self._recovered("listener")
        self._retry_s = RETRY_S
        for report, answer in zip(self._waiting, answers, strict=True):
            self._told[report] = True
            self.counts["reported" if answer.startswith("ok") else "refused"] += 1
            if not answer.startswith("ok"):
                self._log.emit("REFUSED", src=report.key, colour=report.colour, why=answer)
        self._waiting = []
        return True

    def _complain(self, about: str, why: str) -> None:
        """Say what is wrong, once for as long as it stays so."""
        if self._trouble.get(about) != why:
            self._trouble[about] = why
            self._log.emit("TROUBLE", what="follow", where=about, why=why)

    def _recovered(self, about: str) -> None:
        """Say that it is well again, if it was not."""
        if self._trouble.pop(about, None) is not None:
            self._log.emit("RECOVERED", what="follow", where=about)

    def _kept(self) -> dict[str, Place]:
        """Read how far the files were read; StoreError if that is damaged: then we must not guess."""
        path = self._manner.state_file
        rows = places.read(path) if path else {}
        try:
            return {name: Place(*map(int, row)) for name, row in rows.items()}
        except (ValueError, TypeError) as error:
            raise places.damaged(path, error) from None
