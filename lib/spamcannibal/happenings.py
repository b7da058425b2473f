"""Gather the facts of the activity report from the store, the daemons' files and the databases that are there.

facts = gather(settings, store, days, now)
state(settings, store)          what they depend on: as long as it is the same, so are they
"""

from collections.abc import Callable
from functools import partial
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import Any

from spamcannibal.activity.facts import SHOWN, Facts
from spamcannibal.activity.figures import DAY, HOUR, LENGTH_S, MINUTE, Lists, add_lists, start_of
from spamcannibal.activity.now import FILE_LIMIT_BYTES, FILES, Now, read_now
from spamcannibal.activity.places import finder
from spamcannibal.activity.tables import Section, shown
from spamcannibal.errors import SpamCannibalError
from spamcannibal.inert import inert
from spamcannibal.jobs.location import Location
from spamcannibal.remote import statefile
from spamcannibal.rows import when
from spamcannibal.settings import Settings
from spamcannibal.store.activity import Activity, keep_of
from spamcannibal.store.catchup import catch_up
from spamcannibal.store.examine import hits
from spamcannibal.store.stores import Store

HOURLY_DAYS = 3  # a report of so many days is told by hour
FRESH_MS = 10_000
DAY_S = LENGTH_S[DAY]

State = tuple[int, int, float]


def state(settings: Settings, store: Store) -> State:
    """Return what changes whenever a report would: but for what goes on at this moment."""
    return Activity(store.env).place("version"), store.last_seq(), _mtime(Path(settings.remote.state_file))


def gather(settings: Settings, store: Store, days: int, now: float, until_s: int = 0) -> Facts:
    """Return the facts of the `days` days up to `until_s`, a midnight; usually up to now, today among them."""
    activity = Activity(store.env, keep_of(settings.activity))
    # Who may only read gets what others counted.
    left = store.last_seq() - activity.place("journal") if store.env.readonly else catch_up(store, activity, now)
    unit = HOUR if days <= HOURLY_DAYS else DAY
    until_s = until_s or start_of(unit, now) + LENGTH_S[unit]
    since_s = until_s - days * DAY_S
    spans = activity.figures(unit, since_s, until_s)
    hours = spans if unit == HOUR else activity.figures(HOUR, since_s, until_s)
    minutes = activity.figures(MINUTE, start_of(MINUTE, now) - LENGTH_S[MINUTE], start_of(MINUTE, now))
    return Facts(
        now_ms=int(now * 1000),
        unit=unit,
        since_s=since_s,
        until_s=until_s,
        spans=spans,
        hours=hours,
        lists=_lists(activity, unit, since_s, until_s),
        minute=minutes[0] if minutes else None,
        tarpit=read_fresh(store.env.path, "tarpit", now),
        gone=activity.gone(SHOWN),
        listings=store.counts()["tarpit"],
        remote=_remote(settings, store),
        country=countries(settings),
        hold_gap_ms=int(settings.activity.hold_gap_s * 1000),
        uncounted=left,
        inert=inert,
    )


def brief(time_ms: int) -> str | None:
    """Give a time as people read it: to the minute, without its zone, which is UTC."""
    text = when(time_ms)
    return text[:16].replace("T", " ") if text else None


def words(facts: Facts, found: list[Section]) -> dict[str, Any]:
    """Return what the templates of the report want, but for drawings and links."""
    since, until, made = (brief(ms) for ms in (facts.since_s * 1000, facts.until_s * 1000, facts.now_ms))
    return {"since": since, "until": until, "made": made, "sections": found, "shown": partial(shown, when=brief)}


def read_fresh(folder: Path, service: str, now: float) -> Now | None:
    """Return what a daemon told within the last seconds; None if it told nothing, or nothing readable."""
    try:
        with (folder / FILES[service]).open("rb") as stream:
            told = read_now(stream.read(FILE_LIMIT_BYTES))
    except (OSError, SpamCannibalError):
        return None
    return told if abs(now * 1000 - told.time_ms) <= FRESH_MS else None


def countries(settings: Settings) -> Callable[[bytes], str | None] | None:
    """Return who names the country of an address, None if the database of [jobs] country_db is not there."""
    try:
        files = [_mapped(Path(path)) for path in settings.jobs.country_db]
        return finder(*files) if len(files) > 1 else Location(files[0], settings.jobs.country_db[0]).find
    except (OSError, ValueError, SpamCannibalError):  # ValueError: an empty file
        return None


def _mapped(path: Path) -> mmap:
    with path.open("rb") as stream:
        return mmap(stream.fileno(), 0, prot=PROT_READ)


def _lists(activity: Activity, unit: int, since_s: int, until_s: int) -> Lists:
    if since_s % DAY_S == until_s % DAY_S == 0:
        unit = DAY
    return add_lists(lists for _, lists in activity.lists(unit, since_s, until_s))


def _remote(settings: Settings, store: Store) -> list[tuple[str, str, int | None]]:
    """Return (list, state, hits): those of the settings, and whatever else caused listings."""
    counts = hits(store)
    zones = dict(counts.zones) if counts else {}
    try:
        states = statefile.load(Path(settings.remote.state_file)).states
    except OSError:
        states = {}
    aside = {name.partition(" ")[0]: f"set aside: {each.why}" for name, each in states.items() if each.is_aside}
    tested = {name.partition(" ")[0] for name in states}
    rows: list[tuple[str, str, int | None]] = []
    for name in map(str.lower, settings.remote.lists):
        rows.append((name, aside.get(name, "well" if name in tested else "not tested"), zones.pop(name, 0)))
    rows.sort(key=lambda row: (-(row[2] or 0), row[0]))
    return [*rows, *((name, "not asked any more, or a rule of ours", count) for name, count in zones.items())]


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
