"""`spamcannibal list import`: lists of others, or of ours, from a file or standard input."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from spamcannibal.addr import format_key, listing_key
from spamcannibal.commands.common import (
    dry_run_option,
    emit,
    json_option,
    load_settings,
    open_store,
    printable,
    progress,
)
from spamcannibal.commands.moments import duration
from spamcannibal.errors import NeverListed
from spamcannibal.feeds import FORMS, LINE_LIMIT, Broken, Entry, read
from spamcannibal.record import EXCLUDED, HEARSAY_CODE, PROVEN_CODE, PUBLISHED, SHADOW, Cause, Mode
from spamcannibal.rows import when
from spamcannibal.service import Signals, Stopped
from spamcannibal.settings import Settings
from spamcannibal.store.stores import BATCH_LIMIT, Hearsay, NewListing, Store
from spamcannibal.store.trials import source_of

PARTIAL = 4
TOLD_LIMIT = 100
HELD_LIMIT = 50_000  # entries sorted together: neighbours fall on the same pages, which are then read once
COLUMNS = ("listed", "changed", "same", "refused", "broken", "contacts", "lines")


class Plan(msgspec.Struct, frozen=True):
    """How the entries of a feed become listings."""

    name: str
    source: str
    proven: bool
    flags: int
    mode: Mode
    expiry_ms: int
    v6_plen: int


class Tally(msgspec.Struct):
    """What came of it. `contacts`: listed hosts that had connected, and were not listed before; `lines` were read."""

    listed: int = 0
    changed: int = 0
    same: int = 0
    refused: int = 0
    broken: int = 0
    contacts: int = 0
    lines: int = 0


@click.command(name="import")
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--format", "form", type=click.Choice(list(FORMS)), help="The file's form; default: what it looks like.")
@click.option("--as", "name", metavar="NAME", help="The list's name, for the reason; default is the file's.")
@click.option("--proven", is_flag=True, help="It is our own proof: published as 127.0.0.2. Else it is hearsay, hidden.")
@click.option("--shadow", is_flag=True, help="Only count what it would refuse: see list shadow.")
@click.option(
    "--mode", type=click.Choice([mode.name.lower() for mode in Mode]), default="default", help="How to refuse."
)
@click.option("--expires", callback=duration, metavar="DURATION", help="Where a line does not say, such as 30d.")
@dry_run_option
@json_option
@click.pass_context
def import_(ctx: click.Context, /, file: IO[str], dry_run: bool, as_json: bool, **options: Any) -> None:
    """List what stands in FILE, or on standard input (-): plain, CSV, rbldnsd, Spamhaus DROP, JSON lines.

    A line that can't be read, that the never-list forbids or that has expired is told with its number, and the rest
    goes on. A thousand listings are one transaction. Interrupted, it finishes that one; run it again to go on: what is
    listed already costs little and makes no journal record. What the list no longer holds stays listed: give it
    --expires and import it again before, or take it back with `spamcannibal list undo --source import:NAME`.

    --shadow puts it on trial: `list shadow` tells what it would refuse, `list promote` turns it on. What is listed for
    good is left alone then; what was promoted stays so, and is refreshed.

    --dry-run tells what would be listed, and how many hosts that connected here it would refuse.

    Exit 0 all of it is listed, 4 some lines were not, or it was interrupted, 1 FILE names nothing at all: that changes
    nothing.

    \b
    Examples:
      spamcannibal list import drop_v4.json --as "Spamhaus DROP" --expires 3d --dry-run
      spamcannibal list import --format rbldnsd /var/lib/rbldns/old.zone --proven
      ssh other spamcannibal export jsonl | spamcannibal list import - --as other
    """
    settings = load_settings(ctx)
    plan = _plan(settings, options, getattr(file, "name", "-"))
    with closing(open_store(settings)) as store, Signals() as signals:
        with progress(_size(file), "importing") as step:
            lines = _lines(file, step, signals)
            tally, is_whole = _import(store, read(lines, options["form"] or ""), plan, dry_run, signals)
    emit([{"file": plan.name, **msgspec.structs.asdict(tally), "whole": is_whole}], COLUMNS, as_json, _title(dry_run))
    if not is_whole:
        click.echo(f"interrupted after line {tally.lines}; run it again to go on", err=True)
    if is_whole and not tally.lines:
        click.echo(printable(f"nothing to import: {plan.name} names no address"), err=True)
        ctx.exit(1)
    ctx.exit(0 if is_whole and not tally.refused and not tally.broken else PARTIAL)


def _plan(settings: Settings, options: dict[str, Any], file_name: str) -> Plan:
    name = options["name"] or Path(file_name).name
    flags = (PUBLISHED if options["proven"] else 0) | (SHADOW if options["shadow"] else 0)
    expires: float | None = options["expires"]
    expiry_ms = int((time.time() + expires) * 1000) if expires else 0
    mode = Mode[options["mode"].upper()]
    return Plan(name, f"import:{name}", options["proven"], flags, mode, expiry_ms, settings.guard.v6_prefix)


def _import(
    store: Store, entries: Iterator[Entry | Broken], plan: Plan, dry_run: bool, signals: Signals
) -> tuple[Tally, bool]:
    """List what the entries say; give what came of it, and whether all was read."""
    tally = Tally()
    held: dict[bytes, NewListing] = {}
    now_ms = time.time() * 1000
    for entry in entries:
        tally.lines = entry.line
        if isinstance(entry, Broken):
            _tell(tally, entry.line, entry.reason)
            tally.broken += 1
            continue
        item = _listing(entry, plan)
        if 0 < item.expiry_ms <= now_ms:
            _tell(tally, entry.line, f"{format_key(item.key)} expired {when(item.expiry_ms)}")
            tally.refused += 1
            continue
        try:
            store.guard.check(item.key)
        except NeverListed as error:
            _tell(tally, entry.line, str(error))
            tally.refused += 1
            continue
        held[item.key] = item
        if len(held) == HELD_LIMIT:
            if not _apply(store, held, tally, dry_run, signals):
                return tally, False
            held.clear()
    return tally, _apply(store, held, tally, dry_run, signals)


def _listing(entry: Entry, plan: Plan) -> NewListing:
    key = listing_key(entry.key, plan.v6_plen) if len(entry.key) in (4, 16) else entry.key
    code = entry.code or (PROVEN_CODE if plan.proven else HEARSAY_CODE)
    return NewListing(
        key,
        code=code,
        text=entry.text,
        source=plan.source,
        mode=plan.mode,
        expiry_ms=entry.expiry_ms or plan.expiry_ms,
        contrib=None if plan.proven else Hearsay((Cause(plan.name, code, text=entry.text),)),
        flags=plan.flags | (EXCLUDED if entry.is_exception else 0),
    )


def _apply(store: Store, held: dict[bytes, NewListing], tally: Tally, dry_run: bool, signals: Signals) -> bool:
    """List what is held, in key order, or only count what that would do; False if interrupted."""
    items = [held[key] for key in sorted(held)]
    for at in range(0, len(items), BATCH_LIMIT):
        if signals.stop:
            return False
        part = items[at : at + BATCH_LIMIT]
        was = store.records("tarpit", [item.key for item in part])
        part, was = _spared(store, part, was, tally)
        fresh = [item.key for item, old in zip(part, was, strict=True) if old is None]
        tally.contacts += sum(contact is not None for contact in store.records("archive", fresh))
        tally.listed += len(fresh)
        if dry_run:
            tally.same += len(part) - len(fresh)
            continue
        seqs = store.list(part, time.time())
        same = sum(old is not None and old.seq == seq for old, seq in zip(was, seqs, strict=True))
        tally.same += same
        tally.changed += len(part) - len(fresh) - same
    return not signals.stop


def _spared(store: Store, part: list[NewListing], was: list[Any], tally: Tally) -> tuple[list[NewListing], list[Any]]:
    """Leave what is listed for good out of what goes on trial; our own that was promoted stays turned on."""
    kept: list[tuple[NewListing, Any]] = []
    for item, old in zip(part, was, strict=True):
        if old is None or not item.flags & SHADOW or old.flags & SHADOW:
            kept.append((item, old))
        elif source_of(store, item.key, old) == item.source:
            kept.append((msgspec.structs.replace(item, flags=item.flags & ~SHADOW), old))
        else:
            tally.same += 1
    return [item for item, _ in kept], [old for _, old in kept]


def _lines(file: IO[str], step: Any, signals: Signals) -> Iterator[str]:
    """Yield lines until we are to stop, none longer than we look at; longer ones come in parts, all of them broken."""
    try:
        while True:
            signals.raises = True
            line = "" if signals.stop else file.readline(LINE_LIMIT + 2)
            signals.raises = False
            if not line:
                return
            step(len(line))
            yield line
    except Stopped:  # while we waited for more
        return


def _size(file: IO[str]) -> int | None:
    """Return the file's size, None for a stream."""
    return Path(file.name).stat().st_size if Path(getattr(file, "name", "")).is_file() else None


def _tell(tally: Tally, line: int, reason: str) -> None:
    told = tally.broken + tally.refused
    if told < TOLD_LIMIT:
        click.echo(printable(f"line {line}: {reason}"), err=True)
    elif told == TOLD_LIMIT:
        click.echo("… and more", err=True)


def _title(dry_run: bool) -> str:
    return "would do" if dry_run else ""
