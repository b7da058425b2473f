"""`spamcannibal list`: add, remove or show listings."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import IO, Any

import click

from spamcannibal.addr import parse_addr, parse_key, parse_listing_key, split_key
from spamcannibal.colours import COLOURS
from spamcannibal.commands.common import (
    admin_source,
    dry_run_option,
    emit,
    json_option,
    load_settings,
    open_store,
    printable,
)
from spamcannibal.commands.list_find import diff, find
from spamcannibal.commands.list_import import import_
from spamcannibal.commands.list_shadow import promote, shadow, trial_row
from spamcannibal.commands.list_undo import undo_
from spamcannibal.commands.moments import duration
from spamcannibal.decode import shown
from spamcannibal.errors import AddrError, SpamCannibalError
from spamcannibal.record import PUBLISHED, SHADOW, Listing, Mode
from spamcannibal.rows import LISTING_COLUMNS, change_row, contrib_row, listing_row, piece_row
from spamcannibal.settings import Settings
from spamcannibal.store.stores import BATCH_LIMIT, NewListing, Store

PAGE_LIMIT = 1000
ADDRESSES_HELP = "ADDRESSES are addresses or prefixes; - reads them from standard input, one a line."


def _code(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    """Read an answer code."""
    try:
        code = parse_addr(value)
    except AddrError as error:
        raise click.BadParameter(str(error)) from None
    if not bytes((127, 0, 0, 2)) <= code <= bytes((127, 255, 255, 255)) or len(code) != 4:
        raise click.BadParameter(f"got {shown(value)}, want 127.0.0.2 to 127.255.255.255; --colour white for 127.0.0.1")
    return code


@click.group()
def command() -> None:
    """Add, import, remove, find or show listings; try them out before they refuse.

    What is added is refused by the tarpit within a second, everywhere that follows this database.
    """


@command.command(epilog=ADDRESSES_HELP)
@click.argument("addresses", nargs=-1, required=True)
@click.option("--text", default="", help="Why, as shown to the world.")
@click.option(
    "--code", callback=_code, default="127.0.0.2", metavar="127.x.y.z", show_default=True, help="What DNS answers."
)
@click.option(
    "--colour", type=click.Choice(sorted(COLOURS)), help="As mail servers report; decides code and where it shows."
)
@click.option(
    "--mode", type=click.Choice([mode.name.lower() for mode in Mode]), default="default", help="How to refuse."
)
@click.option(
    "--expires",
    callback=duration,
    metavar="DURATION",
    help="Take it off after this time, such as 36h or 30d; default never.",
)
@click.option("--evidence", type=click.File("rb"), help="The proof: a file with the message; default is the text.")
@click.option(
    "--publish/--private", default=True, show_default=True, help="Answer for it in DNS, or only refuse it here."
)
@click.option("--shadow", is_flag=True, help="Only count what it would refuse: see list shadow, list promote.")
@dry_run_option
@json_option
@click.pass_context
def add(ctx: click.Context, /, addresses: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:
    """List ADDRESSES, all of them or none (of each 1,000).

    An IPv6 address stands for its /64, or what guard.v6_prefix says; write /128 for the host alone. Listing again
    changes what is different. The never-list is asked; no option overrides it.

    --colour puts it into the zone of that colour; all but black are neither refused here nor in the plain zone.

    --shadow puts it on trial: it refuses nobody and is not published. What is listed for good already is left alone.

    \b
    Examples:
      spamcannibal list add 192.0.2.7 --text "spam to a trap" --evidence mail.eml
      spamcannibal list add 198.51.100.0/24 --expires 30d --mode drop --private
      spamcannibal list add - --text "from our firewall" < bad-hosts
      spamcannibal list add 203.0.113.0/24 --text "our new rule" --shadow
    """
    settings = load_settings(ctx)
    keys = _keys(addresses, settings)
    now = time.time()
    evidence: IO[bytes] | None = options["evidence"]
    body = evidence.read(settings.store.evidence_limit_bytes) if evidence else None
    made = [_new(key, options, body, now) for key in keys]
    store = open_store(settings)
    try:
        rows = _add(store, made, now, dry_run)
    finally:
        store.close()
    emit(rows, ("key", "done", "seq"), as_json, "would do" if dry_run else "")


@command.command(epilog=ADDRESSES_HELP)
@click.argument("addresses", nargs=-1, required=True)
@click.option("--reason", default="", help="Why, for the journal.")
@dry_run_option
@json_option
@click.pass_context
def remove(ctx: click.Context, addresses: tuple[str, ...], reason: str, dry_run: bool, as_json: bool) -> None:
    """Take ADDRESSES off the list, with their evidence. Exit 1 if any was not listed as written.

    An address that is listed by a prefix around it stays so: remove that prefix.

    \b
    Examples:
      spamcannibal list remove 192.0.2.7 --reason "owner cleaned up"
    """
    settings = load_settings(ctx)
    keys = _keys(addresses, settings)
    store = open_store(settings)
    try:
        rows = _remove(store, keys, reason, dry_run)
    finally:
        store.close()
    emit(rows, ("key", "done", "seq"), as_json, "would do" if dry_run else "")
    ctx.exit(0 if all(row["seq"] != 0 for row in rows) else 1)


@command.command(epilog=ADDRESSES_HELP)
@click.argument("addresses", nargs=-1)
@click.option(
    "--limit", type=click.IntRange(0), default=100, show_default=True, help="Show at most so many; 0 for all."
)
@json_option
@click.pass_context
def show(ctx: click.Context, addresses: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Show the list, or what covers ADDRESSES: why, and (with --json) evidence and history.

    Exit 1 if any of them is not listed.

    \b
    Examples:
      spamcannibal list show
      spamcannibal list show 192.0.2.7 --json
    """
    store = open_store(load_settings(ctx))
    try:
        if not addresses:
            rows = _page(store, limit)
            emit(rows, LISTING_COLUMNS, as_json)
            more = store.counts()["tarpit"] - len(rows)
            if more > 0:
                click.echo(f"… and {more} more; see --limit", err=True)
            return
        found = [(text, _find(store, text)) for text in _words(addresses)]
        emit([row for _, row in found if row is not None], LISTING_COLUMNS, as_json)
    finally:
        store.close()
    missing = [text for text, row in found if row is None]
    for text in missing:
        click.echo(f"{printable(text)}: not listed", err=True)
    ctx.exit(1 if missing else 0)


