"""Counters and gauges -> the text of /metrics (Prometheus exposition format 0.0.4); talkers -> the text of /top. Pure.

No address is ever a label: there are too many of them, and they are people's. /top names the few that ask most.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from spamcannibal.addr import format_addr

PREFIX = "spamcannibal_dnsbl_"
_HELP = {
    "replies_total": "Replies by transport, zone, type, rcode; the fast path tells of our zones only.",
    "fast_total": "What the UDP fast path counted, by event.",
    "events_total": "What else happened: failures, silences, replies kept back or cut by the rate limit.",
    "lag_seconds": "Time since the journal was followed to its end.",
    "stale": "1 while the data is too old to answer from, or not there yet.",
    "serial": "Number of the journal record that was followed last.",
    "entries": "Listings shown.",
    "text_failures": "Texts that could not be read.",
    "tcp_connections": "TCP connections open.",
    "tcp_evicted": "TCP connections closed to make room.",
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
        "replies_total": ((_labels(key._asdict()), count) for key, count in sorted(told.items())),
        "events_total": ((_labels({"event": name}), count) for name, count in sorted(events.items())),
        "fast_total": ((_labels({"event": name}), count) for name, count in sorted(fast.items())),
        **{name: (("", value),) for name, value in figures.items()},
    }
    return "".join(line for name, family in samples.items() for line in _family(name, family))


def top(talkers: Iterable[tuple[bytes, int, int, int]]) -> str:
    """Return the JSON of who asks most: queries at most `error` too high, and how many replies were limited."""
    rows = [
        {"address": _network(addr), "queries": count, "error": error, "limited": limited}
        for addr, count, error, limited in talkers
    ]
    return json.dumps(rows)


def _family(name: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP {PREFIX}{name} {_HELP.get(name, name)}\n# TYPE {PREFIX}{name} {kind}\n"
    for labels, value in samples:
        yield f"{PREFIX}{name}{labels} {float(value):.15g}\n"


def _labels(labels: Mapping[str, str]) -> str:
    # Zone names come from settings that were checked; nothing in them needs escaping, but a backslash would.
    words = (f'{key}="{value.replace(chr(92), chr(92) * 2)}"' for key, value in labels.items())
    return "{" + ",".join(words) + "}"


def _network(addr: bytes) -> str:
    return format_addr(addr) + ("/64" if len(addr) == 16 else "")
