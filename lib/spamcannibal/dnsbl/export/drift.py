"""What a consumer holds against what it should hold: counts, and a bounded list of differences. Pure.

Both sides are items (name, value), in any order, that can be read again: beyond PART_ITEMS the comparison is made in
parts, each of the names with one hash, so that memory stays bounded at any size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

from spamcannibal.dnsbl.export.facts import Item

PART_ITEMS = 1_000_000
SHOWN = 100

Side = Callable[[], Iterable[Item]]


@dataclass
class Drift:
    """Counts of both sides and of what differs; `shown` has (missing | surplus | differs, name) of the first ones."""

    expected: int = 0
    held: int = 0
    missing: int = 0
    surplus: int = 0
    differs: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)
    limit: int = SHOWN

    def __bool__(self) -> bool:
        """Tell whether there is a difference."""
        return bool(self.missing or self.surplus or self.differs)

    def counts(self) -> dict[str, int]:
        """Return the counts by name, for a metric."""
        names = ("expected", "held", "missing", "surplus", "differs")
        return {name: getattr(self, name) for name in names}

    def note(self, kind: str, name: str) -> None:
        """Count a difference, and show it if there is room."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.shown) < self.limit:
            self.shown.append((kind, name))


def compare(expected: Side, held: Side, size: int, limit: int = SHOWN) -> Drift:
    """Return how `held` differs; `size` is about how many items are expected."""
    drift = Drift(limit=limit)
    parts = max(1, -(-size // PART_ITEMS))
    for part in range(parts):
        _compare_part(drift, expected, held, partial(_is_in, parts, part))
    return drift


def _is_in(parts: int, part: int, name: str) -> bool:
    return crc32(name.encode()) % parts == part


def _compare_part(drift: Drift, expected: Side, held: Side, is_in: Callable[[str], bool]) -> None:
    wanted = {name: value for name, value in expected() if is_in(name)}
    drift.expected += len(wanted)
    seen: set[str] = set()
    for name, value in held():
        if not is_in(name):
            continue
        drift.held += 1
        if name not in wanted or name in seen:
            drift.note("surplus", name)
        elif wanted[name] != value:
            drift.note("differs", name)
        seen.add(name)
    for name in wanted:
        if name not in seen:
            drift.note("missing", name)
