"""Counters and gauges -> the text of /metrics (Prometheus exposition format 0.0.4); talkers -> the text of /top. Pure.

No address is ever a label: there are too many of them, and they are people's. /top names the few that ask most.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from spamcannibal.addr import format_addr

PREFIX = "spamcannibal_dnsbl_"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP = {
    "replies_total": "Replies by transport, zone, type, rcode; the fast path tells of our zones only.",
    "fast_total": "What the UDP fast path counted, by event.",
    "events_total": "What else happened: failures, silences, replies kept back or cut by the rate limit.",
    "lag_seconds": "Time since the journal was followed to its end.",
    "stale": "1 while the data is too old to answer from, or not there yet.",
    "serial": "Number of the journal record that was followed last.",
    "entries": "Listings shown.",
    "text_failures_total": "Texts that could not be read.",
    "tcp_connections": "TCP connections open.",
    "tcp_evicted_total": "TCP connections closed to make room.",
    "notify_unanswered": "Secondaries that did not answer the last NOTIFY yet.",
    "transfers_running": "Zone transfers under way.",
    "transfers_axfr_done_total": "Whole zones sent.",
    "transfers_axfr_failed_total": "Whole zones that were not sent to the end.",
    "transfers_ixfr_done_total": "Differences sent.",
    "transfers_ixfr_failed_total": "Differences that were not sent to the end.",
    "transfers_refused_total": "Transfers asked for by those who may not.",
    "transfers_busy_total": "Transfers put off because all are taken.",
    "transfers_tsig_refused_total": "Signed queries refused for their signature.",
}


class Told(NamedTuple):
    """What replies are counted by. `zone` is empty outside ours, `type` where no question could be read."""

    transport: str
    zone: str
    type: str
    rcode: str


def exposition(
    told: Mapping[Told, int], events: Mapping[str, int], fast: Mapping[str, int], figures: Mapping[str, float]
) -> str:
    """Return the text of /metrics."""
    samples = {
        "replies_total": ((labels(key._asdict()), count) for key, count in sorted(told.items())),
        "events_total": ((labels({"event": name}), count) for name, count in sorted(events.items())),
        "fast_total": ((labels({"event": name}), count) for name, count in sorted(fast.items())),
        **{name: (("", value),) for name, value in figures.items()},
    }
    return "".join(
        line for name, found in samples.items() for line in family(PREFIX + name, _HELP.get(name, name), found)
    )


def top(talkers: Iterable[tuple[bytes, int, int, int]]) -> str:
    """Return the JSON of who asks most: queries at most `error` too high, and how many replies were limited."""
    rows = [
        {"address": _network(addr), "queries": count, "error": error, "limited": limited}
        for addr, count, error, limited in talkers
    ]
    return json.dumps(rows)


def family(name: str, about: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Yield the lines of one metric; samples are (labels, value)."""
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP {name} {about}\n# TYPE {name} {kind}\n"
    for words, value in samples:
        yield f"{name}{words} {float(value):.15g}\n"


def labels(pairs: Mapping[str, str]) -> str:
    """Return labels as they stand behind a metric's name."""
    words = (f'{key}="{value.translate(_ESCAPES)}"' for key, value in pairs.items())
    return "{" + ",".join(words) + "}"


def _network(addr: bytes) -> str:
    return format_addr(addr) + ("/64" if len(addr) == 16 else "")
