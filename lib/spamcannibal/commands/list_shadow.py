"""`spamcannibal list shadow` and `list promote`: how listings on trial fare, and those good enough turned on."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import click

from spamcannibal.addr import format_key
from spamcannibal.commands.common import (
    admin_source,
    dry_run_option,
    emit,
    json_option,
    load_settings,
    open_store,
    progress,
)
from spamcannibal.errors import NeverListed
from spamcannibal.record import SHADOW
from spamcannibal.rows import when
from spamcannibal.service import Signals
from spamcannibal.settings import Settings
from spamcannibal.store import trials
from spamcannibal.store.batch import Amendment, Batch
from spamcannibal.store.stores import BATCH_LIMIT, Store
from spamcannibal.trial import Measure, Seen, Terms, judge, measure, shortfalls

SOURCE_COLUMNS = ("source", "seen", "packets", "right", "wrong", "unknown", "precision", "assured", "ready", "why")
ENTRY_COLUMNS = ("key", "source", "verdict", "packets", "first", "last", "accepted", "rejected", "listed by others")
PROMOTED_COLUMNS = ("source", "done", "promoted", "left", "forbidden", "assured", "why")
REFUSALS_TOLD = 20

source_option = click.option(
    "--source", default="*", metavar="SOURCE", help="Only of this source; * stands for anything: 'import:*'."
)


class Standing(NamedTuple):
    """What is known of all sources with listings on trial."""

    measures: dict[str, Measure]
    short: dict[str, list[str]]
    tried: list[trials.Tried]


@click.command(name="shadow")
@source_option
@click.option("--entries", is_flag=True, help="Show each entry that was seen at work instead.")
@click.option(
    "--limit", type=click.IntRange(0), default=100, show_default=True, help="Show at most so many; 0 for all."
)
@json_option
@click.pass_context
def shadow(ctx: click.Context, source: str, entries: bool, limit: int, as_json: bool) -> None:
    """Show how listings on trial fare: how often they would have refused, and whether that would have been right.

    An entry is wrong if mail of its clients was accepted, by any logs that `replay --lists --keep` was fed; it is right
    if a mail server spoke against a client, or another source lists it for good; else nobody knows. ASSURED is the
    precision that so many observations leave likely; READY says that `list promote` would turn the source's entries on.

    \b
    Examples:
      spamcannibal list import drop.txt --shadow --as drop
      spamcannibal replay --lists /var/log/mail.log* --keep
      spamcannibal list shadow
      spamcannibal list shadow --entries --source import:drop
    """
    settings = load_settings(ctx)
    with closing(open_store(settings)) as store:
        found = standing(store, source, _terms(settings), time.time())
    rows = list(map(_entry_row, found.tried)) if entries else _source_rows(found)
    emit(rows[:limit] if limit else rows, ENTRY_COLUMNS if entries else SOURCE_COLUMNS, as_json)
    if limit and len(rows) > limit:
        click.echo(f"… and {len(rows) - limit} more; see --limit", err=True)


@click.command(name="promote")
@source_option
@click.option("--precision", type=click.FloatRange(0.5, 1, max_open=True), help="Assured precision to reach.")
@click.option("--observations", type=click.IntRange(1), help="How many entries must have been right or wrong.")
@click.option("--judged", type=click.FloatRange(0, 1), help="And what share of those seen at work.")
@click.option("--confirmed", is_flag=True, help="Turn on only what was itself seen to be right.")
@dry_run_option
@json_option
@click.pass_context
def promote(ctx: click.Context, /, source: str, confirmed: bool, dry_run: bool, as_json: bool, **terms: Any) -> None:
    """Turn on the listings on trial of the sources that proved good enough, as [shadow] says or the options.

    Entries that were wrong stay on trial. Each one turned on is a change in the journal, by promote:WHO with the
    figures, and `spamcannibal list undo --source 'promote:*' --since 1h` takes it back. The never-list is asked. What
    nobody knows is right never counts: no logs fed, or too few observations, promote nothing. `list shadow` shows it.

    Exit 0 some were turned on, 1 no source is good enough.

    \b
    Examples:
      spamcannibal list promote --dry-run
      spamcannibal list promote --source import:drop --precision 0.99
      spamcannibal list promote --confirmed
    """
    settings = load_settings(ctx)
    now = time.time()
    with closing(open_store(settings)) as store, Signals() as signals:
        found = standing(store, source, _terms(settings)._replace(**_given(terms)), now)
        ready = {name: why for name, why in found.short.items() if not why}
        done = _promote(store, found, ready, confirmed, dry_run, lambda: signals.stop) if ready else {}
    rows = [_promoted_row(name, found, done.get(name, Counter()), dry_run) for name in sorted(found.measures)]
    emit(rows, PROMOTED_COLUMNS, as_json, "would do" if dry_run else "")
    if signals.stop:
        click.echo("interrupted; run it again to go on", err=True)
    ctx.exit(0 if any(counts["promoted"] for counts in done.values()) else 1)


def trial_row(store: Store, key: bytes) -> dict[str, Any]:
    """Give what is known of one entry on trial."""
    trial = trials.trial(store, key)
    return {
        "packets": trial.count,
        "first": when(trial.first_ms),
        "last": when(trial.last_ms),
        "accepted": trial.accepted,
        "rejected": trial.rejected,
    }


def standing(store: Store, pattern: str, terms: Terms, now: float) -> Standing:
    """Measure the sources whose name fits a pattern."""
    tried = [each for each in trials.tried(store) if fnmatchcase(each.source, pattern)]
    replaced = {name: count for name, count in trials.confirmed(store).items() if fnmatchcase(name, pattern)}
    by_source: dict[str, list[Seen]] = {name: [] for name in replaced}
    for each in tried:
        by_source.setdefault(each.source, []).append(_seen(each))
    measures = {name: measure(seen, replaced.get(name, 0)) for name, seen in by_source.items()}
    fed = trials.last_feed(store)
    age_s = now - fed.last_ms / 1000 if fed is not None and fed.mails else None
    return Standing(measures, {name: shortfalls(found, terms, age_s) for name, found in measures.items()}, tried)


def _terms(settings: Settings) -> Terms:
    given = settings.shadow
    return Terms(given.precision, given.observations, given.judged, given.logs_age_s)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _seen(each: trials.Tried) -> Seen:
    trial = each.trial
    return Seen(trial.count, trial.accepted, trial.rejected, each.is_listed)


def _promote(
    store: Store,
    found: Standing,
    ready: Mapping[str, object],
    confirmed: bool,
    dry_run: bool,
    stop: Callable[[], bool],
) -> dict[str, Counter[str]]:
    """Turn on what is on trial of the sources that are ready; count by source what became of it."""
    verdicts = {each.key: judge(_seen(each)) for each in found.tried}
    counts: dict[str, Counter[str]] = {name: Counter() for name in ready}
    batch: list[tuple[bytes, int, str]] = []
    with progress(store.counts()["tarpit"], "promoting") as step:
        for key, seq, source in _candidates(store, ready, step):
            verdict = verdicts.get(key, "unknown")
            if verdict == "wrong" or (confirmed and verdict != "right"):
                counts[source]["left"] += 1
            elif _is_forbidden(store, key, counts[source]):
                counts[source]["forbidden"] += 1
            else:
                batch.append((key, seq, source))
            if len(batch) == BATCH_LIMIT:
                _turn_on(store, batch, found, counts, dry_run)
                batch = []
                if stop():
                    break
        _turn_on(store, batch, found, counts, dry_run)
    return counts


def _candidates(
    store: Store, ready: Mapping[str, object], step: Callable[[int], None]
) -> Iterator[tuple[bytes, int, str]]:
    for key, listing in trials.on_trial(store):
        step(1)
        source = trials.source_of(store, key, listing)
        if source in ready:
            yield key, listing.seq, source


def _is_forbidden(store: Store, key: bytes, counts: Counter[str]) -> bool:
    try:
        store.guard.check(key)
    except NeverListed as error:
        if counts["forbidden"] < REFUSALS_TOLD:
            click.echo(str(error), err=True)
        return True
    return False


def _turn_on(
    store: Store,
    batch: list[tuple[bytes, int, str]],
    found: Standing,
    counts: Mapping[str, Counter[str]],
    dry_run: bool,
) -> None:
    """Amend a thousand in one transaction; what somebody changed meanwhile is left."""
    by = {source: _by(found.measures[source]) for _, _, source in batch}

    def write(inside: Batch) -> list[str]:
        done = []
        for key, seq, source in batch:
            flags = inside.flags_of(key) if inside.seq_of(key) == seq else 0
            is_done = bool(flags & SHADOW and inside.amend(key, Amendment(flags=flags & ~SHADOW), by[source]))
            done.append("promoted" if is_done else "left")
        return done

    outcomes = ["promoted"] * len(batch) if dry_run or not batch else store.transact(time.time(), write)
    for (_, _, source), outcome in zip(batch, outcomes, strict=True):
        counts[source][outcome] += 1


def _by(found: Measure) -> str:
    who = admin_source().partition(":")[2]
    return f"promote:{who} ({found.right} of {found.observations} right, {found.assured:.3f} assured)"


def _source_rows(found: Standing) -> list[dict[str, Any]]:
    rows = []
    for name in sorted(found.measures):
        one = found.measures[name]
        rows.append(
            {
                "source": name,
                "seen": one.observations + one.unknown,
                "packets": one.contacts,
                "right": one.right,
                "wrong": one.wrong,
                "unknown": one.unknown,
                "accepted_mails": one.mails,
                "precision": None if one.precision is None else round(one.precision, 4),
                "assured": round(one.assured, 4),
                "ready": "no" if found.short[name] else "yes",
                "why": "; ".join(found.short[name]) or None,
            }
        )
    return rows


def _entry_row(each: trials.Tried) -> dict[str, Any]:
    trial = each.trial
    return {
        "key": format_key(each.key),
        "source": each.source,
        "verdict": judge(_seen(each)),
        "packets": trial.count,
        "first": when(trial.first_ms),
        "last": when(trial.last_ms),
        "accepted": trial.accepted,
        "rejected": trial.rejected,
        "listed by others": "yes" if each.is_listed else "no",
    }


def _promoted_row(name: str, found: Standing, counts: Counter[str], dry_run: bool) -> dict[str, Any]:
    short = found.short[name]
    done = "would promote" if dry_run else "promoted"
    return {
        "source": name,
        "done": "left on trial" if short else done,
        "promoted": counts["promoted"],
        "left": counts["left"],
        "forbidden": counts["forbidden"],
        "assured": round(found.measures[name].assured, 4),
        "why": "; ".join(short) or None,
    }
