"""Logs of mail servers against the list: how much of the mail that they accepted it would have refused."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from spamcannibal.commands.against import Against, against, plain, size_of
from spamcannibal.commands.common import emit, printable, progress
from spamcannibal.commands.patterns import read_mails, read_signs
from spamcannibal.commands.picture import written
from spamcannibal.cost import DAY_MS, Cost, Toll
from spamcannibal.gather.logfiles import LogFile, by_age
from spamcannibal.gather.mails import Mails
from spamcannibal.gather.signs import Signs
from spamcannibal.gather.stamp import Clock, age_s
from spamcannibal.gather.storms import Storms
from spamcannibal.rows import when
from spamcannibal.settings import Settings

PARTIAL = 4
SENDERS_SHOWN = 5
AGAINST = ("black", "brown")  # colours of signs that speak against a client
ENTRY_COLUMNS = ("entry", "listed by", "shadow", "mails", "clients", "senders", "rejects", "last")
SOURCE_COLUMNS = ("listed by", "shadow", "entries", "mails", "clients", "rejects")


class Read(msgspec.Struct):
    """What reading came to."""

    files: int = 0
    undated: int = 0
    forgotten: int = 0
    damage: list[str] = []


def replay_mails(settings: Settings, files: Sequence[str], keep: bool, options: Mapping[str, Any]) -> int:
    """Do it, print it, and return the exit code."""
    if keep and (options["listings"] or options["at_ms"] is not None):
        raise click.UsageError("--keep is about the listings of now, so neither --listings nor --at goes with it")
    with against(settings, options["at_ms"], options["listings"]) as found:
        cost, read = _count(found, settings, files, options["ports"] or settings.firewall.ports)
        kept = keep and bool(cost.mails) and not read.damage
        if kept and found.store is not None:
            from spamcannibal.store.trial_rows import Feed
            from spamcannibal.store.trials import feed

            feed(found.store, Feed(int(time.time() * 1000), cost.first_ms, cost.last_ms, cost.mails), _fed(cost))
        entries = _entry_rows(cost, found, 0)
    told = {"read": msgspec.to_builtins(read), **_totals(cost), "kept": kept}
    sources = _source_rows(entries)
    limit = options["limit"] or None
    if options["picture"]:
        _draw(options["picture"], cost)
    if options["as_json"]:
        shown = [plain(row) for row in entries[:limit]]
        click.echo(json.dumps({**told, "sources": [plain(row) for row in sources], "entries": shown}, indent=2))
    else:
        _print(told, sources, entries[:limit])
    if keep and not kept:
        why = "a log is damaged" if read.damage else "no accepted mail was found"
        click.echo(f"not noted for the shadow listings: {why}; what was noted before stays", err=True)
    if read.damage or found.left:
        return PARTIAL
    return 1 if keep and not kept else 0


def _count(found: Against, settings: Settings, files: Sequence[str], ports: Sequence[int]) -> tuple[Cost, Read]:
    mails, signs = Mails(read_mails(settings)), Signs(read_signs(settings))
    cost, read, storms = Cost(found.tables), Read(), Storms(settings.follow.addresses)
    now = time.time()
    clock = Clock(now, float(time.localtime(now).tm_gmtoff))
    paths = by_age(files)
    with progress(size_of(paths), "reading logs") as step:
        for path in paths:
            log = LogFile(path, step)
            for block in log:
                for mail in mails.look(block):
                    age = age_s(mail.line, clock)
                    read.undated += age is None
                    if not mail.port or mail.port in ports:
                        cost.accepted(mail.addr, mail.sender, int((now - (age or 0.0)) * 1000))
                for sign, addr, line in signs.look(block):
                    at = now - (age_s(line, clock) or 0.0)
                    if sign.colour in AGAINST and storms.note(sign.name, addr, at, sign.times, sign.within_s):
                        cost.rejected(addr)
            read.files += 1
            if log.damage:
                read.damage.append(f"{path}: {log.damage}")
    read.forgotten = mails.forgotten
    return cost, read


def _fed(cost: Cost) -> dict[bytes, tuple[int, int]]:
    return {key: (toll.mails, toll.rejects) for key, toll in cost.shadowed.items()}


def _totals(cost: Cost) -> dict[str, Any]:
    return {
        "from": when(cost.first_ms),
        "to": when(cost.last_ms),
        "mails": cost.mails,
        "clients": len(cost.clients),
        "refused_mails": cost.refused_mails,
        "refused_clients": len(cost.refused_clients),
        "refused_senders": len(set().union(*(toll.senders for toll in cost.refused.values()))),
        "shadow_mails": cost.shadowed_mails,
        "rejects": cost.rejects,
        "days": [
            {"day": (when(number * DAY_MS) or "")[:10], **msgspec.to_builtins(day)}
            for number, day in sorted(cost.days.items())
        ],
    }


def _entry_rows(cost: Cost, found: Against, limit: int) -> list[dict[str, Any]]:
    """Give the entries that would have refused accepted mail as rows, who costs most first."""
    tolls: list[tuple[bytes, Toll, bool]] = [(key, toll, False) for key, toll in cost.refused.items()]
    tolls += [(key, toll, True) for key, toll in cost.shadowed.items()]
    tolls.sort(key=lambda one: (-one[1].mails, one[2], one[0]))
    return [
        {
            "entry": key,
            "listed by": found.source(key),
            "shadow": is_shadow,
            "mails": toll.mails,
            "clients": len(toll.clients),
            "senders": len(toll.senders),
            "some_senders": sorted(toll.senders)[:SENDERS_SHOWN],
            "rejects": toll.rejects if is_shadow else None,
            "first": when(toll.first_ms),
            "last": when(toll.last_ms),
        }
        for key, toll, is_shadow in (tolls[:limit] if limit else tolls)
    ]


def _source_rows(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add entries up by who listed them; a client counts once for each entry."""
    rows: dict[tuple[str, bool], dict[str, Any]] = {}
    for entry in entries:
        key = (entry["listed by"], entry["shadow"])
        row = rows.setdefault(key, {"listed by": key[0], "shadow": key[1], "entries": 0, "mails": 0, "clients": 0})
        row["entries"] += 1
        row["mails"] += entry["mails"]
        row["clients"] += entry["clients"]
        if entry["shadow"]:
            row["rejects"] = row.get("rejects", 0) + entry["rejects"]
    return sorted(rows.values(), key=lambda row: (-row["mails"], row["listed by"]))


