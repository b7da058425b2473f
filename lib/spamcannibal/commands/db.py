"""`spamcannibal db`: check, back up, restore, compact, dump, load or import the database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from spamcannibal.commands.common import (
    dry_run_option,
    emit,
    json_option,
    load_settings,
    open_store,
    printable,
    progress,
)
from spamcannibal.service import Signals
from spamcannibal.store.backup import backup, size_bytes
from spamcannibal.store.check import check as find_problems
from spamcannibal.store.compact import compact
from spamcannibal.store.dump import dump as dump_lines
from spamcannibal.store.legacy import OldFiles, import_files
from spamcannibal.store.load import load as load_lines
from spamcannibal.store.restore import check as check_restore
from spamcannibal.store.restore import restore
from spamcannibal.store.stores import Store

PROBLEMS_SHOWN = 100


@click.group()
def command() -> None:
    """Check, back up, restore, compact, dump, load or import the database.

    All but `restore` may run while daemons and jobs use the database. Recovery needs no command: whoever opens it next
    does it.
    """


@command.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check the files' structure, and that the stores agree with one another. Exit 1 if anything is wrong.

    Others wait while one file's structure is verified (about a second for a million records).

    \b
    Examples:
      spamcannibal db check
      spamcannibal db check --json | jq length
    """
    with _store(ctx) as store:
        counts = store.counts()
        with progress(sum(counts.values()), "checking") as advance:
            problems = list(find_problems(store, advance))
    if as_json:
        emit([{"problem": problem} for problem in problems], ["problem"], as_json)
    else:
        for problem in problems[:PROBLEMS_SHOWN]:
            click.echo(printable(problem))
        if len(problems) > PROBLEMS_SHOWN:
            click.echo(f"… and {len(problems) - PROBLEMS_SHOWN} more")
        if not problems:
            emit([{"store": name, "records": number} for name, number in counts.items()], ["store", "records"])
            click.echo("ok")
    ctx.exit(1 if problems else 0)


@command.command(name="backup")
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def backup_command(ctx: click.Context, directory: Path, as_json: bool) -> None:
    """Copy the database, in use or not, into a new DIRECTORY, which can then be used as a database itself.

    \b
    Examples:
      spamcannibal db backup /var/backups/spamcannibal-$(date +%F)
    `spamcannibal db restore` is the way back.
    """
    with _store(ctx) as store:
        with progress(size_bytes(store.env.path), "copying") as advance:
            size = backup(store.env, directory, advance)
    emit([{"directory": str(directory), "bytes": size}], ["directory", "bytes"], as_json)


@command.command(name="restore")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@dry_run_option
@json_option
@click.pass_context
def restore_command(ctx: click.Context, directory: Path, dry_run: bool, as_json: bool) -> None:
    """Put the backup DIRECTORY in the place of the database; what was there is kept beside it.

    Stop the services first: a database that any process has open is not touched (exit 75, of --dry-run too).

    \b
    Examples:
      spamcannibal db restore /var/backups/spamcannibal-2026-11-23
    """
    path = Path(load_settings(ctx).store.path)
    total = size_bytes(directory)
    aside = None
    if dry_run:
        check_restore(directory, path)
    else:
        with progress(total, "restoring") as advance:
            aside = restore(directory, path, advance)
    row = {"directory": str(path), "bytes": total, "was_put": str(aside) if aside else None}
    emit([row], list(row), as_json, "would do" if dry_run else "")


@command.command(name="compact")
@json_option
@click.pass_context
def compact_command(ctx: click.Context, as_json: bool) -> None:
    """Give room that removals left in the files back to the disk. Ctrl-C ends it early and loses nothing.

    Others wait some hundredth of a second at a time. New listings fill such room anyway: run it once much has gone.

    \b
    Examples:
      spamcannibal db compact
    """
    with _store(ctx) as store, Signals() as signals:
        counts = store.counts()
        with progress(None, f"compacting {sum(counts.values())} records") as advance:
            sizes = compact(store.env, advance, lambda: signals.stop)
    rows = [{"file": name, "bytes_before": before, "bytes": after} for name, (before, after) in sizes.items()]
    emit(rows, ("file", "bytes_before", "bytes"), as_json)


