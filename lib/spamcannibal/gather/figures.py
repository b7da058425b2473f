"""Counters and gauges of the gather listener -> the text of /metrics (Prometheus). Pure.

No address is ever a label.
"""

from collections.abc import Mapping

from spamcannibal.dnsbl.metrics import family, labels

PREFIX = "spamcannibal_gather_"
HELP = {
    "reporter_events_total": "Reports by reporter and colour, and those refused.",
    "events_total": "Questions, reports refused by why, decisions and what stood against them.",
    "connections_total": "Connections accepted, and how some of them ended.",
    "written_total": "Decisions by what became of them in the database.",
    "connections": "Connections open.",
    "waiting": "Decisions that wait to be written.",
    "addresses": "Addresses whose reports are remembered.",
    "forgotten_total": "Reports forgotten to make room, one for each reporter and address.",
    "listings": "Listings known for answers.",
    "lag_seconds": "Time since the journal was followed to its end.",
}


def exposition(
    by_reporter: Mapping[str, Mapping[str, int]],
    counters: Mapping[str, Mapping[str, int]],
    gauges: Mapping[str, float],
) -> str:
    """Return the text; `counters` are by metric and event, `gauges` by metric."""
    samples: dict[str, list[tuple[str, float]]] = {
        "reporter_events_total": [
            (labels({"reporter": name, "event": what}), count)
            for name, counts in sorted(by_reporter.items())
            for what, count in sorted(counts.items())
        ],
        **{
            name: [(labels({"event": what}), count) for what, count in sorted(counts.items())]
            for name, counts in counters.items()
        },
        **{name: [("", value)] for name, value in gauges.items()},
    }
    return "".join(line for name, found in samples.items() for line in family(PREFIX + name, HELP[name], found))
