"""How an export fares -> a file for Prometheus's node_exporter (its textfile collector). Pure.

| metric, spamcannibal_outlet_... | of | says |
|---|---|---|
| last_success_timestamp_seconds | --follow | when the consumer was last known to have all changes |
| serial | --follow | the journal record that it has |
| exports_total, failures_total | --follow | since the start |
| checked_timestamp_seconds | --check-drift | when the last check was made |
| expected_entries, held_entries | --check-drift | what the consumer should have, and has |
| drift_entries{kind="missing|surplus|differs"} | --check-drift | the differences |

`outlet` names the consumer: FORMAT:FILE, FORMAT:TABLE, ZONE@SERVER. Following and checking write different metrics, so
that each can have a file of its own; one metric of one outlet in two files would be an error to node_exporter.
"""

from collections import Counter
from collections.abc import Mapping

from spamcannibal.dnsbl.export.drift import Drift
from spamcannibal.dnsbl.metrics import family, labels

PREFIX = "spamcannibal_outlet_"
HELP = {
    "last_success_timestamp_seconds": "When the consumer was last known to have all changes of the list.",
    "serial": "Number of the journal record that the consumer has.",
    "exports_total": "Exports made.",
    "failures_total": "Exports that failed.",
    "checked_timestamp_seconds": "When the consumer was last compared with the list.",
    "expected_entries": "Entries that the consumer should have.",
    "held_entries": "Entries that the consumer has.",
    "drift_entries": "Entries that the consumer lacks, has too many, or has otherwise.",
}
_DRIFT = ("missing", "surplus", "differs")


def followed(outlet: str, success_s: float, seq: int, counts: Counter[str]) -> str:
    """Return the file of an export that is followed; times are seconds since the epoch, 0 is never."""
    return _text(
        outlet,
        {
            "last_success_timestamp_seconds": success_s,
            "serial": max(seq, 0),
            "exports_total": counts["exports"],
            "failures_total": counts["failures"],
        },
    )


def checked(outlet: str, drift: Drift, now: float) -> str:
    """Return the file of a check."""
    counts = drift.counts()
    figures = {
        "checked_timestamp_seconds": now,
        "expected_entries": counts["expected"],
        "held_entries": counts["held"],
    }
    kinds = ((labels({"outlet": outlet, "kind": kind}), counts[kind]) for kind in _DRIFT)
    name = "drift_entries"
    return _text(outlet, figures) + "".join(family(PREFIX + name, HELP[name], kinds))


def _text(outlet: str, figures: Mapping[str, float]) -> str:
    named = labels({"outlet": outlet})
    return "".join(
        line for name, value in figures.items() for line in family(PREFIX + name, HELP[name], [(named, value)])
    )