def _print(told: Mapping[str, Any], sources: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]) -> None:
    for line in _lines(told):
        click.echo(printable(line))
    if entries:
        click.echo()
        emit([{**row, "shadow": _yes(row["shadow"])} for row in sources], SOURCE_COLUMNS)
        click.echo()
        emit([{**row, "shadow": _yes(row["shadow"])} for row in entries], ENTRY_COLUMNS)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    read, mails = told["read"], told["mails"]
    yield f"{mails} mails accepted from {told['clients']} clients, {told['from'] or '-'} to {told['to'] or '-'}"
    share = f" ({told['refused_mails'] / mails:.4%})" if mails else ""
    yield (
        f"would be refused {told['refused_mails']} mails{share} of {told['refused_clients']} clients, "
        f"{told['refused_senders']} senders"
    )
    yield f"shadow listings would refuse {told['shadow_mails']} more"
    yield f"spoke against clients {told['rejects']} times"
    if not mails:
        yield "NO ACCEPTED MAIL was found, so this says nothing of the cost: are these logs of a mail server?"
    if read["undated"]:
        yield f"{read['undated']} mails had no time that is understood; they count as of now"
    if read["forgotten"]:
        yield f"{read['forgotten']} messages were not followed to their end: too many at a time"
    if told["kept"]:
        yield "noted for the shadow listings"
    for damage in read["damage"]:
        yield f"DAMAGED {damage}"


def _draw(path: str, cost: Cost) -> None:
    """Write the picture: mail by day, and what of it would be refused."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    days = sorted(cost.days)
    names = [(when(day * DAY_MS) or "")[:10] for day in days]
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    accepted = [cost.days[day].mails for day in days]
    refused, shadowed = ([getattr(cost.days[day], name) for day in days] for name in ("refused", "shadowed"))
    axes.bar(range(len(days)), accepted, color="#c9c9c9", label="accepted")
    axes.bar(range(len(days)), refused, color="#b22222", label="would be refused")
    axes.bar(range(len(days)), shadowed, bottom=refused, color="#e0a030", label="and by shadow listings")
    axes.set_xticks(range(len(days)), names, rotation=60, ha="right")
    axes.set_ylabel("mails a day")
    axes.legend(fontsize="small")
    written(figure, path)
