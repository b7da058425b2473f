"""The activity report: what the store keeps, and what is known besides, as sections to show. Pure.

In: Facts. Out: sections in the order of reading, each a table, some of them with a drawing.
"""

from collections import Counter
from collections.abc import Iterator

from spamcannibal.activity.facts import REPLIES, SHOWN, VERDICTS, Facts
from spamcannibal.activity.figures import LENGTH_S, MINUTE, Figures, Hold, Ranking, add_figures, add_rankings
from spamcannibal.activity.spans import by_hour, drawn
from spamcannibal.activity.tables import Cell, Column, Section, Table
from spamcannibal.addr import format_addr, parse_key, split_key

NETWORKS = "Packets of held sources by /24 (IPv6: /48)."
PORTS = "Connection attempts of listed sources by our port."
RATES = {
    "packets a second of held sources": "packets.held",
    "packets a second that passed": "packets.passed",
    "bytes a second from listed sources": "bytes.in",
    "bytes a second of our replies": "bytes.out",
    "DNS replies a second": "",
}
VERDICT_WORDS = {
    "held": "held busy",
    "dropped": "of listed sources dropped",
    "observed": "of listed sources let pass by their mode",
    "passed": "of others, which passed",
    "unseen": "that passed unseen: the queue was too full",
}
HOLD_COLUMNS = (
    Column("held since", "time"),
    Column("last packet", "time"),
    Column("held for", "span"),
    Column("packets", "count"),
    Column("port", "text"),
)


def sections(facts: Facts) -> list[Section]:
    """Return the report."""
    total = add_figures(figures for _, figures in facts.spans)
    found = [
        _now(facts),
        _totals(facts, total),
        *drawn(facts),
        by_hour(facts),
        _longest(facts),
        _ranked(facts, "networks", "Networks", ("network", "packets"), NETWORKS),
        *_countries(facts),
        _ranked(facts, "ports", "Ports", ("port", "attempts"), PORTS),
        _gone(facts),
        _dns(total),
        _ranked(facts, "zones", "DNS replies by zone", ("zone", "replies")),
        _ranked(facts, "listed", "Listings by source", ("source", "listings"), facts.uncounted_words),
        _ranked(facts, "unlisted", "Removals by source", ("source", "removals"), facts.uncounted_words),
    ]
    return [*found, _remote(facts)]


def _now(facts: Facts) -> Section:
    """What stands now; the rates are those of the last full minute."""
    tarpit, rates = facts.tarpit, _rates(facts.minute[1]) if facts.minute else {}
    held = tarpit.gauges if tarpit else {}
    rows: list[tuple[Cell, ...]] = [
        ("addresses and networks listed", facts.listings),
        ("sources held", held.get("sources")),
        ("connections held by stutter", held.get("connections")),
        *((name, rates.get(name)) for name in RATES),
    ]
    note = "" if tarpit else "The tarpit tells nothing now: it does not run, or runs elsewhere."
    return Section("now", "Now", Table((Column("what"), Column("value", "decimal")), rows), note)


def _rates(minute: Figures) -> dict[str, float]:
    seconds = LENGTH_S[MINUTE]
    rates = {words: minute.counts.get(name, 0) / seconds for words, name in RATES.items()}
    rates["DNS replies a second"] = sum(minute.counts.get(name, 0) for name in REPLIES if name[4].isupper()) / seconds
    return rates


