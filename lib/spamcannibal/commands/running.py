"""How the cron jobs run: the rules from the settings, one instance, signals, breakers, the report and its exit code."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import Any

import click

from spamcannibal.addr import format_key
from spamcannibal.breaker import HOUR_S, Breaker, Caps
from spamcannibal.commands.common import emit, load_settings, open_store, printable
from spamcannibal.errors import ConfigError
from spamcannibal.events import EventLog
from spamcannibal.jobs import rules as by
from spamcannibal.jobs.countries import PACKAGE, parse_countries
from spamcannibal.jobs.generic import Patterns, parse_patterns
from spamcannibal.jobs.labels import Kind
from spamcannibal.jobs.location import PACKAGE as LOCATION_PACKAGE
from spamcannibal.jobs.location import Location
from spamcannibal.jobs.nets import Nets, parse_nets
from spamcannibal.jobs.report import UNSURE, Report
from spamcannibal.jobs.rules import Rules, Terms
from spamcannibal.remote.catalogue import chosen, read_key
from spamcannibal.remote.client import Client
from spamcannibal.service import Signals
from spamcannibal.settings import Settings
from spamcannibal.settings.base import GuardSettings
from spamcannibal.settings.jobs import JobsSettings
from spamcannibal.store.alone import alone
from spamcannibal.store.examine import hits
from spamcannibal.store.recent import listed_since
from spamcannibal.store.stores import Store

FILE_LIMIT_BYTES = 64 << 20
RECENT_LIMIT = 200_000  # changes of the last hour that are looked at
COLUMNS = ("key", "done", "zone", "text")
V4_KEY_BYTES = 5
OFTEN_PER_DAY = 10_000

Job = Callable[[Settings, Store, Signals], Report]


def run(ctx: click.Context, name: str, job: Job, is_dry: bool, as_json: bool, verbose: bool) -> None:
    """Run a job, unless it runs already, and exit with its code. A dry run may run beside it."""
    settings = load_settings(ctx)
    store = open_store(settings)
    try:
        with nullcontext(True) if is_dry else alone(Path(settings.store.path), name) as is_first:
            if not is_first:
                click.echo(f"{name}: it runs already; nothing done", err=True)
                ctx.exit(0)
            with Signals() as signals:
                report = job(settings, store, signals)
    finally:
        store.close()
    show(report, as_json, verbose)
    ctx.exit(report.exit_code)


def show(report: Report, as_json: bool, verbose: bool) -> None:
    """Print a report: to a terminal always, else only if there is something to tell."""
    if as_json:
        rows = [{**row, "key": _key_text(row["key"])} for row in _sorted(report.rows)]
        click.echo(json.dumps({**report.document(), "rows": rows}, indent=2))
    elif verbose or report.is_dry:
        rows = [row for row in report.rows if verbose or row["done"] != UNSURE]
        if rows:
            emit(_sorted(rows), COLUMNS)
    for line in (*report.trips, report.unavailable):
        if line:
            click.echo(f"spamcannibal: {report.job}: {printable(line)}", err=True)
    if not as_json and (report.has_news or report.is_dry or sys.stdout.isatty()):
        click.echo(report.summary())


@contextmanager
def asker(settings: Settings, rules: Rules, stop: Callable[[], bool], count: int) -> Iterator[Client | None]:
    """Give a client whose resolvers answer, None if the rules need none; Unavailable if nobody answers.

    If there is anything to ask about (`count`), the lists are tested first, whatever was found an hour ago; but for
    those that may be asked so little that tests each few minutes would take most of it.
    """
    if not rules.needs_network:
        yield None
        return
    log = EventLog(sys.stderr, settings.log.format)
    with Client(settings.remote, tuple(rules.lists.values()), log, stop) as client:
        often = [one.zone for one in rules.lists.values() if count and not 0 < one.per_day < OFTEN_PER_DAY]
        client.healthy(zones=often)
        yield client


def listing_breaker(guard: GuardSettings, store: Store, now: float) -> Breaker:
    """Give a breaker for listings, which knows what was listed in the last hour."""
    caps = Caps(
        guard.max_listings_per_run, guard.max_listings_per_hour, guard.max_per_source_per_hour, guard.max_per_net
    )
    breaker = Breaker(caps)
    for change in listed_since(store, int((now - HOUR_S) * 1000), RECENT_LIMIT):
        breaker.note(change.time_ms / 1000, change.key, change.source)
    return breaker


def removal_breaker(guard: GuardSettings) -> Breaker:
    """Give a breaker for removals."""
    return Breaker(Caps(per_run=guard.max_removals_per_run), "removals")


def load_rules(settings: Settings, store: Store) -> Rules:
    """Give the rules that are in force; ConfigError names the file that can't be read and what is wrong in it."""
    jobs, counts = settings.jobs, hits(store)
    lists = chosen(settings.remote, lambda line: click.echo(f"spamcannibal: {line}", err=True))
    return Rules(
        block=_block(jobs),
        missing_ptr=jobs.missing_ptr,
        patterns=_patterns(jobs),
        countries=frozenset(jobs.countries),
        country_of=_countries(jobs),
        terms=_terms(jobs),
        lists={one.zone: one for one in lists},
        threshold=jobs.threshold,
        hits=counts.zones if counts is not None else {},
        trials=frozenset(map(str.lower, jobs.shadow)),
    )


