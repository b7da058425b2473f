"""Messages out of files: .eml, mbox and Maildir folders, one at a time, whatever their number and size.

Of a message that is longer than the limit so much is kept as shows that it is. mbox is read as mboxrd: a message begins
with a "From " line at the start or after an empty line, and one ">" goes from lines that begin with ">From ".
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from spamcannibal.errors import ConfigError

LINE_BYTES = 65536
_ESCAPED = re.compile(rb">+From ")


class Message(NamedTuple):
    """One message and where it stood; `size` is what of the file was read for it."""

    name: str
    raw: bytes
    size: int


def size_of(path: Path) -> int:
    """Return the bytes that `messages` will read; ConfigError if the path is no file and no Maildir."""
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in _maildir(path))
        return path.stat().st_size
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def messages(path: Path, limit_bytes: int) -> Iterator[Message]:
    """Yield the messages of a file or Maildir; ConfigError if it can't be read."""
    try:
        if path.is_dir():
            for entry in _maildir(path):
                yield _file(Path(entry.path), limit_bytes)
            return
        with path.open("rb") as stream:
            if stream.peek(5)[:5] == b"From ":
                yield from _mbox(path, stream, limit_bytes)
                return
        yield _file(path, limit_bytes)
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None


def read_bounded(stream: BinaryIO, limit_bytes: int) -> bytes:
    """Return at most limit_bytes + 1 of a stream, and read the rest away so that its writer sees no broken pipe."""
    raw = stream.read(limit_bytes + 1)
    while stream.read(LINE_BYTES):
        pass
    return raw


def _maildir(path: Path) -> Iterator["os.DirEntry[str]"]:
    folders = [path / part for part in ("new", "cur")]
    if not all(folder.is_dir() for folder in folders):
        raise ConfigError(f"{path}: no Maildir, want the folders new and cur in it")
    for folder in folders:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith(".") and entry.is_file())


def _file(path: Path, limit_bytes: int) -> Message:
    with path.open("rb") as stream:
        raw = stream.read(limit_bytes + 1)
        return Message(str(path), raw, os.fstat(stream.fileno()).st_size)


def _mbox(path: Path, stream: BinaryIO, limit_bytes: int) -> Iterator[Message]:
    kept, size, number, is_start, is_whole = bytearray(), 0, 0, True, True
    while line := stream.readline(LINE_BYTES):
        if is_start and line.startswith(b"From ") and size:
            number += 1
            yield Message(f"{path}:{number}", bytes(kept), size)
            kept, size = bytearray(), 0
        size += len(line)
        if is_whole and _ESCAPED.match(line):
            line = line[1:]
        if len(kept) <= limit_bytes:
            kept += line
        is_whole = line.endswith(b"\n")
        is_start = line in (b"\n", b"\r\n")
    if size:
        yield Message(f"{path}:{number + 1}", bytes(kept), size)