def _totals(facts: Facts, total: Figures) -> Section:
    count, gauge = total.counts.get, total.gauges.get
    sources, connections = gauge("sources"), gauge("connections")
    rows: list[tuple[Cell, ...]] = [
        *((f"packets {VERDICT_WORDS[name]}", count(f"packets.{name}", 0)) for name in VERDICTS),
        ("bytes from listed sources", count("bytes.in", 0)),
        ("bytes of our replies", count("bytes.out", 0)),
        ("holdings begun", count("sources.new", 0)),
        ("holdings ended", count("sources.gone", 0)),
        ("sources held at most", int(sources.most) if sources else None),
        ("connections held by stutter at most", int(connections.most) if connections else None),
        ("hours of connections held by stutter", count("connections.seconds", 0) // 3600),
        ("listings", count("list.list", 0)),
        ("removals", count("list.unlist", 0)),
    ]
    lost = count("lost.sources", 0) + count("lost.events", 0)
    note = f"{lost:,} notes of single sources or attempts were too many to be kept; the sums hold them." if lost else ""
    return Section("totals", "In all", Table((Column("what"), Column("value", "count")), rows), note)


def _longest(facts: Facts) -> Section:
    columns = (Column("source"), *_place(facts), *HOLD_COLUMNS)
    rows = [_hold_row(facts, hold) for hold in facts.lists.holds[:SHOWN]]
    return Section("longest", "Held longest", Table(columns, rows), _gap_words(facts))


def _hold_row(facts: Facts, hold: Hold) -> tuple[Cell, ...]:
    place = (_country(facts, hold.addr),) if facts.country else ()
    port = str(hold.port) if hold.port else None
    return (format_addr(hold.addr), *place, hold.first_ms, hold.last_ms, hold.length_ms, hold.packets, port)


def _gap_words(facts: Facts) -> str:
    minutes = facts.hold_gap_ms / 60_000
    return f"From a source's first packet to its last, without a pause of {minutes:g} minutes."


def _gone(facts: Facts) -> Section:
    """Who was held and got away, as far as can be known: nothing more was heard of it."""
    columns = (Column("source"), *_place(facts), *HOLD_COLUMNS)
    rows = [_hold_row(facts, hold) for hold in facts.gone[:SHOWN]]
    note = (
        "Held once, and silent since: it gave up, or is not listed any more. What a source did elsewhere, and what "
        "came while no tarpit ran, is not known."
    )
    return Section("escaped", "Escaped", Table(columns, rows), note)


def _place(facts: Facts) -> tuple[Column, ...]:
    return (Column("country"),) if facts.country else ()


def _country(facts: Facts, addr: bytes) -> str | None:
    return facts.country(addr) if facts.country else None


def _ranked(facts: Facts, name: str, title: str, columns: tuple[str, str], note: str = "") -> Section:
    """A ranking with shares; what it does not name is its last row."""
    ranking = facts.lists.ranks.get(name, Ranking())
    if name in ("listed", "unlisted"):
        ranking = add_rankings(Ranking({facts.source(key): count}) for key, count in ranking.rows.items())
    is_net = name == "networks" and facts.country is not None
    rows: list[tuple[Cell, ...]] = []
    for key, count in list(ranking.rows.items())[:SHOWN]:
        place = (_country(facts, split_key(parse_key(key))[0]),) if is_net else ()
        rows.append((facts.inert(key), *place, count, count / ranking.total))
    rest = ranking.total - sum(list(ranking.rows.values())[:SHOWN])
    if rest:
        rows.append(("all others", *((None,) if is_net else ()), rest, rest / ranking.total))
        note = f"{note} With so many, what is told of one is at least.".strip() if ranking.rest else note
    place_column = (Column("country"),) if is_net else ()
    table = Table((Column(columns[0]), *place_column, Column(columns[1], "count"), Column("share", "share")), rows)
    return Section(name, title, table, note)


def _countries(facts: Facts) -> Iterator[Section]:
    if facts.country is None:
        return
    ranking = facts.lists.ranks.get("networks", Ranking())
    found: Counter[str] = Counter()
    for net, count in ranking.rows.items():
        found[_country(facts, split_key(parse_key(net))[0]) or "unknown"] += count
    ordered = sorted(found.items(), key=lambda row: (-row[1], row[0]))
    rows: list[tuple[Cell, ...]] = [(name, count, count / ranking.total) for name, count in ordered[:SHOWN]]
    if ranking.rest:
        rows.append(("networks too small to be named", ranking.rest, ranking.rest / ranking.total))
    columns = (Column("country"), Column("packets", "count"), Column("share", "share"))
    yield Section("countries", "Countries", Table(columns, rows), "Packets of held sources, by the networks above.")


def _dns(total: Figures) -> Section:
    replies = [(words, total.counts.get(name, 0)) for name, words in REPLIES.items()]
    types = sorted(
        (name.removeprefix("dns.type."), count) for name, count in total.counts.items() if name.startswith("dns.type.")
    )
    rows: list[tuple[Cell, ...]] = [
        *((words, count) for words, count in replies),
        *((f"type {name}", count) for name, count in sorted(types, key=lambda row: -row[1])),
    ]
    return Section("dns", "DNS queries", Table((Column("what"), Column("queries", "count")), rows))


def _remote(facts: Facts) -> Section:
    rows: list[tuple[Cell, ...]] = [(facts.inert(name), facts.inert(how), count) for name, how, count in facts.remote]
    columns = (Column("list"), Column("state"), Column("listings caused", "count"))
    note = (
        "Other people's lists: whether their test entries answer as they should, and how often they caused a listing."
    )
    return Section("remote", "Remote lists", Table(columns, rows), note)
