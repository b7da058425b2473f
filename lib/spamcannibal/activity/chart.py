"""A section's drawing as SVG: bars on one another, or lines. Pure.

WIDE is for desks and paper, NARROW for phones, where the other's words would be too small: a page has both, and shows
one. Readable without colour, in dark and light: bars differ by their hatch, lines by dash and mark, all is drawn in
`currentColor`, and colours are classes (s0, s1, ...) for a style sheet to fill in. Presentation attributes only, so the
strictest content policy lets it through. Title and description are for who does not see it, and name the extremes.

Own code, over matplotlib and pygal: these write style attributes or sheets of their own into the drawing, which such a
policy forbids, fix the colours, and take 0.4 s and more to import.
"""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as Tree

from spamcannibal.activity.tables import Cell, Column, Section, When, shown

TOP, BOTTOM = 12, 206
LEGEND_Y, LEGEND_LINE = 246, 20
STEPS = 4
TIME_WIDTH = 74  # of the longest, "11-24 10:00"
LONG_WORD = 16  # characters of a legend's word that may stand beside another one in a narrow drawing
MARKS_LIMIT = 62  # points of a line that get a mark each
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 6")
MARKS = ("circle", "square", "triangle", "diamond", "cross")


class Size(NamedTuple):
    """How wide a drawing is, where its axis stands and how many times along it; `mark` makes its ids its own."""

    mark: str
    width: int
    left: int
    labels: int

    @property
    def right(self) -> int:
        return self.width - 12


WIDE = Size("", 720, 74, 6)
NARROW = Size("-n", 340, 62, 3)


def draw(section: Section, when: When, size: Size = WIDE) -> str:
    """Return the drawing of a section that has one."""
    columns, rows = section.table.columns, section.table.rows
    across = _across(section, size)
    lines = -(-(len(columns) - 1) // across)
    name = f"{section.name}{size.mark}"
    svg = Tree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {size.width} {LEGEND_Y + 14 + LEGEND_LINE * (lines - 1)}",
            "class": "chart",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "font-size": "12",
            "fill": "currentColor",
        },
    )
    _text(svg, "title", section.title, id=f"{name}-title")
    _text(svg, "desc", _description(section, when), id=f"{name}-desc")
    top = _top(section)
    _axes(svg, section, top, when, size)
    if section.draw == "bars":
        _bars(svg, section, top, size)
    else:
        for number in range(1, len(columns)):
            _line(svg, number - 1, [_number(row[number]) for row in rows], top, size)
    _legend(svg, section, size, across)
    return Tree.tostring(svg, encoding="unicode")


def _number(cell: Cell) -> float | None:
    return None if cell is None or isinstance(cell, str) else float(cell)


def _top(section: Section) -> float:
    """Return where the vertical axis ends: a round number past everything."""
    rows = [[_number(cell) or 0.0 for cell in row[1:]] for row in section.table.rows]
    most = max((sum(row) if section.draw == "bars" else max(row, default=0.0) for row in rows), default=0.0)
    size = 1.0
    while size < most:
        for factor in (1, 2, 3, 4, 5, 6, 8):
            if size * factor >= most and size * factor % STEPS == 0:
                return size * factor
        size *= 10
    return max(size, float(STEPS))


