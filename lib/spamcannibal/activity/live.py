"""This moment as `spamcannibal top` shows it: two readings of what daemons tell, what changed lately. Pure."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from spamcannibal.activity.now import Now
from spamcannibal.addr import format_addr, format_key
from spamcannibal.record import Change

PACKETS = ("held", "dropped", "observed", "passed", "unseen")
When = Callable[[int], str | None]


class Reading(NamedTuple):
    """What was read at one moment; None where a daemon told nothing lately, or the store could not be read."""

    time_ms: int
    tarpit: Now | None
    dnsbl: Now | None
    changes: Sequence[Change] | None
    listings: int | None


def document(before: Reading, after: Reading, when: When) -> dict[str, Any]:
    """Return what is shown, as JSON: rates a second between the readings, null where they are not known."""
    return {
        "time": when(after.time_ms),
        "tarpit": _tarpit(before.tarpit, after.tarpit),
        "dns": _dns(before.dnsbl, after.dnsbl),
        "listings": after.listings,
        "sources": _sources(after, when),
        "changes": _changes(after, when),
    }


def rates(before: Now | None, after: Now) -> dict[str, float] | None:
    """Return how fast each count grew, a second; None if that can't be told: the same reading, or another process."""
    if before is None or before.since_ms != after.since_ms or before.time_ms >= after.time_ms:
        return None
    seconds = (after.time_ms - before.time_ms) / 1000
    return {name: (count - before.counts.get(name, 0)) / seconds for name, count in after.counts.items()}


def _tarpit(before: Now | None, after: Now | None) -> dict[str, Any] | None:
    if after is None:
        return None
    grown = rates(before, after)

    def rate(name: str) -> float | None:
        return None if grown is None else round(grown.get(name, 0.0), 1)

    return {
        "sources": after.gauges.get("sources", 0),
        "connections": after.gauges.get("connections", 0),
        "packets_per_s": {name: rate(f"packets.{name}") for name in PACKETS},
        "bytes_in_per_s": rate("bytes.in"),
        "bytes_out_per_s": rate("bytes.out"),
        "connections_new_per_s": rate("connections.new"),
    }


def _dns(before: Now | None, after: Now | None) -> dict[str, Any] | None:
    if after is None:
        return None
    grown = rates(before, after)
    names = sorted(name for name in after.counts if name.startswith("dns.") and not name.startswith("dns.type."))
    per_s = {name.removeprefix("dns."): None if grown is None else round(grown[name], 1) for name in names}
    known = [rate for rate in per_s.values() if rate is not None]
    return {"queries_per_s": None if grown is None else round(sum(known), 1), "outcomes_per_s": per_s}


def _sources(after: Reading, when: When) -> list[dict[str, Any]]:
    return [
        {
            "source": format_addr(hold.addr),
            "since": when(hold.first_ms),
            "held_s": round(max(0, after.time_ms - hold.first_ms) / 1000),
            "quiet_s": round(max(0, after.time_ms - hold.last_ms) / 1000),
            "packets": hold.packets,
            "port": hold.port or None,
        }
        for hold in (after.tarpit.holds if after.tarpit else ())
    ]


def _changes(after: Reading, when: When) -> list[dict[str, Any]] | None:
    if after.changes is None:
        return None
    return [
        {
            "seq": change.seq,
            "time": when(change.time_ms),
            "action": change.action.name.lower(),
            "key": format_key(change.key),
            "source": change.source,
            "text": change.text,
        }
        for change in after.changes
    ]
