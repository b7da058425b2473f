"""The report page's part of bench_web.py: 30 days of a list with so many changes, figures of each hour beside them.

`activity_first_ms`: /activity?days=30 by an application that has made none yet, `activity_cached_ms` by one that has,
both the median of nine. `activity_counted_per_s`: changes of the journal counted a second, which happens once a minute
for what came since (store/catchup.py), not when the page is asked for.
"""

import io
import random
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from bench.common import progress_line
from spamcannibal.activity.figures import Entry, Figures, Gauge, Hold, Holdings, Lists, rank
from spamcannibal.commands.explain import zone_kinds
from spamcannibal.events import EventLog
from spamcannibal.settings import Settings
from spamcannibal.settings.base import StoreSettings
from spamcannibal.store.activity import Activity
from spamcannibal.store.catchup import catch_up
from spamcannibal.store.stores import NewListing, Store
from spamcannibal.web.app import create_app
from spamcannibal.web.site import Site
from storekit import open_store

DAYS, DAY_S = 30, 86_400
SOURCES = ("blcheck:bl.example.org", "robot:alice", "gather:mx1", "gather:mx2", "admin:bob", "trap:old")


def measure_activity(folder: Path, changes: int, rounds: int = 9) -> dict[str, float]:
    """Make a database in `folder` and ask for its report."""
    settings = Settings(store=StoreSettings(path=str(folder / "activity")))
    with closing(open_store(folder / "activity", cache_bytes=256 << 20)) as store:
        now = time.time()
        fill_journal(store, changes, now)
        activity = Activity(store.env)
        fill_hours(activity, now)
        progress_line(f"counting {changes} changes")
        began = time.perf_counter()
        while catch_up(store, activity, now):
            pass
        counted_s = time.perf_counter() - began
        first, cached = [], []
        for turn in range(rounds):
            progress_line(f"report page, round {turn + 1} of {rounds}")
            for took in (first, cached):
                if took is first:
                    client = create_app(site_of(settings, store)).test_client()
                    client.get("/")  # modules and templates that every page needs
                took.append(ask(client))
    return {
        "activity_first_ms": median(first),
        "activity_cached_ms": median(cached),
        "activity_counted_per_s": changes / counted_s,
    }


def ask(client: object) -> float:
    began = time.perf_counter()
    answer = client.get(f"/activity?days={DAYS}")
    took_ms = (time.perf_counter() - began) * 1000
    if answer.status_code != 200 or answer.text.count("<svg") != 10:
        raise SystemExit(f"/activity: {answer.status_code}")
    return took_ms


def site_of(settings: Settings, store: Store) -> Site:
    log = EventLog(io.StringIO(), limit_per_s=0)
    return Site(settings, lambda: store, zone_kinds(settings), None, None, log)


def fill_journal(store: Store, changes: int, now: float) -> None:
    """List so many addresses over the days."""
    rng = random.Random(1)
    for at in range(0, changes, 1000):
        if at % 50_000 == 0:
            progress_line(f"listing {at} of {changes}")
        keys = [(0x0B000000 + number * 97).to_bytes(4, "big") for number in range(at, min(at + 1000, changes))]
        moment = now - DAYS * DAY_S * (1 - at / changes)
        store.list([NewListing(key, source=rng.choice(SOURCES)) for key in keys], moment)


def fill_hours(activity: Activity, now: float) -> None:
    """Write an entry for each hour: lists as long as they get."""
    rng = random.Random(2)
    for hour in range(DAYS * 24):
        moment = now - hour * 3600
        nets = {
            f"{rng.randrange(1, 220)}.{rng.randrange(256)}.{n & 255}.0/24": rng.randrange(1, 99) for n in range(300)
        }
        held = [some_hold(rng, moment) for _ in range(100)]
        counts = {
            name: rng.randrange(1, 10_000) for name in ("packets.held", "packets.passed", "bytes.in", "dns.NOERROR")
        }
        gauges = {name: Gauge(rng.randrange(6000), 60, 100) for name in ("sources", "connections")}
        lists = Lists({"networks": rank(nets), "ports": rank({"25": 90, "587": 9})}, held)
        activity.add(
            [Entry(moment, Figures({**counts, "dns.minutes": 60}, gauges), lists)], now, Holdings(gone=held[:10])
        )


def some_hold(rng: random.Random, moment: float) -> Hold:
    last_ms = int(moment * 1000)
    return Hold(rng.randbytes(4), last_ms - rng.randrange(10**8), last_ms, rng.randrange(1, 10_000), 25)