def generic_rule(settings: Settings) -> Rules:
    """Give the rule about generic names alone."""
    return Rules(patterns=_patterns(settings.jobs), terms=_terms(settings.jobs))


def _terms(jobs: JobsSettings) -> Mapping[Kind, Terms]:
    return {
        Kind.BLOCK: Terms(jobs.block_text, jobs.block_expires_s),
        Kind.MISSING_PTR: Terms(jobs.missing_ptr_text, jobs.missing_ptr_expires_s),
        Kind.GENERIC_PTR: Terms(jobs.generic_text, jobs.generic_expires_s),
        Kind.COUNTRY: Terms(jobs.country_text, jobs.country_expires_s),
    }


def rule_problems(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the files that the rules are read from: lists and their keys, and those of [jobs]."""
    jobs = settings.jobs
    for read in (partial(_keys, settings), partial(_block, jobs), partial(_patterns, jobs), partial(_countries, jobs)):
        try:
            read()
        except ConfigError as error:
            yield from error.problems


def _keys(settings: Settings) -> None:
    for one in chosen(settings.remote, lambda line: click.echo(line, err=True)):
        read_key(one)


def _block(jobs: JobsSettings) -> Nets | None:
    return parse_nets(_read(jobs.block_list, "block_list"), jobs.block_list) if jobs.block_list else None


def _patterns(jobs: JobsSettings) -> Patterns | None:
    return parse_patterns(_read(jobs.generic_ptr, "generic_ptr"), jobs.generic_ptr) if jobs.generic_ptr else None


def _countries(jobs: JobsSettings) -> by.Countries | None:
    if not jobs.countries:
        return None
    if len(jobs.country_db) == 1:
        return _location(jobs.country_db[0])
    first, second = jobs.country_db
    try:
        with Path(first).open(encoding="ascii") as v4, Path(second).open(encoding="ascii") as v6:
            return parse_countries(v4, v6, (first, second))
    except OSError as error:
        reason = f"can't read {error.filename}: {error.strerror}; apt install {PACKAGE}, or name other files"
        raise ConfigError(f"jobs.country_db: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"jobs.country_db: {first}, {second}: not text, want the files of {PACKAGE}") from None


def _location(path: str) -> Location:
    try:
        with Path(path).open("rb") as stream:
            return Location(mmap(stream.fileno(), 0, prot=PROT_READ), path)
    except (OSError, ValueError) as error:  # the second for an empty file
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise ConfigError(f"jobs.country_db: can't read {path}: {reason}; apt install {LOCATION_PACKAGE}") from None


def _read(path: str, key: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"jobs.{key}: can't read {path}: {error.strerror}") from None
    if len(raw) > FILE_LIMIT_BYTES:
        raise ConfigError(f"jobs.{key}: {path} is too long, want at most {FILE_LIMIT_BYTES} bytes")
    return raw.decode("utf-8", "backslashreplace")


def _sorted(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows in the order of keys, IPv4 first: answers come in any order."""
    return sorted(rows, key=lambda row: (len(row["key"]) > V4_KEY_BYTES, row["key"]))


def _key_text(key: Any) -> str:
    try:
        return format_key(key)
    except ValueError:
        return bytes(key).hex()
