"""The listings that a replay goes against: those of the database, now or at a time, or those of a file."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from spamcannibal.addr import format_key, listing_key
from spamcannibal.commands.common import open_store, printable, progress
from spamcannibal.commands.moments import journal_number, moment
from spamcannibal.errors import NeverListed, SpamCannibalError
from spamcannibal.neverfile import LazyGuard
from spamcannibal.record import EXCLUDED, PROVEN_CODE, Change, Mode, table_value
from spamcannibal.settings import Settings
from spamcannibal.tables import Tables

if TYPE_CHECKING:
    from spamcannibal.store.stores import Store

BROKEN_TOLD = 10


class Readable(click.Path):
    """Files that are there and may be read; `-` where that is allowed. click's words name no cure."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if not (self.allow_dash and value == "-"):
            if not path.exists():
                self.fail(f"{value}: no such file; look at the name, or what the pattern should match", param, ctx)
            if path.is_dir():
                self.fail(f"{value}: a directory; name the files in it", param, ctx)
            if not os.access(path, os.R_OK):
                self.fail(f"{value}: permission denied; run it as who may read it, such as root", param, ctx)
        return value


at_option = click.option("--at", "at_ms", callback=moment, metavar="TIME", help="Against the listings of that time.")
listings_option = click.option(
    "--listings", metavar="FILE", type=Readable(), help="Against those of FILE instead, as `list import` reads it."
)


class Against(msgspec.Struct):
    """The tables, and where to find who listed what: the database and its journal number, or the file.

    `left` counts the file's lines that could not be listed.
    """

    tables: Tables
    store: "Store | None" = None
    seq: int = 0
    name: str = ""
    left: int = 0

    def change(self, key: bytes) -> Change | None:
        """Return the change that made an entry what it is, None if a file says so."""
        return self.store.change_at(key, self.seq) if self.store else None

    def source(self, key: bytes) -> str:
        change = self.change(key)
        return change.source or "-" if change else self.name or "-"


@contextmanager
def against(settings: Settings, at_ms: int | None, listings: str | None) -> Iterator[Against]:
    """Fill the tables; the database stays open meanwhile, to tell who listed what."""
    if listings is not None:
        if at_ms is not None:
            raise click.UsageError("--at and --listings exclude each other")
        yield _of_file(settings, listings)
        return
    store = open_store(settings)
    try:
        yield _of_store(store, at_ms)
    finally:
        store.close()


def _of_store(store: "Store", at_ms: int | None) -> Against:
    from spamcannibal.store.follow import Follower
    from spamcannibal.store.past import Past

    tables = Tables()
    if at_ms is None:
        with progress(store.counts()["tarpit"], "loading listings") as step:
            follower = Follower(store, tables)
            follower.load(step)
        return Against(tables, store, follower.seq)
    seq = journal_number(store, at_ms)
    for rows in Past(store, seq).pages({4, 5, 16, 17}):
        tables.load([(row.key, row.value) for row in rows])
    return Against(tables, store, seq)


def _of_file(settings: Settings, path: str) -> Against:
    from spamcannibal.feeds import LINE_LIMIT, Broken, read

    tables, left, guard = Tables(), 0, LazyGuard(settings)
    plain, excepted = (table_value(PROVEN_CODE, Mode.DEFAULT, flags) for flags in (0, EXCLUDED))
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            for entry in read(iter(partial(file.readline, LINE_LIMIT + 2), "")):
                reason = entry.reason if isinstance(entry, Broken) else ""
                if not isinstance(entry, Broken):
                    key = listing_key(entry.key, settings.guard.v6_prefix) if len(entry.key) in (4, 16) else entry.key
                    try:
                        guard.check(key)
                        tables.set(key, excepted if entry.is_exception else plain)
                    except NeverListed as error:
                        reason = str(error)
                left += bool(reason)
                if reason and left <= BROKEN_TOLD:
                    click.echo(printable(f"{path}: line {entry.line}: {reason}"), err=True)
    except OSError as error:
        raise SpamCannibalError(f"--listings: can't read {path}: {error.strerror}") from None
    if left > BROKEN_TOLD:
        click.echo(f"… and {left - BROKEN_TOLD} more lines", err=True)
    if not len(tables):
        raise SpamCannibalError(f"--listings: nothing is listed in {path}")
    return Against(tables, name=Path(path).name, left=left)


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for JSON."""
    texts = ((name, format_key(value) if isinstance(value, bytes) else value) for name, value in row.items())
    return {name.replace(" ", "_"): value for name, value in texts}


def size_of(files: Iterable[str]) -> int | None:
    """Return the bytes of all files, None if one is a stream or packed."""
    paths = [Path(file) for file in files]
    if any(not path.is_file() or path.suffix in (".gz", ".xz", ".bz2") for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)
