"""What the subcommands share: settings, the store with its guard, and output as table, plain text or JSON."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from spamcannibal.addr import format_key
from spamcannibal.config import DEFAULT_PATH, ENVIRONMENT_KEY, load
from spamcannibal.errors import AddrError
from spamcannibal.neverfile import LazyGuard
from spamcannibal.settings import Settings

if TYPE_CHECKING:
    from spamcannibal.store.stores import Store

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="A line for each address that it dealt with.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


def config_path(ctx: click.Context) -> str | None:
    """Return what -c says."""
    path: str | None = ctx.find_root().params.get("config")
    return path


def settings_path(given: str | None) -> Path:
    """Return the settings file that is read if -c says `given`."""
    return Path(given or os.environ.get(ENVIRONMENT_KEY) or DEFAULT_PATH).resolve()


def load_settings(ctx: click.Context) -> Settings:
    """Return the settings that the command line and the environment choose, --log-format applied."""
    settings = load(config_path(ctx), os.environ)
    log_format = ctx.find_root().params.get("log_format")
    if log_format:
        log = msgspec.structs.replace(settings.log, format=log_format)
        settings = msgspec.structs.replace(settings, log=log)
    return settings


def open_store(settings: Settings, readonly: bool = False, wait_s: float = 30.0) -> "Store":
    """Return the store of the settings, guarded by their never-list; calls wait for others up to `wait_s`."""
    # Imported here, since --help of a command needs no database library.
    from spamcannibal.store.batch import Limits
    from spamcannibal.store.env import Env
    from spamcannibal.store.stores import Store

    store = settings.store
    env = Env(store.path, readonly=readonly, cache_bytes=store.cache_bytes, wait_s=wait_s)
    return Store(env, LazyGuard(settings), Limits(store.evidence_limit_bytes, store.evidence_pieces))


def emit(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool = False, title: str = "") -> None:
    """Print rows: JSON if asked, a table on a terminal, else aligned text under a line of column names.

    JSON holds every key of a row, the others the `columns`. Bytes are store keys, None prints as "-" (null in JSON).
    """
    if as_json:
        # Imported here, as below, since who waits at a terminal waits for each import.
        import json

        click.echo(json.dumps([{key: _json_value(value) for key, value in row.items()} for row in rows], indent=2))
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _print_table(cells, columns, title)
        return
    lines = [list(columns), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@contextmanager
def progress(total: int | None, description: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr if that is a terminal; yield the function that takes each step's size."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda step: bar.advance(task, step)


def printable(text: str) -> str:
    """Return outside text fit for a terminal: whatever does not print is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def admin_source() -> str:
    """Name who does this: the user behind sudo, if there is one."""
    import getpass

    try:
        return f"admin:{os.environ.get('SUDO_USER') or getpass.getuser()}"
    except (KeyError, OSError):
        return f"admin:{os.getuid()}"


def _print_table(cells: Sequence[Sequence[str]], columns: Sequence[str], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in cells:
        table.add_row(*map(Text, line))
    Console().print(table)


def _json_value(value: Any) -> Any:
    return _key_text(value) if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bytes):
        return _key_text(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return printable(str(value))


def _key_text(key: bytes) -> str:
    try:
        return format_key(key)
    except AddrError:
        return key.hex()
