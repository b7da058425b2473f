"""The DNS server's counters -> counts of the activity report (activity/figures.py), and replies by zone. Pure."""

from collections import Counter
from collections.abc import Mapping

from spamcannibal.dnsbl.metrics import Told

FAST = {"refused": "dns.REFUSED", "formerr": "dns.FORMERR"}  # what the C loops answer outside our zones
NONE = {"limited": "dns.limited", "silent": "dns.silent", "udp_silent": "dns.silent", "tcp_silent": "dns.silent"}


def named_counts(
    told: Mapping[Told, int], events: Mapping[str, int], fast: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return counts by name, and replies by zone; those outside our zones have none."""
    counts: Counter[str] = Counter()
    zones: Counter[str] = Counter()
    for key, count in told.items():
        counts[f"dns.{key.rcode}"] += count
        counts[f"dns.type.{key.type or 'none'}"] += count
        if key.zone:
            zones[key.zone] += count
    for name, label in FAST.items():
        counts[label] += fast.get(name, 0)
        counts["dns.type.other"] += fast.get(name, 0)
    for name, label in NONE.items():
        counts[label] += events.get(name, 0) + fast.get(name, 0)
    return dict(+counts), dict(zones)