def _axes(svg: Tree.Element, section: Section, top: float, when: When, size: Size) -> None:
    for step in range(STEPS + 1):
        y = BOTTOM - (BOTTOM - TOP) * step / STEPS
        line = {"x1": f"{size.left}", "x2": f"{size.right}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
        look = {"stroke": "currentColor", "stroke-opacity": "0.9" if step == 0 else "0.25"}
        Tree.SubElement(svg, "line", line | look)
        label = shown(section.kind, top * step / STEPS, when)
        _text(svg, "text", label, x=f"{size.left - 6}", y=f"{y + 4:.1f}", **{"text-anchor": "end"})
    rows = section.table.rows
    every = max(1, -(-len(rows) // size.labels))
    for number in range(0, len(rows), every):
        x = min(_middle(number, len(rows), size), size.width - TIME_WIDTH / 2)
        _text(
            svg,
            "text",
            _moment(section, rows[number][0], when),
            x=f"{x:.1f}",
            y=f"{BOTTOM + 18}",
            **{"text-anchor": "middle"},
        )


def _moment(section: Section, cell: Cell, when: When) -> str:
    """Return a time as short as the spans allow."""
    text = shown("time", cell, when)
    if section.table.columns[0].name == "day":
        return text[:10]
    return f"{text[5:10]} {text[11:16]}"


def _slot(count: int, size: Size) -> float:
    return (size.right - size.left) / max(1, count)


def _middle(number: int, count: int, size: Size) -> float:
    return size.left + _slot(count, size) * (number + 0.5)


def _bars(svg: Tree.Element, section: Section, top: float, size: Size) -> None:
    rows = section.table.rows
    _hatches(svg, section, size)
    width = max(0.8, _slot(len(rows), size) * 0.8)
    for series in range(len(section.table.columns) - 1):
        group = Tree.SubElement(svg, "g", {"class": f"s{series}", "stroke": "currentColor", "stroke-width": "0.6"})
        path = []
        for number, row in enumerate(rows):
            cells = [_number(cell) or 0.0 for cell in row[1:]]
            if not cells[series]:
                continue
            bottom = BOTTOM - (BOTTOM - TOP) * sum(cells[:series]) / top
            height = (BOTTOM - TOP) * cells[series] / top
            x = _middle(number, len(rows), size) - width / 2
            path.append(f"M{x:.1f} {bottom:.1f}v{-height:.2f}h{width:.1f}v{height:.2f}z")
        Tree.SubElement(group, "path", {"d": "".join(path), "fill": _fill(section, series, size)})


def _fill(section: Section, series: int, size: Size) -> str:
    return "currentColor" if series == 0 else f"url(#{section.name}{size.mark}-h{series})"


def _hatches(svg: Tree.Element, section: Section, size: Size) -> None:
    """Define what fills the bars: stripes up, dots, stripes down, nothing; the first is filled whole."""
    defs = Tree.SubElement(svg, "defs")
    shapes = {
        1: ("path", {"d": "M-1 1l2-2M0 6l6-6M5 7l2-2", "stroke": "currentColor", "stroke-width": "1.6"}),
        2: ("circle", {"cx": "3", "cy": "3", "r": "1.2"}),
        3: ("path", {"d": "M-1 5l2 2M0 0l6 6M5-1l2 2", "stroke": "currentColor", "stroke-width": "0.7"}),
        4: ("path", {"d": "M0 3h6", "stroke": "currentColor", "stroke-width": "0.7"}),
    }
    for series in range(1, len(section.table.columns) - 1):
        name, shape = shapes[(series - 1) % len(shapes) + 1]
        named = {"id": f"{section.name}{size.mark}-h{series}", "class": f"s{series}"}
        pattern = Tree.SubElement(
            defs, "pattern", {**named, "width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
        )
        Tree.SubElement(pattern, name, {**shape, "fill": "none" if name == "path" else "currentColor"})


def _line(svg: Tree.Element, series: int, values: Sequence[float | None], top: float, size: Size) -> None:
    """Draw a line, broken where nothing is known."""
    group = Tree.SubElement(svg, "g", {"class": f"s{series}"})
    path, marks, is_open = [], [], False
    for number, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        x, y = _middle(number, len(values), size), BOTTOM - (BOTTOM - TOP) * value / top
        path.append(f"{'L' if is_open else 'M'}{x:.1f} {y:.1f}")
        marks.append((x, y))
        is_open = True
    _stroke(group, series, "".join(path))
    every = max(1, -(-len(marks) // MARKS_LIMIT))
    for x, y in marks[::every]:
        _mark(group, series, x, y)


def _stroke(group: Tree.Element, series: int, path: str) -> None:
    style = {"d": path, "fill": "none", "stroke": "currentColor", "stroke-width": "1.8"}
    dash = DASHES[series % len(DASHES)]
    Tree.SubElement(group, "path", {**style, "stroke-dasharray": dash} if dash else style)


def _mark(group: Tree.Element, series: int, x: float, y: float) -> None:
    shape = MARKS[series % len(MARKS)]
    paths = {
        "square": "m-3 -3h6v6h-6z",
        "triangle": "m0 -4l4 7h-8z",
        "diamond": "m0 -4l4 4l-4 4l-4 -4z",
        "cross": "m-3 -3l6 6m0 -6l-6 6",
    }
    if shape == "circle":
        Tree.SubElement(group, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "2.6"})
        return
    style = {"stroke": "currentColor", "fill": "none"} if shape == "cross" else {}
    Tree.SubElement(group, "path", {"d": f"M{x:.1f} {y:.1f}{paths[shape]}", **style})


def _across(section: Section, size: Size) -> int:
    """Return how many words of the legend stand in a line."""
    names = [column.name for column in section.table.columns[1:]]
    if size is WIDE:
        return max(1, len(names))
    return 2 if max(map(len, names), default=0) <= LONG_WORD else 1


def _legend(svg: Tree.Element, section: Section, size: Size, across: int) -> None:
    left = size.left if size is WIDE else 12
    for series, column in enumerate(section.table.columns[1:]):
        line, place = divmod(series, across)
        x, y = left + (size.right - left) / across * place, LEGEND_Y + LEGEND_LINE * line
        group = Tree.SubElement(svg, "g", {"class": f"s{series}"})
        if section.draw == "bars":
            box = {"x": f"{x:.1f}", "y": f"{y - 10}", "width": "16", "height": "11", "stroke": "currentColor"}
            Tree.SubElement(group, "rect", {**box, "fill": _fill(section, series, size)})
        else:
            _stroke(group, series, f"M{x:.1f} {y - 4}h20")
            _mark(group, series, x + 10, y - 4)
        _text(svg, "text", column.name, x=f"{x + 25:.1f}", y=f"{y}")


def _description(section: Section, when: When) -> str:
    """Say in words what the drawing shows."""
    columns, rows = section.table.columns, section.table.rows
    if not rows:
        return "Nothing was noted."
    span = (
        f"{columns[0].name.capitalize()}s from {shown('time', rows[0][0], when)} to {shown('time', rows[-1][0], when)}."
    )
    return " ".join(
        [span, *(_extreme(column, number, section, when) for number, column in enumerate(columns) if number)]
    )


def _extreme(column: Column, number: int, section: Section, when: When) -> str:
    known = [(value, row[0]) for row in section.table.rows if (value := _number(row[number])) is not None]
    if not known:
        return f"{column.name}: nothing noted."
    most, moment = max(known, key=lambda item: item[0])
    return f"{column.name}: at most {shown(column.kind, most, when)}, {shown('time', moment, when)}."


def _text(parent: Tree.Element, tag: str, text: str, **attributes: str) -> None:
    Tree.SubElement(parent, tag, attributes).text = text