def _output(ctx: click.Context, param: click.Parameter, value: str) -> IO[bytes]:
    """Open what is to be written: a file whole or not at all, a device or pipe as it is, and not in its place."""
    is_atomic = value != "-" and (Path(value).is_file() or not Path(value).exists())
    file: IO[bytes] = click.File("wb", atomic=is_atomic).convert(value, param, ctx)
    return file


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-", callback=_output)
@click.pass_context
def dump(ctx: click.Context, file: IO[bytes]) -> None:
    """Write everything as JSON lines to FILE (or standard output): listings, reasons, contacts, the journal.

    \b
    Examples:
      spamcannibal db dump spamcannibal.jsonl
      spamcannibal db dump | jq -r 'select(.record == "listing").key'
    """
    with _store(ctx) as store:
        counts = store.counts()
        with progress(counts["tarpit"] + counts["archive"] + counts["journal"], "dumping") as advance:
            for line in dump_lines(store):
                file.write(line)
                advance(1)


@command.command()
@click.argument("file", type=click.File("rb"))
@dry_run_option
@json_option
@click.pass_context
def load(ctx: click.Context, file: IO[bytes], dry_run: bool, as_json: bool) -> None:
    """Fill a new, empty database from a dump. Should it be interrupted, run it again: it begins anew.

    Listings that the never-list forbids are taken off again, with a journal record that says so. Exit 1 if any was.

    \b
    Examples:
      spamcannibal db load --dry-run spamcannibal.jsonl
      spamcannibal db load spamcannibal.jsonl
      ssh other spamcannibal db dump | spamcannibal db load -
    """
    with _store(ctx) as store:
        with progress(None, "loading") as advance:
            loaded = load_lines(store, file, getattr(file, "name", "-"), time.time(), advance, dry_run)
    row = {
        "listings": loaded.listings,
        "contacts": loaded.contacts,
        "changes": loaded.changes,
        "refused": loaded.refused,
    }
    if as_json:
        emit([row], list(row), as_json)
    else:
        emit([{**row, "refused": len(loaded.refused)}], list(row), title="would do" if dry_run else "")
        _tell("never-listed, so not loaded", loaded.refused)
    ctx.exit(1 if loaded.refused else 0)


@command.command(name="import")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@dry_run_option
@json_option
@click.pass_context
def import_command(ctx: click.Context, directory: Path, dry_run: bool, as_json: bool) -> None:
    """Take over the original's databases (tarpit, archive, blcontrib, evidence) from DIRECTORY.

    Copy them there, or stop what writes them, first. Importing again changes no listing. Exit 1 if anything was left
    out: damaged records, and addresses that the never-list forbids.

    \b
    Examples:
      spamcannibal db import --dry-run /var/run/dbtarpit
      spamcannibal db import /root/copy-of-dbtarpit
    """
    files = OldFiles(directory)
    try:
        with _store(ctx) as store:
            with progress(files.count(), "importing") as advance:
                done = import_files(store, files, f"import:{directory}", time.time(), advance, dry_run)
    finally:
        files.close()
    row = {"listed": done.listed, "archived": done.archived, "left_out": [list(pair) for pair in done.left_out]}
    if as_json:
        emit([row], list(row), as_json)
    else:
        emit([{**row, "left_out": len(done.left_out)}], list(row), title="would do" if dry_run else "")
        _tell("left out", [f"{key}: {reason}" for key, reason in done.left_out])
    ctx.exit(1 if done.left_out else 0)


@contextmanager
def _store(ctx: click.Context) -> Iterator[Store]:
    store = open_store(load_settings(ctx))
    try:
        yield store
    finally:
        store.close()


def _tell(what: str, items: list[str]) -> None:
    for item in items[:PROBLEMS_SHOWN]:
        click.echo(printable(f"{what}: {item}"), err=True)
    if len(items) > PROBLEMS_SHOWN:
        click.echo(f"{what}: … and {len(items) - PROBLEMS_SHOWN} more", err=True)
