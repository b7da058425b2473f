"""The part of the activity report that is told by spans of time, and drawn. Pure.

What a daemon did is known of the spans in which it noted anything, else unknown; of the list every change is known.
"""

from collections.abc import Callable, Iterator, Mapping

from spamcannibal.activity.facts import DRAWN_REPLIES, REPLIES, VERDICTS, Facts
from spamcannibal.activity.figures import HOUR, LENGTH_S, UNIT_NAMES, Figures, add_figures
from spamcannibal.activity.tables import Cell, Column, Kind, Section, Table

Known = Callable[[Figures | None], bool]


def by_tarpit(span: Figures | None) -> bool:
    """Tell whether a tarpit noted anything in a span."""
    return span is not None and "sources" in span.gauges


def by_dns(span: Figures | None) -> bool:
    return span is not None and "dns.minutes" in span.counts


def always(span: Figures | None) -> bool:
    return True


def drawn(facts: Facts) -> Iterator[Section]:
    """Yield what is told by span of time, and drawn."""
    note = "Of listed sources: held, dropped, let pass by mode; and of others."
    packets = _series(facts, by_tarpit, {name: f"packets.{name}" for name in VERDICTS[:4]})
    yield Section("packets", "Packets", packets, note, "bars")
    names = {"from listed sources": "bytes.in", "of our replies": "bytes.out"}
    yield Section("bandwidth", "Bytes", _series(facts, by_tarpit, names, "bytes"), "", "lines", "bytes")
    note = "Means, and the most at one time."
    yield Section("sources", "Sources and connections held", _gauges(facts), note, "lines")
    names = {REPLIES[name]: name for name in DRAWN_REPLIES}
    yield Section("queries", "DNS replies", _series(facts, by_dns, names), "", "bars")
    names = {"listings": "list.list", "removals": "list.unlist", "amendments": "list.amend"}
    yield Section("changes", "Changes of the list", _series(facts, always, names), facts.uncounted_words, "bars")


def by_hour(facts: Facts) -> Section:
    """Return the hours of the day, added up over all days."""
    hours: dict[int, list[Figures]] = {}
    for start, figures in facts.hours:
        hours.setdefault(start % LENGTH_S[3] // LENGTH_S[HOUR], []).append(figures)
    rows = [_hour_row(hour, add_figures(hours.get(hour, []))) for hour in range(24)]
    names = ("packets held", "packets passed", "DNS queries", "listings")
    columns = (Column("hour (UTC)"), *(Column(name, "count") for name in names))
    return Section("hours", "By hour of the day", Table(columns, rows))


def _hour_row(hour: int, figures: Figures) -> tuple[Cell, ...]:
    counts = figures.counts
    packets: tuple[Cell, ...] = (None, None)
    if by_tarpit(figures):
        packets = (counts.get("packets.held", 0), counts.get("packets.passed", 0))
    queries = sum(count for name, count in counts.items() if name in REPLIES) if by_dns(figures) else None
    return (f"{hour:02}:00", *packets, queries, counts.get("list.list", 0))


def _series(facts: Facts, is_known: Known, names: Mapping[str, str], kind: Kind = "count") -> Table:
    """Return counts by span."""
    columns = (Column(UNIT_NAMES[facts.unit], "time"), *(Column(words, kind) for words in names))
    spans = dict(facts.spans)
    rows: list[tuple[Cell, ...]] = []
    for start in _starts(facts):
        span = spans.get(start)
        counts = span.counts if span else {}
        rows.append((start * 1000, *(counts.get(name, 0) if is_known(span) else None for name in names.values())))
    return Table(columns, rows)


def _gauges(facts: Facts) -> Table:
    columns = (
        Column(UNIT_NAMES[facts.unit], "time"),
        Column("sources, mean", "decimal"),
        Column("sources, most", "count"),
        Column("connections, mean", "decimal"),
        Column("connections, most", "count"),
    )
    rows: list[tuple[Cell, ...]] = []
    spans = dict(facts.spans)
    for start in _starts(facts):
        gauges = spans[start].gauges if start in spans else {}
        row: list[Cell] = [start * 1000]
        for name in ("sources", "connections"):
            gauge = gauges.get(name)
            row += [round(gauge.mean, 2), int(gauge.most)] if gauge else [None, None]
        rows.append(tuple(row))
    return Table(columns, rows)


def _starts(facts: Facts) -> range:
    return range(facts.since_s, facts.until_s, LENGTH_S[facts.unit])
