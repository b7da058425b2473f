"""What the tarpit daemon makes of what the packet loops hand up: event lines, batches for the store, figures. Pure.

    loop.drain() -> (listed, unlisted, events)      sighting: (addr, count, first_ms, last_ms)
                                                    event: (time_ms, name, mode, src, sport, dst, dport)

| event of the core | line | fields | means |
|---|---|---|---|
| TRAP | TRAP | src dst mode | a SYN was answered |
| ARM | HOLD | src dst mode | handshake done, the timer feeds the connection |
| GREET | GREET | src dst mode | handshake done, the greeting was sent whole |
| DATA | DATA | src dst mode | the client talked, and its window is closed |
| RST, FIN | RELEASE | src dst mode how | the client gave up |
| SYNACK | SYNACK | src dst | an answer to a SYN that nobody here sent |
| OBSERVED | OBSERVE | src dst | listed, and let pass by its mode |
| DROPPED, OTHER | DROP | src dst mode | listed, and dropped in silence |
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from spamcannibal.record import EXCLUDED, SHADOW, Action, Change, Mode
from spamcannibal.settings import Settings
from spamcannibal.settings.tarpit import TarpitSettings


class QueueRow(NamedTuple):
    """A bound queue: its reader's netlink port, packets waiting, and lost for want of room there and at the reader."""

    port: int
    waiting: int
    dropped: int
    user_dropped: int


Sighting = tuple[bytes, int, int, int]
Event = tuple[int, str, str, bytes, int, bytes, int]

VERBS = {
    "TRAP": "TRAP",
    "ARM": "HOLD",
    "GREET": "GREET",
    "DATA": "DATA",
    "RST": "RELEASE",
    "FIN": "RELEASE",
    "SYNACK": "SYNACK",
    "OBSERVED": "OBSERVE",
    "DROPPED": "DROP",
    "OTHER": "DROP",
}

# What a running daemon can't change: it is settled when the store is opened and the queues are bound.
SETTLED = {
    "store": ("path", "cache_bytes"),
    "activity": ("minutes_days", "hours_days", "days", "hold_gap_s"),
    "tarpit": ("queues", "queue_length", "copy_bytes", "sightings", "user"),
}


def event_lines(events: Iterable[Event]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield verb and fields of each event once, however often its packet was repeated meanwhile."""
    seen = set()
    for _time_ms, name, mode, src, sport, dst, dport in events:
        what = (name, src, sport, dst, dport)
        if what in seen:
            continue
        seen.add(what)
        fields: dict[str, Any] = {"src": (src, sport), "dst": (dst, dport), "mode": mode}
        if VERBS[name] == "RELEASE":
            fields["how"] = name.lower()
        yield VERBS[name], fields


def merge_sightings(parts: Iterable[Sequence[Sighting]]) -> list[Sighting]:
    """Return one sighting for each address of several loops, in key order (the store's pages like that)."""
    merged: dict[bytes, Sighting] = {}
    for part in parts:
        for addr, count, first_ms, last_ms in part:
            _, had, first, last = merged.get(addr, (addr, 0, first_ms, last_ms))
            merged[addr] = (addr, had + count, min(first, first_ms), max(last, last_ms))
    return [merged[addr] for addr in sorted(merged)]


def keys_to_cut(changes: Iterable[Change], mode: str) -> Iterator[bytes]:
    """Yield the keys that just came under the tarpit, whose open connections may be cut; `mode` is the default mode."""
    for change in changes:
        observed = change.mode == Mode.OBSERVE or (change.mode == Mode.DEFAULT and mode == "observe")
        if change.action == Action.LIST and not change.flags & (EXCLUDED | SHADOW) and not observed:
            yield change.key


def merge_reload(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return the new settings as far as a running daemon can take them, and the keys that need a restart."""
    kept: list[str] = []
    for section, keys in SETTLED.items():
        before, after = getattr(old, section), getattr(new, section)
        changed = {key: getattr(before, key) for key in keys if getattr(before, key) != getattr(after, key)}
        kept += [f"{section}.{key}" for key in changed]
        new = msgspec.structs.replace(new, **{section: msgspec.structs.replace(after, **changed)})
    return new, tuple(kept)


def trap_settings(tarpit: TarpitSettings, host_name: str) -> dict[str, Any]:
    """Return what _core.Trap.configure takes of the settings."""
    return {
        "mode": tarpit.mode,
        "greeting_name": tarpit.greeting_name or host_name,
        "throttle_window": tarpit.throttle_window,
        "stutter_interval_s": tarpit.stutter_interval_s,
        "connections": tarpit.connections,
        "bandwidth_limit_bytes": tarpit.bandwidth_limit_bytes,
        "other_protocols": tarpit.other_protocols,
        "loopback": tarpit.loopback,
        "answer_synack": tarpit.answer_synack,
    }


def parse_queues(text: str) -> range:
    """Return the queue numbers of "0" or "0:3", as the settings have checked them."""
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1)


def parse_queue_table(text: str) -> dict[int, QueueRow]:
    """Read the bound queues by number from /proc/net/netfilter/nfnetlink_queue; other lines are left out.

    A line is: number, port, waiting, copy mode, copy range, dropped, dropped at the reader, last id, 1.
    """
    rows = [line.split() for line in text.splitlines()]
    whole = (list(map(int, row[:7])) for row in rows if len(row) >= 7 and all(map(str.isdigit, row[:7])))
    return {row[0]: QueueRow(row[1], row[2], row[5], row[6]) for row in whole}


def parse_queue_owners(text: str) -> dict[int, int]:
    """Read queue number -> netlink port from /proc/net/netfilter/nfnetlink_queue."""
    return {number: row.port for number, row in parse_queue_table(text).items()}


def has_capability(status: str, number: int) -> bool:
    """Tell from /proc/self/status whether a capability is in effect."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> number & 1)
    return False


def sum_counters(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up the counters of several loops."""
    total: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total


def growth(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Return by how much counters grew, those that did not left out."""
    grown = {name: number - before.get(name, 0) for name, number in now.items()}
    return {name: number for name, number in grown.items() if number}


def flatten(stats: Mapping[str, Any]) -> dict[str, int]:
    """Return the trap's figures without nesting: {"trapped": {"stutter": 1}} becomes {"trapped_stutter": 1}."""
    flat: dict[str, int] = {}
    for name, value in stats.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        flat.update({f"{name}_{part}".lower() if part else name: number for part, number in inner})
    return flat
