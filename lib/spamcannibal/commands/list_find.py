"""`spamcannibal list find` and `list diff`: listings by what they say, and what changed between two times."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import click

from spamcannibal.addr import format_addr, parse_addr, parse_key
from spamcannibal.commands.common import emit, json_option, load_settings, open_store, progress
from spamcannibal.commands.moments import HELP, journal_span, moment
from spamcannibal.errors import AddrError, StoreError
from spamcannibal.record import FLAG_NAMES, Change
from spamcannibal.rows import LISTING_COLUMNS, listing_row, when
from spamcannibal.store.search import Found, Wanted, search, time_of
from spamcannibal.store.stores import Store

PAGE_LIMIT = 1000
DIFF_COLUMNS = ("key", "change", "before", "after", "time", "source", "text")

limit_option = click.option(
    "--limit", type=click.IntRange(0), default=100, show_default=True, help="Show at most so many; 0 for all."
)


def _prefix(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes | None:
    try:
        return None if value is None else parse_key(value)
    except AddrError as error:
        raise click.BadParameter(str(error)) from None


def _code(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes | None:
    try:
        return None if value is None else parse_addr(value)
    except AddrError as error:
        raise click.BadParameter(str(error)) from None


@click.command(epilog=HELP)
@click.option("--text", metavar="PART", help="Its text contains this, in any case.")
@click.option("--source", metavar="SOURCE", help="It comes from this source; * stands for anything: 'gather:*'.")
@click.option("--within", callback=_prefix, metavar="PREFIX", help="It lies in this prefix.")
@click.option("--code", callback=_code, metavar="127.x.y.z", help="DNS answers this.")
@click.option("--flag", type=click.Choice(list(FLAG_NAMES.values())), help="It has this flag.")
@click.option("--since", callback=moment, metavar="TIME", help="It was listed at this time or later.")
@click.option("--until", callback=moment, metavar="TIME", help="It was listed by this time.")
@limit_option
@json_option
@click.pass_context
def find(ctx: click.Context, /, limit: int, as_json: bool, **wanted: Any) -> None:
    """Show listings that have all that is asked for. Exit 1 if there are none.

    \b
    Examples:
      spamcannibal list find --source gather:192.0.2.25 --since 24h
      spamcannibal list find --within 198.51.100.0/22
      spamcannibal list find --text "zen.example" --json
    """
    with closing(open_store(load_settings(ctx))) as store:
        rows: list[dict[str, Any]] = []
        more = 0
        with progress(store.counts()["tarpit"], "looking") as step:
            for key, listing, change in _found(store, _wanted(store, wanted), step):
                if limit and len(rows) == limit:
                    more += 1
                else:
                    rows.append(listing_row(key, listing, change))
    emit(rows, LISTING_COLUMNS, as_json)
    if more:
        click.echo(f"… and {more} more; see --limit", err=True)
    ctx.exit(0 if rows else 1)


@click.command(epilog=HELP)
@click.argument("first", metavar="FROM", callback=moment)
@click.argument("last", metavar="[TO]", callback=moment, required=False)
@limit_option
@json_option
@click.pass_context
def diff(ctx: click.Context, first: int, last: int | None, limit: int, as_json: bool) -> None:
    """Show what was listed, unlisted or changed between two times; TO is now if it is left out.

    What was listed and unlisted again in between is not shown. Exit 1 if anything differs, 0 if not.

    \b
    Examples:
      spamcannibal list diff 24h
      spamcannibal list diff 2026-11-01 2026-11-08 --json
      spamcannibal list diff '#12000' '#12900'
    """
    from spamcannibal.store.timeline import difference

    rows: list[dict[str, Any]] = []
    counts = {"listed": 0, "unlisted": 0, "changed": 0}
    with closing(open_store(load_settings(ctx))) as store:
        start, end = journal_span(store, first, last)
        with progress(end - start, "comparing") as step:
            for moved in difference(store, start, end):
                step(1)
                if moved is None:
                    continue
                kind = "listed" if moved.before is None else "unlisted" if moved.after is None else "changed"
                counts[kind] += 1
                if not limit or len(rows) < limit:
                    told = moved.after or store.change_at(moved.key, end)
                    rows.append(_moved_row(moved.key, kind, moved.before, moved.after, told))
    emit(rows, DIFF_COLUMNS, as_json)
    if more := sum(counts.values()) - len(rows):
        click.echo(f"… and {more} more; see --limit", err=True)
    if not as_json:
        click.echo(
            f"{counts['listed']} listed, {counts['unlisted']} unlisted, {counts['changed']} changed"
            f" by changes {start + 1} to {end}"
            if end > start
            else "no changes",
            err=True,
        )
    ctx.exit(1 if any(counts.values()) else 0)


def _wanted(store: Store, given: dict[str, Any]) -> Wanted:
    """Return what the options ask for."""
    flag = next((bit for bit, name in FLAG_NAMES.items() if name == given["flag"]), 0)
    try:
        since_ms, until_ms = (None if given[n] is None else time_of(store, given[n]) for n in ("since", "until"))
    except StoreError as error:
        raise click.BadParameter(str(error)) from None
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise click.BadParameter("--since is later than --until")
    return Wanted(given["within"], given["text"] or "", given["source"] or "", given["code"], flag, since_ms, until_ms)


def _found(store: Store, wanted: Wanted, step: Callable[[int], None]) -> Iterator[Found]:
    """Yield the listings that are wanted, in key order."""
    after: bytes | None = None
    while True:
        part = search(store, wanted, after, PAGE_LIMIT, PAGE_LIMIT)
        step(part.looked)
        yield from part.rows
        after = part.after
        if after is None:
            return


def _moved_row(
    key: bytes, kind: str, before: Change | None, after: Change | None, told: Change | None
) -> dict[str, Any]:
    return {
        "key": key,
        "change": kind,
        "before": format_addr(before.code) if before else None,
        "after": format_addr(after.code) if after else None,
        "time": when(told.time_ms) if told else None,
        "source": told.source if told else "",
        "text": told.text if told else "",
        "seq": told.seq if told else None,
    }
