"""The activity report as a PDF, by matplotlib: drawings three a page, then the tables, as lines of fixed width."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from spamcannibal.activity.tables import Section, When, as_text, shown

A4_INCHES = (8.27, 11.69)
DRAWINGS = 3
LINES, WIDTH = 82, 112  # of a page in SIZE points
SIZE = 7.0
HATCHES = ("", "////", "....", "\\\\", "----")
DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), ":", "-.", (0, (1, 4)))
MARKS = "os^Dx"
GREYS = ("#1d5d9b", "#f3d9c2", "#d5e8d9", "#ffffff", "#e6dcf2")


def pdf(title: str, span: str, found: Sequence[Section], when: When) -> bytes:
    """Return the report as PDF."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.backends.backend_pdf import PdfPages

    stream = io.BytesIO()
    drawn = [section for section in found if section.draw and section.table.rows]
    with PdfPages(stream, metadata={"Title": title, "Creator": "SpamCannibal"}) as pages:
        for start in range(0, len(drawn), DRAWINGS):
            pages.savefig(_drawings(title, span, drawn[start : start + DRAWINGS], when))
        for lines in _sheets([section for section in found if not section.draw], when):
            pages.savefig(_sheet(lines))
    return stream.getvalue()


def _figure() -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=A4_INCHES)


def _drawings(title: str, span: str, some: Sequence[Section], when: When) -> Any:
    figure = _figure()
    figure.suptitle(f"{_plain(title)}\n{_plain(span)}", fontsize=9)
    for place, section in enumerate(some, 1):
        axes = figure.add_subplot(DRAWINGS, 1, place)
        _draw(axes, section, when)
    figure.subplots_adjust(left=0.12, right=0.96, top=0.92, bottom=0.06, hspace=0.45)
    return figure


def _draw(axes: Any, section: Section, when: When) -> None:
    """Draw a section; series differ by hatch, or by dash and mark."""
    columns, rows = section.table.columns, section.table.rows
    places = range(len(rows))
    below = [0.0] * len(rows)
    for number, column in enumerate(columns[1:], 1):
        series = number - 1
        if section.draw == "bars":
            heights = [float(row[number] or 0) for row in rows]
            look = {"color": GREYS[series], "hatch": HATCHES[series], "edgecolor": "black", "linewidth": 0.4}
            axes.bar(places, heights, bottom=below, label=column.name, **look)
            below = [one + more for one, more in zip(below, heights, strict=True)]
        else:
            cells = (row[number] for row in rows)
            values = [float("nan") if cell is None else float(cell) for cell in cells]
            axes.plot(
                places, values, ls=DASHES[series], marker=MARKS[series], ms=3, lw=1.1, color="black", label=column.name
            )
    axes.set_title(section.title, fontsize=9, loc="left")
    every = max(1, -(-len(rows) // 8))
    labels = [shown("time", row[0], when)[5:] for row in rows]
    axes.set_xticks(places[::every], labels[::every], fontsize=6)
    axes.yaxis.set_major_formatter(lambda value, _: shown(section.kind, value, when))
    axes.tick_params(axis="y", labelsize=6)
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.25, 1))  # room for the legend
    axes.legend(fontsize=6, loc="upper left", ncols=len(columns))


def _sheets(found: Sequence[Section], when: When) -> list[list[str]]:
    """Return the lines of each page: a section that fits is not torn apart."""
    sheets: list[list[str]] = [[]]
    for section in found:
        body = as_text(section.table, when) if section.table.rows else "Nothing was noted."
        note = [section.note] if section.note else []
        lines = [section.title.upper(), *note, *body.splitlines(), ""]
        if len(sheets[-1]) + len(lines) > LINES and len(lines) <= LINES:
            sheets.append([])
        for line in lines:
            if len(sheets[-1]) == LINES:
                sheets.append([])
            sheets[-1].append(_plain(line)[:WIDTH])
    return [sheet for sheet in sheets if sheet]


def _sheet(lines: Sequence[str]) -> Any:
    figure = _figure()
    figure.text(0.06, 0.97, "\n".join(lines), family="monospace", fontsize=SIZE, va="top", parse_math=False)
    return figure


def _plain(text: str) -> str:
    """Return text that the font has, and in which nothing is a formula."""
    return "".join(char if char.isascii() or char.isalpha() else "?" for char in text)
