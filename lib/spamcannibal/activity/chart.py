"""A section's drawing as SVG: bars on one another, or lines. Pure.

Readable without colour, in dark and light: bars differ by their hatch, lines by dash and mark, everything is drawn in
`currentColor`, and colours are classes (s0, s1, ...) for a style sheet to fill in. Presentation attributes only, so the
strictest content policy lets it through. Title and description are for who does not see it, and name the extremes.

Own code, over matplotlib and pygal: these write style attributes or sheets of their own into the drawing, which such a
policy forbids, fix the colours, and take 0.4 s and more to import.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as Tree

from spamcannibal.activity.tables import Cell, Column, Section, When, shown

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 74, 708, 12, 206
LEGEND_Y = 246
LABELS = 6  # times along the axis
STEPS = 4
MARKS_LIMIT = 62  # points of a line that get a mark each
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 6")
MARKS = ("circle", "square", "triangle", "diamond", "cross")


def draw(section: Section, when: When) -> str:
    """Return the drawing of a section that has one."""
    columns, rows = section.table.columns, section.table.rows
    svg = Tree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "class": "chart",
            "role": "img",
            "aria-labelledby": f"{section.name}-title {section.name}-desc",
            "font-size": "12",
            "fill": "currentColor",
        },
    )
    _text(svg, "title", section.title, id=f"{section.name}-title")
    _text(svg, "desc", _description(section, when), id=f"{section.name}-desc")
    top = _top(section)
    _axes(svg, section, top, when)
    if section.draw == "bars":
        _bars(svg, section, top)
    else:
        for number in range(1, len(columns)):
            _line(svg, number - 1, [_number(row[number]) for row in rows], top)
    _legend(svg, section)
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


def _axes(svg: Tree.Element, section: Section, top: float, when: When) -> None:
    for step in range(STEPS + 1):
        y = BOTTOM - (BOTTOM - TOP) * step / STEPS
        line = {"x1": f"{LEFT}", "x2": f"{RIGHT}", "y1": f"{y:.1f}", "y2": f"{y:.1f}", "stroke": "currentColor"}
        Tree.SubElement(svg, "line", {**line, "stroke-opacity": "0.9" if step == 0 else "0.25"})
        label = shown(section.kind, top * step / STEPS, when)
        _text(svg, "text", label, x=f"{LEFT - 6}", y=f"{y + 4:.1f}", **{"text-anchor": "end"})
    rows = section.table.rows
    every = max(1, -(-len(rows) // LABELS))
    for number in range(0, len(rows), every):
        x = _middle(number, len(rows))
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


def _slot(count: int) -> float:
    return (RIGHT - LEFT) / max(1, count)


def _middle(number: int, count: int) -> float:
    return LEFT + _slot(count) * (number + 0.5)


def _bars(svg: Tree.Element, section: Section, top: float) -> None:
    rows = section.table.rows
    _hatches(svg, section)
    width = max(0.8, _slot(len(rows)) * 0.8)
    for series in range(len(section.table.columns) - 1):
        group = Tree.SubElement(svg, "g", {"class": f"s{series}", "stroke": "currentColor", "stroke-width": "0.6"})
        path = []
        for number, row in enumerate(rows):
            cells = [_number(cell) or 0.0 for cell in row[1:]]
            if not cells[series]:
                continue
            bottom = BOTTOM - (BOTTOM - TOP) * sum(cells[:series]) / top
            height = (BOTTOM - TOP) * cells[series] / top
            x = _middle(number, len(rows)) - width / 2
            path.append(f"M{x:.1f} {bottom:.1f}v{-height:.2f}h{width:.1f}v{height:.2f}z")
        Tree.SubElement(group, "path", {"d": "".join(path), "fill": _fill(section, series)})


def _fill(section: Section, series: int) -> str:
    return "currentColor" if series == 0 else f"url(#{section.name}-h{series})"


def _hatches(svg: Tree.Element, section: Section) -> None:
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
        size = {"width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
        pattern = Tree.SubElement(defs, "pattern", {"id": f"{section.name}-h{series}", **size, "class": f"s{series}"})
        Tree.SubElement(pattern, name, {**shape, "fill": "none" if name == "path" else "currentColor"})


def _line(svg: Tree.Element, series: int, values: Sequence[float | None], top: float) -> None:
    """Draw a line, broken where nothing is known."""
    group = Tree.SubElement(svg, "g", {"class": f"s{series}"})
    path, marks, is_open = [], [], False
    for number, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        x, y = _middle(number, len(values)), BOTTOM - (BOTTOM - TOP) * value / top
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


def _legend(svg: Tree.Element, section: Section) -> None:
    columns = section.table.columns[1:]
    width = (RIGHT - LEFT) / max(1, len(columns))
    for series, column in enumerate(columns):
        x = LEFT + width * series
        group = Tree.SubElement(svg, "g", {"class": f"s{series}"})
        if section.draw == "bars":
            box = {"x": f"{x:.1f}", "y": f"{LEGEND_Y - 10}", "width": "16", "height": "11", "stroke": "currentColor"}
            Tree.SubElement(group, "rect", {**box, "fill": _fill(section, series)})
        else:
            _stroke(group, series, f"M{x:.1f} {LEGEND_Y - 4}h20")
            _mark(group, series, x + 10, LEGEND_Y - 4)
        _text(svg, "text", column.name, x=f"{x + 25:.1f}", y=f"{LEGEND_Y}")


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
