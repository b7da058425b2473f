"""`spamcannibal gather`: the listener for reports of mail servers in the foreground; send, query, status and import."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

import click

from spamcannibal.addr import parse_addr, parse_endpoint, parse_key, reachable
from spamcannibal.checks import is_endpoint
from spamcannibal.commands.common import dry_run_option, emit, json_option, load_settings, open_store, progress
from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.gather.client import say
from spamcannibal.gather.line import LINE_LIMIT_BYTES, VERBS, clean
from spamcannibal.settings import Settings

server_option = click.option("--server", metavar="WHERE", help="ADDRESS:PORT, or a socket's path.")
STATUS_COLUMNS = ("name", "weight", "tripped", *VERBS, "refused")


@click.group(invoke_without_command=True)
@click.option("--observe", is_flag=True, help="List nothing: only say what would be listed.")
@click.pass_context
def command(ctx: click.Context, observe: bool) -> None:
    """Take reports of mail servers in one line each, list whom enough of them report, and answer mail servers.

    Stops at SIGTERM; SIGHUP reads the settings again. conf/exim and conf/postfix show the mail servers' side.

    \b
    Examples:
      spamcannibal gather --observe
      spamcannibal gather send black 192.0.2.7 "six unknown recipients"
      spamcannibal gather query 192.0.2.7
      spamcannibal gather status
    """
    if ctx.invoked_subcommand is not None:
        return
    # Imported here, since --help needs no database library.
    from spamcannibal.commands.gather_serve import serve

    serve(ctx, observe)


@command.command()
@click.argument("colour", type=click.Choice(VERBS))
@click.argument("address")
@click.argument("reason", default="")
@click.option("--key-file", type=click.Path(), help="The shared key of the reporter that we are.")
@server_option
@click.pass_context
def send(ctx: click.Context, colour: str, address: str, reason: str, key_file: str | None, server: str | None) -> None:
    """Report an ADDRESS to the listener; it prints what that says to it.

    Exit 0 if the report was taken, 1 if it was refused, 75 if there is no listener.

    \b
    Examples:
      spamcannibal gather send black 192.0.2.7 "sent to a trap"
      spamcannibal gather send white 2001:db8::25 --server 192.0.2.1:10044 --key-file /etc/spamcannibal/mx1.key
    """
    parse_key(address)
    line = f"{colour} {address}"
    if key_file is not None:
        from pathlib import Path

        from spamcannibal.commands.credentials import read_key

        line += f" key={read_key(Path(key_file)).decode('ascii')}"
    answer = say(_where(ctx, server), f"{line} {clean(reason)}".rstrip())
    click.echo(answer)
    ctx.exit(0 if answer.partition(" ")[0] == "ok" else 1)


@command.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--explain", is_flag=True, help="Say who reported it, and what is lacking, too.")
@json_option
@server_option
@click.pass_context
def query(ctx: click.Context, addresses: tuple[str, ...], explain: bool, as_json: bool, server: str | None) -> None:
    """Ask the listener what it would say to a mail server: exit 1 if any of them is refused (black), 0 if none.

    \b
    Examples:
      spamcannibal gather query 192.0.2.7
      spamcannibal gather query --explain 2001:db8::7
    """
    where = _where(ctx, server)
    rows = []
    for address in addresses:
        parse_addr(address)
        rows.append({"address": address, "answer": say(where, f"{'explain' if explain else 'query'} {address}")})
    emit(rows, ("address", "answer"), as_json)
    ctx.exit(1 if any(row["answer"].partition(" ")[0] == "black" for row in rows) else 0)


@command.command()
@json_option
@server_option
@click.pass_context
def status(ctx: click.Context, as_json: bool, server: str | None) -> None:
    """Say what the running listener counted, and how its reporters do; --json says all of it.

    Exit 0; 75 if there is no listener, 1 if it does not answer us (gather.ask).
    """
    answer = say(_where(ctx, server), "status")
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise SpamCannibalError(f"the listener says {clean(answer)!r}: it does not answer us; see gather.ask") from None
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    figures = {name: value for name, value in found.items() if not isinstance(value, list | dict)}
    counts = {name: value for name, of in found.items() if isinstance(of, dict) for name, value in of.items()}
    emit([{"figure": name, "value": value} for name, value in (figures | counts).items()], ("figure", "value"))
    click.echo()
    emit([dict.fromkeys(VERBS, 0) | {"refused": 0} | row for row in found["reporters"]], STATUS_COLUMNS)


@command.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--at-least", type=click.IntRange(1), default=2, show_default=True, help="Lines it takes for black.")
@click.option("--expires", "expires_s", metavar="SECONDS", type=click.FloatRange(1), default=86400.0, show_default=True)
@dry_run_option
@json_option
@click.pass_context
def import_(ctx: click.Context, file: IO[bytes], at_least: int, expires_s: float, dry_run: bool, as_json: bool) -> None:
    """List what an old log of reports says: FILE has lines `black 192.0.2.7`, as socat writes them to karma.log.

    A line says neither when nor by whom, so an address must stand there --at-least so often to be black, and any other
    colour beats black as it does for the listener. Lines that are no report are counted. The never-list is asked, and
    listings of others stay.

    \b
    Examples:
      spamcannibal gather import /var/log/karma.log --dry-run
      spamcannibal gather import - --at-least 5 < karma.log
    """
    from spamcannibal.gather.logs import count_lines, verdicts

    settings = load_settings(ctx)
    size = os.fstat(file.fileno()).st_size if file.seekable() and file is not sys.stdin.buffer else None
    with progress(size, "Reading") as step:
        counted = count_lines(_lines(file, step), settings.guard.v6_prefix)
    found = verdicts(counted.colours, at_least)
    rows = _listed(settings, found, file.name, expires_s, dry_run)
    summary = {"lines": counted.lines, "refused": sum(counted.refused.values()), **rows}
    if as_json:
        click.echo(json.dumps({**summary, "why_refused": counted.refused}))
    else:
        emit([{"what": what, "count": count} for what, count in summary.items()], ("what", "count"))


def _listed(settings: Settings, found: dict[bytes, str], name: str, expires_s: float, dry_run: bool) -> dict[str, int]:
    """List keys in their colours; return how many came to what."""
    import time

    from spamcannibal.colours import COLOURS
    from spamcannibal.store.batch import NewListing
    from spamcannibal.store.reports import list_reported
    from spamcannibal.store.stores import BATCH_LIMIT

    if dry_run:
        return {"would_list": len(found)}
    now = time.time()
    expiry_ms = int((now + expires_s) * 1000)
    source = f"import:{clean(name)}"  # by hand: not counted by the breakers, and no report changes it
    items = [
        NewListing(key, COLOURS[of].code, source=source, expiry_ms=expiry_ms, flags=COLOURS[of].flags)
        for key, of in found.items()
    ]
    counts = {"listed": 0, "kept": 0, "forbidden": 0}
    store = open_store(settings)
    try:
        with progress(len(items), "Listing") as step:
            for at in range(0, len(items), BATCH_LIMIT):
                part = items[at : at + BATCH_LIMIT]
                for done in list_reported(store, part, now):
                    counts[done.value] += 1
                step(len(part))
    finally:
        store.close()
    return counts


def _lines(file: IO[bytes], step: Callable[[int], None]) -> Iterator[bytes]:
    """Yield lines; of one that is too long to be a report the beginning."""
    while line := file.readline(LINE_LIMIT_BYTES + 1):
        yield line
        while line:
            step(len(line))
            line = b"" if line.endswith(b"\n") else file.readline(LINE_LIMIT_BYTES)


def _where(ctx: click.Context, server: str | None) -> tuple[bytes, int] | str:
    """Return where the listener is: what --server says, else by the settings."""
    if server:
        return parse_endpoint(server) if is_endpoint(server) else server
    gather = load_settings(ctx).gather
    if gather.listen:
        return reachable(gather.listen[0])
    if gather.socket:
        return gather.socket
    raise ConfigError("gather.listen: nowhere to reach the listener without TLS; say --server")
