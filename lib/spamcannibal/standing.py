"""How everything fares: services, counts, changes, queues, zones, jobs, remote lists; a document, and it as lines.

It judges nothing: doctor does. What can't be told is None. Another process may have the store: then it is None, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spamcannibal.rows import when

if TYPE_CHECKING:
    from spamcannibal.doctor.finding import Untold
    from spamcannibal.settings import Settings
    from spamcannibal.store.stores import Store

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
CHANGES_LIMIT = 10_000  # newest changes that are counted
ASK_S = 0.3
ZONES_SHOWN = 20
SOURCES_SHOWN = 8
JOBS = ("blcheck", "blpreen", "cleanup")


def standing(settings: Settings, config: Path, store: Store | None, now: float) -> dict[str, Any]:
    """Return what there is to tell; `config` is the settings file that our services run with."""
    from spamcannibal.doctor import host

    document: dict[str, Any] = {
        "time": when(int(now * 1000)),
        "services": _services(settings, config),
        "records": None,
        "changes": None,
        "shadow": None,
        "held": _known(host.held(settings)),
        "queues": _queues(settings),
        "zones": [],
        "jobs": {job: when(int(at * 1000)) if isinstance(at, float) else None for job, at in _jobs(settings).items()},
        "lists_aside": _aside(settings),
    }
    if store is not None:
        document |= {"records": store.counts(), "changes": _changes(store, now)}
        document["shadow"] = _shadow(store)
        document["zones"] = _zones(settings, store.last_seq())
    return document


def _known(fact: Any) -> Any:
    """Return a fact, None where it is untold."""
    from spamcannibal.doctor.finding import Untold

    return None if isinstance(fact, Untold) else fact


def _services(settings: Settings, config: Path) -> list[dict[str, Any]]:
    from spamcannibal.doctor import host

    running, unsure = host.services(config)
    found = {service.name: service for service in running}
    names = dict.fromkeys((*settings.services.enabled, *found))
    return [
        {
            "service": name,
            "running": True if name in found else None if name in unsure else False,
            "pid": found[name].pid if name in found else None,
            "since": when(int(found[name].since_s * 1000)) if name in found else None,
        }
        for name in names
    ]


def _changes(store: Store, now: float) -> dict[str, Any]:
    """Count the changes of the last hour and day by what stands before the colon in their source."""
    from spamcannibal.store.recent import changes_since

    now_ms = int(now * 1000)
    day: Counter[str] = Counter()
    hour: Counter[str] = Counter()
    for change in changes_since(store, now_ms - DAY_MS, CHANGES_LIMIT):
        name = change.source.partition(":")[0] or "-"
        day[name] += 1
        hour[name] += change.time_ms >= now_ms - HOUR_MS
    return {"hour": dict(+hour), "day": dict(day), "complete": day.total() < CHANGES_LIMIT}


def _shadow(store: Store) -> dict[str, Any]:
    """Tell how many listings on trial were seen at work, and until when logs of accepted mail were fed."""
    from spamcannibal.store.trials import count_seen, last_feed

    fed = last_feed(store)
    return {"seen": count_seen(store), "logs_until": when(fed.last_ms) if fed else None}


def _queues(settings: Settings) -> list[dict[str, Any]] | None:
    from spamcannibal.doctor import host

    rows = _known(host.queues())
    if rows is None:
        return None
    numbers = host.queue_numbers(settings)
    return [{"queue": number, **(rows[number]._asdict() if number in rows else {"port": None})} for number in numbers]


def _zones(settings: Settings, seq: int) -> list[dict[str, Any]]:
    """Ask the server at its first address, until it does not answer, how far each zone is behind."""
    if "dnsbl" not in settings.services.enabled:
        return []
    from spamcannibal.addr import reachable
    from spamcannibal.dnsbl.client import lag, over_network
    from spamcannibal.errors import SpamCannibalError

    exchange = over_network(*reachable(settings.dnsbl.listen[0]), ASK_S) if settings.dnsbl.listen else None
    rows: list[dict[str, Any]] = []
    for zone in settings.dnsbl.zone[:ZONES_SHOWN]:
        behind = None
        try:
            behind = lag(zone.name, seq, exchange) if exchange else None
        except SpamCannibalError:
            exchange = None
        rows.append({"zone": zone.name, "serial": None if behind is None else seq - behind, "behind": behind})
    return rows


def _jobs(settings: Settings) -> dict[str, float | Untold | None]:
    from spamcannibal.doctor import host

    return host.last_runs(settings, JOBS)


def remote_lists(settings: Settings) -> list[dict[str, Any]] | None:
    """Return the remote lists of the settings by family, as the last tests found them; None if nobody can tell."""
    from spamcannibal.remote import statefile

    try:
        states = statefile.load(Path(settings.remote.state_file)).states
    except OSError:
        return None
    known = {name.partition(" ")[0] for name in states}
    wanted = dict.fromkeys(map(str.lower, settings.remote.lists))
    rows: list[dict[str, Any]] = []
    for name, state in states.items():
        zone, _, family = name.partition(" ")
        if zone in wanted:
            why, checked = state.why if state.is_aside else "", when(int(state.checked * 1000))
            rows.append({"list": zone, "family": family, "why": why, "checked": checked})
    return rows + [{"list": zone, "family": "", "why": "", "checked": None} for zone in wanted if zone not in known]


def _aside(settings: Settings) -> list[dict[str, str]] | None:
    """Return the remote lists that were set aside, None if nobody can tell."""
    rows = remote_lists(settings)
    if rows is None:
        return None
    return [{"list": f"{row['list']} {row['family']}", "why": row["why"]} for row in rows if row["why"]]


def lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (what it is about, what there is to say)."""
    for row in document["services"]:
        since = f"running since {row['since']}, process {row['pid']}"
        how = since if row["running"] else "unknown" if row["running"] is None else "not running"
        yield "service", f"{row['service']}: {how}"
    records = document["records"]
    if records:
        yield "list", "{tarpit} listings ({tarpit_v4} IPv4, {tarpit_v6} IPv6), {archive} waiting".format(**records)
    else:
        yield "list", "unknown"
    yield from _change_lines(document["changes"])
    shadow = document["shadow"]
    if shadow and (shadow["seen"] or shadow["logs_until"]):
        yield "shadow", "{seen} listings on trial seen at work, logs until {logs_until}".format(**shadow)
    held = document["held"]
    yield "held", "unknown" if held is None else f"{held} connections, by stutter"
    for row in document["queues"] or []:
        told = "nobody reads it" if row["port"] is None else "{waiting} waiting, {dropped} dropped".format(**row)
        yield "queue", f"{row['queue']}: {told}"
    if document["queues"] is None:
        yield "queue", "unknown"
    for row in document["zones"]:
        behind = row["behind"]
        yield "zone", f"{row['zone']}: " + ("unknown" if behind is None else f"serial {row['serial']}, {behind} behind")
    yield "jobs", ", ".join(f"{job} {at or 'never'}" for job, at in document["jobs"].items())
    if document["lists_aside"] is None:
        yield "aside", "unknown"
    for row in document["lists_aside"] or []:
        yield "aside", f"{row['list']}: {row['why']}"


def _change_lines(changes: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if changes is None:
        yield "changes", "unknown"
        return
    for name, span in (("hour", "last hour"), ("day", "last day")):
        counts = Counter(changes[name])
        by = ", ".join(f"{source} {count}" for source, count in counts.most_common(SOURCES_SHOWN))
        least = "" if changes["complete"] else "at least "
        yield "changes", f"{span}: {least}{counts.total()}{f' ({by})' if by else ''}"
