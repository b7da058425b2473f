"""Old log files as blocks of whole lines: plain, or packed by gzip, xz or bzip2; each for one pass, memory bounded."""

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spamcannibal.errors import SpamCannibalError

BLOCK_BYTES = 1 << 20
_PACKERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7": lzma.LZMAFile,
    b"BZ": bz2.BZ2File,
}


class LogFile:
    """One file; `-` is standard input. `damage` is what made it end before its end, "" if nothing did."""

    def __init__(self, path: str, progress: Callable[[int], None] = lambda count: None) -> None:
        self.path = path
        self.damage = ""
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks of whole lines; the last may lack its end. SpamCannibalError if it can't be read."""
        with ExitStack() as stack:
            try:
                raw: Any = sys.stdin.buffer if self.path == "-" else stack.enter_context(Path(self.path).open("rb"))
                pack = _PACKERS.get(raw.peek(2)[:2])
            except OSError as error:
                raise SpamCannibalError(f"{self.path}: {error.strerror}") from None
            yield from self._blocks(stack.enter_context(pack(raw)) if pack else raw)

    def _blocks(self, file: Any) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                data = file.read(BLOCK_BYTES)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                self.damage = str(error) or type(error).__name__
                data = b""
            self._progress(len(data))
            if not data:
                yield rest
                return
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
                rest = data[end:]
            elif len(rest) < BLOCK_BYTES:
                rest += data  # a longer line says nothing: it is dropped
            else:
                rest = b""


def by_age(paths: Sequence[str]) -> list[str]:
    """Return files, the oldest first, as their last writing says: a message may begin in one and end in the next."""

    def written(path: str) -> float:
        try:
            return Path(path).stat().st_mtime
        except OSError:
            return float("inf")  # `-`, or what opening it will complain of

    return sorted(dict.fromkeys(paths), key=written)
