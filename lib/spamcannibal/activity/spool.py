"""A minute's figures as a line of text, for a process that may not write to the database; who may, takes them over.

    {"at":1700000065123,"start":1700000040,"counts":{"dns.NOERROR":7},"ranks":{"zones":[{"bl.example.net":7},0]}}

`at` rises from line to line, whatever the clock does: whoever takes lines over remembers the last one's. It is the time
in ms, or one more than the line before it has. `start` is the minute's.
"""

from collections.abc import Iterable, Iterator

import msgspec

from spamcannibal.activity.figures import Figures, Lists, Ranking

LINE_BYTES = 64 << 10


class Line(msgspec.Struct, omit_defaults=True):
    at: int
    start: int
    counts: dict[str, int] = {}
    ranks: dict[str, Ranking] = {}

    @property
    def figures(self) -> Figures:
        return Figures(self.counts)

    @property
    def lists(self) -> Lists:
        return Lists(self.ranks)


_decode = msgspec.json.Decoder(Line).decode


def pack_line(line: Line) -> bytes:
    """Return a line with its end."""
    return msgspec.json.encode(line) + b"\n"


def read_lines(lines: Iterable[bytes], after: int) -> Iterator[Line]:
    """Yield the lines past `after`; what is no line, such as one cut short by a full disk, is left out."""
    for data in lines:
        try:
            line = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if line.at > after and line.start >= 0:
            after = line.at
            yield line
