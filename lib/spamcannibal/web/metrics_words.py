"""What /metrics of the web says: names and help of every metric, and what the web counts itself.

Names follow Prometheus's rules: base units, _total for counters. No address is ever a label.
"""

import threading
from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

PREFIX = "spamcannibal_"
HELP = {
    "build_info": "1, with the version as label.",
    "store_up": "1 if the database answers.",
    "records": "Records by store.",
    "listings": "Listings by address family.",
    "journal_seq": "Number of the newest change.",
    "journal_timestamp_seconds": "When the newest change was made.",
    "journal_lag_changes": "Changes that a consumer has not taken yet.",
    "bouncer_pulled_timestamp_seconds": "When a bouncer asked last; noted every few minutes.",
    "changes_total": "Changes of the list by action and by the kind of their source.",
    "remote_list_up": "1 if a remote list is asked, 0 if it is set aside.",
    "remote_list_checked_timestamp_seconds": "When a remote list was tested last.",
    "remote_list_hits_total": "Listings that a remote list or a rule caused.",
    "job_last_success_timestamp_seconds": "When a job came to its end last.",
    "tarpit_packets_total": "Packets by what the tarpit did with them.",
    "tarpit_bytes_total": "IP bytes of listed sources (in), and of our replies (out).",
    "tarpit_connections_total": "Connections that were taken to be held.",
    "tarpit_held_seconds_total": "How long connections were held, all together.",
    "tarpit_sources_total": "Sources whose holding began (new), and ended (gone).",
    "tarpit_sources": "Sources that are held.",
    "tarpit_connections": "Connections that are held.",
    "removal_requests": "Requests to get off the list, by state; queued ones wait for the operator.",
    "web_requests_total": "Requests by part of the pages and status; of the process that answers.",
    "web_request_seconds": "How long requests took until their answer began; of the process that answers.",
    "web_waiting": "Streams and requests that wait for changes.",
}
BUCKETS_S = (0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
KINDS_LIMIT = 40


class Requests:
    """Requests of this process by part and status, and how long they took."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self._spans: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, part: str, status: int, took_s: float) -> None:
        """Count one; part and status are of our own choosing, so there are few."""
        with self._lock:
            self.counts[part, status] += 1
            self._spans.setdefault(part, [0] * (len(BUCKETS_S) + 1))[bisect_left(BUCKETS_S, took_s)] += 1
            self._sums[part] = self._sums.get(part, 0.0) + took_s

    def totals(self) -> list[tuple[tuple[str, int], int]]:
        with self._lock:
            return sorted(self.counts.items())

    def spans(self) -> "list[Spans]":
        """Return the histogram of each part."""
        with self._lock:
            return [Spans(part, tuple(counts), self._sums[part]) for part, counts in sorted(self._spans.items())]


class Spans(NamedTuple):
    """How many took how long, by bucket (the last one is what took longer), and all together."""

    part: str
    counts: tuple[int, ...]
    total_s: float

    def buckets(self) -> list[tuple[str, int]]:
        """Return (upper bound, how many took no longer)."""
        rows, sum_ = [], 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            sum_ += count
            rows.append((bound, sum_))
        return rows


def kind_of(source: str) -> str:
    """Return what stands before the colon of a change's source, for a label."""
    kind = source.partition(":")[0]
    return kind if kind.isascii() and kind.isalnum() and len(kind) <= 20 else "other"
