"""Captures read by scapy, thousands of packets at a time: pcap and pcapng, either also gzipped, from files or a pipe.

    capture = Capture("mail.pcap.gz")
    for part in capture: ...     Part(link type, frames, times_ms)
    capture.damage               "" or what made it end before its end

Memory is bounded whatever the file holds: a part is PART_FRAMES frames of at most 64 KiB, a read at most READ_LIMIT. A
file that is cut or damaged gives what stands before; only one that is no capture at all is an error.
"""

import gzip
import logging
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from spamcannibal.errors import SpamCannibalError, WireError

PART_FRAMES = 4096
READ_LIMIT_BYTES = 16 << 20  # the longest block that pcapng writers make is far below
GZIP = b"\x1f\x8b"
LINK_MASK = 0xFFFF  # above it a pcap file may tell of checksums behind each frame
LINK_NAMES = {
    6: "IEEE 802.5", 9: "PPP", 51: "PPPoE", 105: "802.11", 127: "802.11 radiotap", 192: "PPI", 195: "802.15.4",
    220: "USB", 239: "NFLOG", 253: "netlink",
}  # fmt: skip


class Part(NamedTuple):
    """Frames of one link type, and when each was captured."""

    link: int
    frames: list[bytes]
    times_ms: list[int]


class Capture:
    """One capture; for one pass."""

    def __init__(self, path: str, progress: Callable[[int], None] = lambda count: None) -> None:
        """`-` is standard input; `progress` gets the bytes of each read, unpacked ones of a gzipped file."""
        self.path = path
        self.damage = ""
        self._progress = progress

    def __iter__(self) -> Iterator[Part]:
        """Yield the parts; WireError if it is no capture, SpamCannibalError if it can't be read."""
        with _opened(self.path) as file, _Warnings() as warnings:
            source = _Source(file, self._progress)
            reader = self._reader(source, warnings)
            yield from self._parts(reader, warnings)
            self.damage = warnings.last or source.fault()

    def _reader(self, source: "_Source", warnings: "_Warnings") -> Any:
        # Imported here, since it takes a quarter of a second.
        from scapy.error import Scapy_Exception
        from scapy.utils import RawPcapReader

        file: Any = source
        try:
            reader = RawPcapReader(file)
        except (Scapy_Exception, EOFError, OSError, ValueError) as error:
            if source.is_empty:
                raise WireError(f"{self.path}: empty, want a pcap or pcapng file") from None
            raise WireError(f"{self.path}: no pcap or pcapng file ({warnings.last or error})") from None
        warnings.last = ""
        return reader

    def _parts(self, reader: Any, warnings: "_Warnings") -> Iterator[Part]:
        """Group what scapy reads by link type and number."""
        link, frames, times = -1, list[bytes](), list[int]()
        time_ms = 0
        fixed = reader.linktype & LINK_MASK if hasattr(reader, "linktype") else None
        clock = _pcapng_ms if fixed is None else _nano_ms if reader.nano else _micro_ms
        for frame, meta in _frames(reader, warnings):
            its = meta.linktype & LINK_MASK if fixed is None else fixed
            if its != link or len(frames) == PART_FRAMES:
                if frames:
                    yield Part(link, frames, times)
                link, frames, times = its, [], []
            time_ms = clock(meta, time_ms)
            frames.append(frame)
            times.append(time_ms)
        if frames:
            yield Part(link, frames, times)


def link_name(link: int) -> str:
    """Name a link type that can't be read."""
    return f"{LINK_NAMES[link]} ({link})" if link in LINK_NAMES else str(link)


def _frames(reader: Any, warnings: "_Warnings") -> Iterator[tuple[bytes, Any]]:
    """Yield what the reader gives until it ends, however it ends; only what it warned of at the end is kept."""
    from scapy.error import Scapy_Exception

    of_frame = ""
    try:
        for found in reader:
            of_frame, warnings.last = warnings.last, ""
            yield found
    except (Scapy_Exception, ValueError, ArithmeticError, LookupError, MemoryError) as error:
        warnings.last = f"{type(error).__name__}: {error}"
    if not warnings.last and "truncated" in of_frame:
        warnings.last = of_frame


def _micro_ms(meta: Any, _before: int) -> int:
    return int(meta.sec * 1000 + meta.usec // 1000)


def _nano_ms(meta: Any, _before: int) -> int:
    return int(meta.sec * 1000 + meta.usec // 1_000_000)


def _pcapng_ms(meta: Any, before: int) -> int:
    """Give the time of a packet block; a simple one has none, so it is that of the one before it."""
    if meta.tshigh is None:
        return before
    return int(((meta.tshigh << 32 | meta.tslow) * 1000 // meta.tsresol) & (1 << 63) - 1)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a file, unpacked if it is gzipped; SpamCannibalError if it can't be read."""
    with ExitStack() as stack:
        try:
            raw: Any = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
            is_packed = raw.peek(2)[:2] == GZIP
        except OSError as error:
            raise SpamCannibalError(f"{path}: {error.strerror}") from None
        yield stack.enter_context(gzip.GzipFile(fileobj=raw)) if is_packed else raw


class _Source:
    """The bytes of a file for scapy, which asks for as many as the file tells it to: bounded here, and watched."""

    def __init__(self, file: Any, progress: Callable[[int], None]) -> None:
        self.is_empty = True
        self._file = file
        self._is_short = False
        self._refused = 0
        self._progress = progress

    def read(self, size: int) -> bytes:
        """Return so many bytes, or fewer at the end; OSError is scapy's to catch."""
        if size > READ_LIMIT_BYTES:
            self._refused = size
            raise OverflowError(f"a block of {size} bytes")
        try:
            found: bytes = self._file.read(size)
        except (EOFError, OSError, zlib.error) as error:  # EOFError: of a gzipped file that is cut
            self.is_empty = False
            raise OSError(str(error)) from None
        if found:
            self.is_empty = False
            self._progress(len(found))
        self._is_short = 0 < len(found) < size
        return found

    def fault(self) -> str:
        """Say what is wrong with how reading ended, "" if nothing is."""
        if self._refused:
            return f"a block of {self._refused} bytes, want at most {READ_LIMIT_BYTES}"
        if self._is_short:
            return "it ends in the middle of a record"
        try:
            return "a record makes no sense" if self._file.read(1) else ""
        except (OSError, EOFError, ValueError, zlib.error) as error:
            return str(error)


class _Warnings(logging.Handler):
    """What scapy says of a file instead of raising it, kept from the terminal: the last of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "TLS" not in text:  # keys in the file, of no use here
            self.last = text

    def __enter__(self) -> "_Warnings":
        from scapy.error import log_runtime

        log = self._log = log_runtime
        self._before = (log.handlers, log.filters, log.propagate, log.level)
        log.handlers, log.filters, log.propagate = [self], [], False  # its own filter leaves some out
        log.setLevel(logging.WARNING)
        return self

    def __exit__(self, *_: object) -> None:
        self._log.handlers, self._log.filters, self._log.propagate, level = self._before
        self._log.setLevel(level)
