"""The figures of /metrics, from the store and the daemons' files: (name, labels, value).

Changes are counted where everybody finds them, in the drawer `counted`: whoever is asked takes in what nobody counted
yet. The tarpit's counters are the sums of its days; those that are over don't change, and are added up once.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from spamcannibal.activity.figures import DAY, LENGTH_S, Figures, add_figures, start_of
from spamcannibal.activity.now import FILE_LIMIT_BYTES, FILES, Now, read_now
from spamcannibal.errors import WireError
from spamcannibal.remote.health import Memory
from spamcannibal.settings import Settings
from spamcannibal.store.activity import Activity
from spamcannibal.store.alone import last_run_s
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.examine import hits
from spamcannibal.store.removals import Removals
from spamcannibal.store.stores import Store
from spamcannibal.web.api_info import memory
from spamcannibal.web.bouncer_feed import LIMIT as BOUNCERS_LIMIT
from spamcannibal.web.bouncer_feed import drawer as bouncers
from spamcannibal.web.metrics_words import KINDS_LIMIT, kind_of
from spamcannibal.web.tokens import Tokens

JOBS = ("blcheck", "blpreen", "cleanup")
STORES = ("tarpit", "archive", "blcontrib", "evidence")
PAGE_LIMIT = 1000
CHANGES_LIMIT = 20_000  # a look: some tenth of a second
FRESH_MS = 10_000
YEARS_S = 40 * 366 * 86_400
_COUNTS = {  # a name of activity/figures.py -> metric, label, its value
    "packets.held": ("tarpit_packets_total", "verdict", "held"),
    "packets.dropped": ("tarpit_packets_total", "verdict", "dropped"),
    "packets.observed": ("tarpit_packets_total", "verdict", "observed"),
    "packets.passed": ("tarpit_packets_total", "verdict", "passed"),
    "packets.unseen": ("tarpit_packets_total", "verdict", "unseen"),
    "bytes.in": ("tarpit_bytes_total", "direction", "in"),
    "bytes.out": ("tarpit_bytes_total", "direction", "out"),
    "connections.new": ("tarpit_connections_total", "", ""),
    "connections.seconds": ("tarpit_held_seconds_total", "", ""),
    "sources.new": ("tarpit_sources_total", "event", "new"),
    "sources.gone": ("tarpit_sources_total", "event", "gone"),
}


class Fact(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


class Counted(msgspec.Struct, frozen=True):
    """Changes up to `seq` by "ACTION KIND"."""

    seq: int
    counts: dict[str, int] = {}


class Days:
    """The sum of all days; those that are over are kept."""

    def __init__(self) -> None:
        self._today_s = -1
        self._past = Figures()

    def total(self, activity: Activity, now: float) -> Figures:
        today_s = start_of(DAY, now)
        if self._today_s != today_s:
            past = activity.figures(DAY, max(0, today_s - YEARS_S), today_s)
            self._past, self._today_s = add_figures(figures for _, figures in past), today_s
        recent = activity.figures(DAY, today_s, today_s + LENGTH_S[DAY])
        return add_figures([self._past, *(figures for _, figures in recent)])


def facts(store: Store, settings: Settings, days: Days, now: float) -> Iterator[Fact]:
    """Yield all that the store and its directory tell."""
    activity = Activity(store.env)
    last = store.last_seq()
    yield from _records(store)
    yield Fact("journal_seq", {}, last)
    newest = store.change(last)
    yield Fact("journal_timestamp_seconds", {}, newest.time_ms / 1000 if newest else 0)
    yield Fact("journal_lag_changes", {"consumer": "activity"}, max(0, last - activity.place("journal")))
    yield from _bouncers(store, last, now)
    yield from _changes(store, now)
    yield from _remote(store, memory(Path(settings.remote.state_file)), settings)
    yield from _jobs(Path(store.env.path))
    yield from _tarpit(days.total(activity, now), _now(Path(store.env.path), now))
    states = Counter(request.state for _, request in Removals(store.env).all(now))
    yield from (Fact("removal_requests", {"state": state}, states[state]) for state in sorted({*states, "queued"}))


def _records(store: Store) -> Iterator[Fact]:
    counts = store.counts()
    yield from (Fact("records", {"store": name}, counts[name]) for name in STORES)
    yield Fact("listings", {"family": "ipv4"}, counts["tarpit_v4"])
    yield Fact("listings", {"family": "ipv6"}, counts["tarpit_v6"])


def _bouncers(store: Store, last: int, now: float) -> Iterator[Fact]:
    known = {name for name, _ in Tokens(store.env).all(now)}
    for name, pulled in bouncers(store.env).page("", BOUNCERS_LIMIT, now):
        if name not in known:
            continue
        yield Fact("journal_lag_changes", {"consumer": f"bouncer:{name}"}, max(0, last - pulled.seq))
        yield Fact("bouncer_pulled_timestamp_seconds", {"bouncer": name}, pulled.time_ms / 1000)


def _changes(store: Store, now: float) -> Iterator[Fact]:
    for word, count in sorted(count_changes(store, now).counts.items()):
        action, _, kind = word.partition(" ")
        yield Fact("changes_total", {"action": action, "kind": kind}, count)


def count_changes(store: Store, now: float, limit: int = CHANGES_LIMIT) -> Counted:
    """Take in changes that nobody counted yet, up to `limit`, and return all counts."""
    kept = Drawer(store.env, "counted", Counted, 1)
    found = kept.get("changes", now)
    last = store.last_seq()
    if found is None or found.seq > last:  # never counted, or the store is an older one now
        found = Counted(max(0, last - limit), found.counts if found else {})
    counts, seq = Counter(found.counts), found.seq
    while seq < found.seq + limit and (changes := store.read(seq, PAGE_LIMIT)):
        counts.update(f"{change.action.name.lower()} {kind_of(change.source)}" for change in changes)
        seq = changes[-1].seq
    if seq == found.seq:
        return found
    made, before = Counted(seq, _few(counts)), found.seq
    return kept.change("changes", lambda old: made if old is None or old.seq <= before else old, now) or made


def _few(counts: Counter[str]) -> dict[str, int]:
    """Return counts with the rarest kinds taken together, if there are too many."""
    kept = {word for word, _ in counts.most_common(KINDS_LIMIT)}
    few: Counter[str] = Counter()
    for word, count in counts.items():
        few[word if word in kept else f"{word.partition(' ')[0]} other"] += count
    return dict(few)


def _remote(store: Store, known: Memory, settings: Settings) -> Iterator[Fact]:
    wanted = set(map(str.lower, settings.remote.lists))
    for name, state in sorted(known.states.items()):
        zone, _, family = name.partition(" ")
        if zone.lower() in wanted:
            labels = {"list": zone, "family": family}
            yield Fact("remote_list_up", labels, 0 if state.is_aside else 1)
            yield Fact("remote_list_checked_timestamp_seconds", labels, state.checked)
    found = hits(store)
    for zone, count in sorted(found.zones.items()) if found else ():
        yield Fact("remote_list_hits_total", {"list": zone}, count)


def _jobs(path: Path) -> Iterator[Fact]:
    for job in JOBS:
        at_s = last_run_s(path, job)
        if at_s is not None:
            yield Fact("job_last_success_timestamp_seconds", {"job": job}, at_s)


def _tarpit(total: Figures, now: Now | None) -> Iterator[Fact]:
    for name, (metric, label, value) in _COUNTS.items():
        yield Fact(metric, {label: value} if label else {}, total.counts.get(name, 0))
    if now is not None:
        yield Fact("tarpit_sources", {}, now.gauges.get("sources", 0))
        yield Fact("tarpit_connections", {}, now.gauges.get("connections", 0))


def _now(path: Path, now: float) -> Now | None:
    """Return what the tarpit tells of this moment, None if it does not run."""
    try:
        with (path / FILES["tarpit"]).open("rb") as stream:
            told = read_now(stream.read(FILE_LIMIT_BYTES))
    except (OSError, WireError):
        return None
    return told if now * 1000 - told.time_ms <= FRESH_MS else None