def _words(addresses: Sequence[str]) -> Iterator[str]:
    """Yield the arguments, and the words of standard input in place of "-"; SpamCannibalError if there are none."""
    is_empty = True
    for word in chain.from_iterable(_read_words() if text == "-" else (text,) for text in addresses):
        is_empty = False
        yield word
    if is_empty:
        raise SpamCannibalError("standard input names no address: nothing to do")


def _read_words() -> Iterator[str]:
    for line in sys.stdin:
        yield from line.partition("#")[0].split()


def _keys(addresses: Sequence[str], settings: Settings) -> list[bytes]:
    """Give the keys to list, each once; every mistake is told, in one error."""
    keys: dict[bytes, None] = {}
    wrong = []
    for text in _words(addresses):
        try:
            keys[parse_listing_key(text, settings.guard.v6_prefix)] = None
        except AddrError as error:
            wrong.append(str(error))
    if wrong:
        raise AddrError("; ".join(wrong))
    return list(keys)


def _new(key: bytes, options: dict[str, Any], evidence: bytes | None, now: float) -> NewListing:
    colour = COLOURS.get(options["colour"])
    return NewListing(
        key,
        code=colour.code if colour else options["code"],
        text=options["text"],
        source=admin_source(),
        mode=Mode[options["mode"].upper()],
        expiry_ms=int((now + options["expires"]) * 1000) if options["expires"] else 0,
        evidence=evidence,
        flags=(colour.flags if colour else PUBLISHED if options["publish"] else 0)
        | (SHADOW if options["shadow"] else 0),
    )


def _add(store: Store, made: list[NewListing], now: float, dry_run: bool) -> list[dict[str, Any]]:
    for item in made:
        store.guard.check(item.key)
    rows: list[dict[str, Any]] = []
    for part in _parts(made):
        pairs = list(zip(part, store.records("tarpit", [item.key for item in part]), strict=True))
        wanted = [(item, old) for item, old in pairs if not _is_settled(item, old)]
        rows += ({"key": item.key, "done": "left", "seq": old.seq} for item, old in pairs if _is_settled(item, old))
        seqs = [None] * len(wanted) if dry_run else store.list([item for item, _ in wanted], now)
        for (item, old), seq in zip(wanted, seqs, strict=True):
            same = "already so" if old and old.seq == seq else "changed"
            rows.append({"key": item.key, "done": same if old else "listed", "seq": seq})
    return rows


def _is_settled(item: NewListing, old: Listing | None) -> bool:
    """Tell whether what is to go on trial is listed for good."""
    return old is not None and bool(item.flags & SHADOW) and not old.flags & SHADOW


def _remove(store: Store, keys: list[bytes], reason: str, dry_run: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in _parts(keys):
        if dry_run:
            seqs = [None if store.get_key(key) else 0 for key in part]
        else:
            seqs = list(store.unlist(part, admin_source(), reason, time.time()))
        rows += (
            {"key": key, "done": "not listed" if seq == 0 else "removed", "seq": seq}
            for key, seq in zip(part, seqs, strict=True)
        )
    return rows


def _page(store: Store, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: bytes | None = None
    while page := store.page("tarpit", after, min(limit - len(rows), PAGE_LIMIT) if limit else PAGE_LIMIT):
        rows += (listing_row(key, listing, store.change(listing.seq)) for key, listing in page)
        after = page[-1][0]
        if limit and len(rows) >= limit:
            break
    return rows


def _find(store: Store, text: str) -> dict[str, Any] | None:
    """Give the row of what covers an address, or is exactly the prefix."""
    key = parse_key(text)
    addr, plen = split_key(key)
    listing: Listing | None
    if plen == len(addr) * 8:
        key, listing = store.get(addr) or (key, None)
    else:
        listing = store.get_key(key)
    if listing is None:
        return None
    row = listing_row(key, listing, store.change(listing.seq))
    row["contrib"] = contrib_row(store.contrib(key))
    row["evidence"] = [piece_row(piece) for piece in store.evidence(key)]
    if listing.flags & SHADOW:
        row["trial"] = trial_row(store, key)
    row["history"] = [change_row(change) for change in store.history(key)]
    return row


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    return (items[at : at + BATCH_LIMIT] for at in range(0, len(items), BATCH_LIMIT))


for _part in (find, diff, import_, undo_, shadow, promote):
    command.add_command(_part)
