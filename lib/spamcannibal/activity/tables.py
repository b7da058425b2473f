"""Tables of typed cells, and what is drawn of them: one form for pages, files, mails, CSV and JSON.

| kind of a column | a cell is |
|---|---|
| text | str |
| count, bytes, decimal | a number |
| time | ms since the epoch |
| span | ms |
| share | 0 to 1 |

None is unknown. What a cell looks like is said by `shown` and, where times are concerned, by whoever shows it.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Cell = str | int | float | None
Kind = Literal["text", "count", "bytes", "decimal", "time", "span", "share"]
When = Callable[[int], str | None]

NUMBERS = frozenset({"count", "bytes", "decimal", "span", "share"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute
_SCALE = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind = "text"

    @property
    def is_number(self) -> bool:
        return self.kind in NUMBERS


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]


@dataclass(frozen=True)
class Section:
    """A table under a name and a title; `note` says what must be known to read it; `draw` is how it is drawn, if it is.

    Drawn are the columns past the first one, which is the time.
    """

    name: str
    title: str
    table: Table
    note: str = ""
    draw: Literal["", "bars", "lines"] = ""
    kind: Kind = field(default="count")


def shown(kind: Kind, cell: Cell, when: When) -> str:
    """Return a cell as people read it."""
    if cell is None:
        return "-"
    if kind == "time":
        return when(int(cell)) or "-"
    if isinstance(cell, str):
        return cell
    if kind == "span":
        return shown_span(cell)
    if kind == "bytes":
        return shown_bytes(cell)
    if kind == "share":
        return f"{cell * 100:.1f} %"
    return f"{cell:,.1f}" if kind == "decimal" and isinstance(cell, float) else f"{int(cell):,}"


def shown_span(span_ms: float) -> str:
    """Return a duration in its two largest units."""
    seconds = int(span_ms / 1000)
    for size, unit, small, rest in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small} {rest}"
    return f"{seconds} s"


def shown_bytes(count: float) -> str:
    """Return a number of bytes by powers of 1000."""
    for unit in _SCALE[:-1]:
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_SCALE[-1]}"


def as_csv(table: Table, when: When) -> str:
    """Return a table as CSV (RFC 4180): bare numbers, times as text; no text that a spreadsheet would compute."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        writer.writerow([_bare(column.kind, cell, when) for column, cell in _pairs(table, row)])
    return stream.getvalue()


def as_text(table: Table, when: When) -> str:
    """Return a table as aligned lines, for a terminal or a mail; text is to be inert already."""
    cells = [[column.name for column in table.columns]]
    cells += [[shown(column.kind, cell, when) for column, cell in _pairs(table, row)] for row in table.rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(table.columns))]
    lines = []
    for line in cells:
        padded = (
            text.rjust(width) if column.is_number else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def as_rows(table: Table, when: When) -> list[dict[str, Cell]]:
    """Return a table for JSON: an object a row, times as text."""
    names = [column.name.replace(" ", "_") for column in table.columns]
    kinds = [column.kind for column in table.columns]
    return [
        {name: when(int(cell)) if kind == "time" and cell is not None else cell for name, kind, cell in line}
        for line in (zip(names, kinds, row, strict=True) for row in table.rows)
    ]


def _pairs(table: Table, row: tuple[Cell, ...]) -> Iterator[tuple[Column, Cell]]:
    return zip(table.columns, row, strict=True)


def _bare(kind: Kind, cell: Cell, when: When) -> str:
    if cell is None:
        return ""
    if kind == "time":
        return when(int(cell)) or ""
    if isinstance(cell, str):
        text = cell.replace("\0", "")
        return f"'{text}" if text.startswith(_FORMULA) else text
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
