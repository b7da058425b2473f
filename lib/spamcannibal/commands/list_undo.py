"""`spamcannibal list undo`: take changes back."""

import time
from collections.abc import Iterator
from contextlib import closing

import click

from spamcannibal.commands.common import (
    admin_source,
    dry_run_option,
    emit,
    json_option,
    load_settings,
    open_store,
    printable,
    progress,
)
from spamcannibal.commands.moments import HELP, journal_span, moment
from spamcannibal.store import undo
from spamcannibal.store.stores import Store

COLUMNS = ("key", "done", "seq", "why")


@click.command(name="undo", epilog=HELP)
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=click.IntRange(1))
@click.option("--source", metavar="SOURCE", help="All changes from this source; * stands for anything: 'gather:*'.")
@click.option("--since", callback=moment, metavar="TIME", help="With --source: changes after this time.")
@click.option("--until", callback=moment, metavar="TIME", help="With --source: changes up to this time; default now.")
@click.option("--reason", default="", help="Why, for the journal.")
@dry_run_option
@json_option
@click.pass_context
def undo_(
    ctx: click.Context,
    numbers: tuple[int, ...],
    source: str | None,
    since: int | None,
    until: int | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take back journal changes by NUMBER, or all of a source since a time: what was listed goes, what went comes back.

    `list show` and `explain` give the numbers. A listing that somebody else changed since is left as it is. An undo is
    a change too, and can be undone. Exit 1 if anything was left, or if there is nothing of that source.

    \b
    Examples:
      spamcannibal list undo 1234
      spamcannibal list undo --source gather:192.0.2.25 --since 1h --dry-run
      spamcannibal list undo --source 'import:drop*' --since 2026-11-24T10:00Z --reason "wrong file"
    """
    if bool(numbers) == bool(source) or (source is None and (since or until)):
        raise click.UsageError("want either NUMBERs, or --source SOURCE and --since TIME")
    if source and since is None:
        raise click.UsageError("--source wants --since TIME; for all of it --since 1970-01-01")
    now = time.time()
    with closing(open_store(load_settings(ctx))) as store:
        chosen = _numbered(store, numbers) if source is None else _of_source(store, source, since or 0, until)
        with progress(len(chosen), "undoing") as step:

            def steps() -> Iterator[undo.Step]:
                for key, seqs in chosen.items():
                    yield undo.plan(store, key, seqs, now)
                    step(1)

            if dry_run:
                done = [undo.outcome(store, each) for each in steps()]
            else:
                why = reason or f"undo of {_named(numbers, source)}"
                done = list(undo.apply(store, steps(), admin_source(), why, now))
    rows = [{**each._asdict(), "why": each.why or None, "seq": each.seq or None} for each in done]
    if rows or as_json:
        emit(rows, COLUMNS, as_json, "would do" if dry_run else "")
    if not rows:
        click.echo(printable(f"nothing to undo: {source} changed nothing in that time"), err=True)
    ctx.exit(1 if not rows or any(each.done == "left" for each in done) else 0)


def _numbered(store: Store, numbers: tuple[int, ...]) -> dict[bytes, list[int]]:
    last = store.last_seq()
    if beyond := [number for number in numbers if number > last]:
        raise click.BadParameter(f"the journal has no change number {beyond[0]}; its last is {last}")
    return undo.numbered(store, numbers)


def _of_source(store: Store, source: str, since: int, until: int | None) -> dict[bytes, list[int]]:
    return undo.select(store, *journal_span(store, since, until), source)


def _named(numbers: tuple[int, ...], source: str | None) -> str:
    if source is not None:
        return source
    shown = ", ".join(f"#{number}" for number in numbers[:5])
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"
