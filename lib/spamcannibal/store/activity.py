"""What happened, kept: figures by minute, hour and day, who is held, who was let go. activity/figures.py says of what.

All writes of a moment are one transaction, not durable: a machine that dies loses its last minutes of figures and
nothing else. activity_rows.py has the layout; the HELD_LIMIT longest holdings are kept that go on, and the GONE_LIMIT
newest that ended.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from spamcannibal.activity.figures import (
    DAY,
    HOUR,
    LENGTH_S,
    MINUTE,
    Entry,
    Figures,
    Hold,
    Holdings,
    Lists,
    add_figures,
    add_lists,
    start_of,
)
from spamcannibal.layout import pack_seq, unpack_seq
from spamcannibal.settings.activity import ActivitySettings
from spamcannibal.store.activity_rows import FIGURES, GONE, HELD, KINDS, LISTS, NAME, PLACE, pack, span_key, unpack
from spamcannibal.store.env import Env, Txn
from spamcannibal.store.stores import scan

HELD_LIMIT = GONE_LIMIT = 10_000
PRUNE_LIMIT = 100  # rows of a kind that go with one write
DAY_S = 86_400
HOUR_LISTS_S = 4 * DAY_S  # a report by hour tells of three days

T = TypeVar("T")


class Keep(NamedTuple):
    """For how many days rows of each unit are kept."""

    minutes: int = 2
    hours: int = 90
    days: int = 1825

    def since(self, unit: int, now: float) -> int:
        """Return when the oldest row of a unit begins."""
        return max(0, start_of(unit, now - DAY_S * {MINUTE: self.minutes, HOUR: self.hours, DAY: self.days}[unit]))


def keep_of(settings: ActivitySettings) -> Keep:
    """Return what the settings say about keeping."""
    return Keep(settings.minutes_days, settings.hours_days, settings.days)


class Activity:
    """The database of one store."""

    def __init__(self, env: Env, keep: Keep | None = None) -> None:
        self._env = env
        self._keep = keep or Keep()

    # Writing.

    def add(self, entries: Iterable[Entry], now: float, holdings: Holdings | None = None) -> None:
        """Add what happened."""
        every = list(entries)
        self._env.run(lambda txn: self._write(every, now, holdings or Holdings(), txn), durable=False)

    def take_over(self, name: str, span: tuple[int, int], entries: Sequence[Entry], now: float) -> bool:
        """Add notes past the first place of `span` and up to the second; False if somebody did so meanwhile."""

        def write(txn: Txn) -> bool:
            if self._place(name, txn) != span[0]:
                return False
            self._write(entries, now, Holdings(), txn)
            self._put_place(name, span[1], txn)
            return True

        return self._env.run(write, durable=False)

    def _write(self, entries: Sequence[Entry], now: float, holdings: Holdings, txn: Txn) -> None:
        for unit in (MINUTE, HOUR, DAY):
            since = self._keep.since(unit, now)
            starts: dict[int, list[Entry]] = {}
            for entry in entries:
                start = start_of(unit, min(entry.time_s, now))  # a clock that was ahead leaves nothing in the future
                if start >= since:
                    starts.setdefault(start, []).append(entry)
            for start, mine in starts.items():
                self._merge(FIGURES, unit, start, (add_figures, [entry.figures for entry in mine]), txn)
                if unit != MINUTE:
                    self._merge(LISTS, unit, start, (add_lists, [entry.lists for entry in mine]), txn)
            self._prune(span_key(FIGURES, unit, 0), span_key(FIGURES, unit, since), txn)
        self._prune(span_key(LISTS, HOUR, 0), span_key(LISTS, HOUR, max(0, start_of(HOUR, now - HOUR_LISTS_S))), txn)
        self._prune(span_key(LISTS, DAY, 0), span_key(LISTS, DAY, self._keep.since(DAY, now)), txn)
        self._write_holdings(holdings, txn)
        self._put_place("version", self._place("version", txn) + 1, txn)

    def _merge(self, kind: bytes, unit: int, start: int, how: tuple[Callable[..., Any], list[Any]], txn: Txn) -> None:
        """Add values to a row."""
        add, values = how
        key = span_key(kind, unit, start)
        raw = self._env.db(NAME).get(key, txn=txn)
        before = [] if raw is None else [unpack(KINDS[kind], raw)]
        self._env.db(NAME).put(key, pack(add([*before, *values])), txn)

    def _write_holdings(self, holdings: Holdings, txn: Txn) -> None:
        handle = self._env.db(NAME)
        for addr in holdings.dropped:
            if handle.exists(HELD + addr, txn=txn):
                handle.delete(HELD + addr, txn)
        for hold in holdings.held:
            handle.put(HELD + hold.addr, pack(hold), txn)
        if not holdings.gone:
            return
        count = self._place("gone", txn)
        for hold in holdings.gone:
            key = GONE + pack_seq(hold.last_ms) + hold.addr
            count += not handle.exists(key, txn=txn)
            handle.put(key, pack(hold), txn)
        for key, _ in scan(handle, GONE, max(0, count - GONE_LIMIT), txn):
            handle.delete(key, txn)
        self._put_place("gone", min(count, GONE_LIMIT), txn)

    def _prune(self, start: bytes, end: bytes, txn: Txn) -> None:
        """Delete some rows from start up to end."""
        handle = self._env.db(NAME)
        for key, _ in scan(handle, start, PRUNE_LIMIT, txn):
            if key >= end:
                break
            handle.delete(key, txn)

    def _put_place(self, name: str, place: int, txn: Txn) -> None:
        self._env.db(NAME).put(PLACE + name.encode(), pack_seq(place), txn)

    # Reading.

    def figures(self, unit: int, since_s: int, until_s: int) -> list[tuple[int, Figures]]:
        """Return (start, figures) of the spans that begin in [since, until) and in which anything was noted."""
        return self._spans(FIGURES, Figures, unit, (since_s, until_s))

    def lists(self, unit: int, since_s: int, until_s: int) -> list[tuple[int, Lists]]:
        """Return (start, lists) of hours or days likewise."""
        return self._spans(LISTS, Lists, unit, (since_s, until_s))

    def held(self) -> list[Hold]:
        """Return who was held when it was written last, the longest first."""
        holds = [unpack(Hold, data) for _, data in self._rows(HELD, GONE, HELD_LIMIT)]
        return sorted(holds, key=lambda hold: (-hold.length_ms, hold.addr))

    def gone(self, limit: int) -> list[Hold]:
        """Return who was let go, the newest first."""
        rows = self._rows(GONE, PLACE, GONE_LIMIT)
        return [unpack(Hold, data) for _, data in rows[::-1][:limit]]

    def place(self, name: str) -> int:
        """Return how far notes of a name were taken over."""
        return self._read(lambda: self._place(name), 0)

    def _place(self, name: str, txn: Txn = None) -> int:
        raw = self._env.db(NAME).get(PLACE + name.encode(), txn=txn)
        return unpack_seq(raw) if raw else 0

    def _spans(self, kind: bytes, of: type[T], unit: int, span: tuple[int, int]) -> list[tuple[int, T]]:
        since_s, until_s = span
        most = max(0, until_s - since_s) // LENGTH_S[unit] + 1
        rows = self._rows(span_key(kind, unit, max(0, since_s)), span_key(kind, unit, max(0, until_s)), most)
        return [(unpack_seq(key[2:]), unpack(of, data)) for key, data in rows]

    def _rows(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = self._read(lambda: scan(self._env.db(NAME), start, limit), [])
        return [(key, data) for key, data in rows if key < end]

    def _read(self, look: Callable[[], T], otherwise: T) -> T:
        """Return what is there; a store that an earlier release made has nothing before it is opened for writing."""
        return self._env.read(lambda: look() if NAME in self._env.handles().dbs else otherwise)
