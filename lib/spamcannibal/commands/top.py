"""`spamcannibal top`: who is held, how much comes and goes, what is listed: live on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spamcannibal.commands.common import json_option, load_settings, printable
from spamcannibal.rows import when

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spamcannibal.activity.live import Reading
    from spamcannibal.settings import Settings
    from spamcannibal.store.stores import Store

CHANGES = 20
CHANGES_LOOKED_AT = 1000
HEAD_LINES = 12  # of the screen, beside sources and changes
STORE_S = 1.0
COLUMNS = {"source": "source", "held_s": "held for", "quiet_s": "quiet for", "packets": "packets", "port": "port"}


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Show one interval, then end.")
@json_option
@click.pass_context
def command(ctx: click.Context, interval: float, once: bool, as_json: bool) -> None:
    """Watch rates, held sources and connections, who is held longest, recent changes of the list, DNS queries.

    It only reads: the database, and what tarpit and DNS server tell each second beside it. What can't be told is "-"
    (in JSON: null). With --json each interval is a line. Ctrl-C ends it.

    \b
    Examples:
      spamcannibal top
      spamcannibal top --once --json | jq .tarpit
    """
    from spamcannibal.service import Signals

    settings = load_settings(ctx)
    with Signals() as signals, closing(_Watch(settings)) as watch:
        documents = _documents(watch, signals, interval)
        if once:
            documents = islice(documents, 1)
        if as_json or not sys.stdout.isatty():
            for document in documents:
                click.echo(json.dumps(document) if as_json else "\n".join(_plain(document)))
            return
        _show(documents)


class _Watch:
    """What is looked at; the store is opened when it can be, and again after it failed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: Store | None = None

    def read(self) -> Reading:
        from spamcannibal.activity.live import Reading
        from spamcannibal.errors import SpamCannibalError
        from spamcannibal.happenings import read_fresh
        from spamcannibal.store.recent import changes_since

        now, folder = time.time(), Path(self._settings.store.path)
        changes = listings = None
        try:
            store = self._opened()
            if store is not None:
                changes = list(islice(changes_since(store, 0, CHANGES_LOOKED_AT), CHANGES))
                listings = store.counts()["tarpit"]
        except SpamCannibalError:
            self.close()
        tarpit, dnsbl = (read_fresh(folder, name, now) for name in ("tarpit", "dnsbl"))
        return Reading(int(now * 1000), tarpit, dnsbl, changes, listings)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> Store | None:
        from spamcannibal.commands.reading import opened_for_reading
        from spamcannibal.doctor.finding import Untold, Wrong

        if self._store is None:
            opened = opened_for_reading(self._settings, STORE_S)
            self._store = None if isinstance(opened, Untold | Wrong) else opened
        return self._store


def _documents(watch: _Watch, signals: Any, interval_s: float) -> Iterator[dict[str, Any]]:
    """Yield what there is to show after each interval."""
    from spamcannibal.activity.live import document

    before = watch.read()
    signals.wait(interval_s)
    while not signals.stop:
        after = watch.read()
        yield document(before, after, when)
        before = after
        signals.wait(interval_s)


def _show(documents: Iterator[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for document in documents:
            live.update(_screen(document, console.size.height), refresh=True)


def _screen(document: dict[str, Any], height: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    room = max(2, (height - HEAD_LINES) // 2)
    sources = Table(title="Held longest", title_justify="left", expand=True)
    for name in COLUMNS.values():
        sources.add_column(name, justify="left" if name == "source" else "right", no_wrap=True)
    for row in _source_cells(document)[:room]:
        sources.add_row(*map(Text, row))
    changes = Table(title="Changes of the list", title_justify="left", expand=True)
    for name in ("time", "action", "address", "source", "text"):
        changes.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in _change_cells(document)[:room]:
        changes.add_row(*map(Text, row))
    head = Text("\n".join(_head(document)))
    return Group(head, sources, changes)


def _plain(document: dict[str, Any]) -> Iterator[str]:
    """Yield lines for who is no terminal."""
    yield from _head(document)
    for row in _source_cells(document):
        yield "held     " + "  ".join(row)
    for row in _change_cells(document):
        yield "change   " + "  ".join(row)


def _head(document: dict[str, Any]) -> list[str]:
    tarpit, dns = document["tarpit"], document["dns"]
    lines = [f"{document['time']}  {_number(document['listings'])} listed"]
    if tarpit is None:
        lines.append("tarpit   tells nothing: it does not run")
    else:
        packets = ", ".join(f"{_number(rate)} {name}" for name, rate in tarpit["packets_per_s"].items())
        lines.append(f"held     {tarpit['sources']:,} sources, {tarpit['connections']:,} connections by stutter")
        lines.append(f"packets  {packets} a second")
        lines.append(
            f"bytes    {_number(tarpit['bytes_in_per_s'])} in, {_number(tarpit['bytes_out_per_s'])} out a second"
        )
    if dns is None:
        lines.append("DNS      tells nothing: it does not run")
    else:
        outcomes = ", ".join(f"{_number(rate)} {name}" for name, rate in dns["outcomes_per_s"].items())
        lines.append(f"DNS      {_number(dns['queries_per_s'])} queries a second{f': {outcomes}' if outcomes else ''}")
    return lines


def _source_cells(document: dict[str, Any]) -> list[list[str]]:
    from spamcannibal.activity.tables import shown_span

    return [
        [
            row["source"],
            shown_span(row["held_s"] * 1000),
            shown_span(row["quiet_s"] * 1000),
            _number(row["packets"]),
            str(row["port"] or "-"),
        ]
        for row in document["sources"]
    ]


def _change_cells(document: dict[str, Any]) -> list[list[str]]:
    names = ("time", "action", "key", "source", "text")
    return [[printable(str(row[name] or "-")) for name in names] for row in document["changes"] or []]


def _number(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"
