"""Follow one log file by blocks of whole lines, through rotation, truncation and stops; where it is can be kept.

    tail = Tail(path, Place(device, inode, offset) or None)
    block = tail.read()        whole lines, b"" if there is nothing new
    tail.place                 where to go on, once what was read has been dealt with

| what happens | then |
|---|---|
| the file is not there (yet) | nothing, until it is |
| renamed, another in its place (logrotate) | the old one is read for `grace_s` more: its writer has to be told yet |
| and then | the new one is read from its beginning |
| that while we did not run | the old one is looked for beside it by its inode; what was compressed meanwhile is lost |
| emptied (copytruncate) | from its beginning |
| and grown past our place since | the same: before a place stands the end of a line, or it is no place of this text |
| no place is known | from its last line's end, or its beginning if asked |
| a line longer than a block | is skipped |

A log repeats what peers say, so a line must never be read from its middle: it could say anything there.
"""

import os
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 1 << 20
GRACE_S = 5.0
ROUNDS = 64  # blocks of one line that is too long, passed over at once


class Place(NamedTuple):
    """A file, whatever its name is by now, and how far it was read."""

    device: int
    inode: int
    offset: int


class Tail:
    """One log; for one thread. `lost` counts the times that something may have been missed."""

    def __init__(
        self, path: Path, place: Place | None = None, from_start: bool = False, grace_s: float = GRACE_S
    ) -> None:
        self.path = path
        self.lost = 0
        self.place = place
        self._from_start = from_start
        self._grace_s = grace_s
        self._other_since = float("inf")  # when another file in its place was seen first
        self._file: BinaryIO | None = None
        self._skipped = 0  # bytes behind our place, of a line that is too long

    def begin(self) -> bool:
        """Open the file; True if it never was before, and its place is known now. OSError if it can't be read."""
        return self._file is None and self.place is None and self._open()

    def read(self) -> bytes:
        """Return the next whole lines, at most BLOCK_BYTES; OSError if the file can't be read."""
        for _ in range(ROUNDS):
            if self._file is None and not self._open():
                return b""
            assert self._file is not None
            self._check_place()
            block = self._file.read(BLOCK_BYTES)
            if not block and not self._is_another():
                return b""
            was_skipping = self._skipped
            lines = self._whole(block) if block else b""
            if lines or (block and not was_skipping and not self._skipped):
                return lines
        return b""

    def close(self) -> None:
        """Close the file; `place` stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _whole(self, block: bytes) -> bytes:
        """Return the whole lines of a block, and go back to behind them."""
        assert self._file is not None and self.place is not None
        end = block.rfind(b"\n") + 1
        start = block.find(b"\n") + 1 if self._skipped else 0
        if end:
            self.place = self.place._replace(offset=self.place.offset + self._skipped + end)
            self._skipped = 0
        elif self._skipped or len(block) == BLOCK_BYTES:
            self.lost += not self._skipped
            self._skipped += len(block)
        self._file.seek(self.place.offset + self._skipped)
        return block[start:end]

    def _check_place(self) -> None:
        """Go back to the beginning where our place is within a line: then this is another text than we read."""
        assert self._file is not None and self.place is not None
        if self.place.offset and os.pread(self._file.fileno(), 1, self.place.offset - 1) not in (b"\n", b""):
            self.lost += 1
            self._begin_anew()

    def _begin_anew(self) -> None:
        assert self._file is not None and self.place is not None
        self.place, self._skipped = self.place._replace(offset=0), 0
        self._file.seek(0)

    def _open(self) -> bool:
        """Open the file where we were; False if there is none."""
        old = self._old_one()
        try:
            file = (old or self.path).open("rb", buffering=0)
        except FileNotFoundError:
            return False
        there = os.fstat(file.fileno())
        if self.place is not None and (there.st_dev, there.st_ino) == self.place[:2]:
            offset = self.place.offset if self.place.offset <= there.st_size else 0
        elif self.place is not None:
            self.lost += 1
            offset = 0
        else:
            offset = 0 if self._from_start else _last_end(file.fileno(), there.st_size)
        # Whoever comes later than this file begins at its beginning.
        self._from_start = True
        self.place, self._skipped = Place(there.st_dev, there.st_ino, offset), 0
        file.seek(offset)
        self._file = file
        return True

    def _old_one(self) -> Path | None:
        """Find the file that was read last under another name, if it is not under its own."""
        if self.place is None:
            return None
        for path in (self.path, *sorted(self.path.parent.glob(f"{self.path.name}?*"))):
            try:
                there = path.stat()
            except OSError:
                continue
            if (there.st_dev, there.st_ino) == self.place[:2]:
                return path
        return None

    def _is_another(self) -> bool:
        """At the end of the file: turn to its beginning if it was emptied, or to another that stands in its place."""
        assert self._file is not None and self.place is not None
        size = os.fstat(self._file.fileno()).st_size
        if size < self.place.offset + self._skipped:
            self._begin_anew()
            return size > 0
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        now = time.monotonic()
        if (there.st_dev, there.st_ino) == self.place[:2]:
            self._other_since = float("inf")
            return False
        self._other_since = min(self._other_since, now)
        if now - self._other_since < self._grace_s:
            return False
        self._other_since = float("inf")
        self.close()
        self.place = Place(there.st_dev, there.st_ino, 0)
        return True


def _last_end(file: int, size: int) -> int:
    """Return where the last whole line of a file ends: 0 if there is none within the last block."""
    start = max(0, size - BLOCK_BYTES)
    end = os.pread(file, size - start, start).rfind(b"\n") + 1
    return start + end if end else 0
