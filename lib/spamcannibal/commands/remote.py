"""`spamcannibal remote`: what other people's blocklists say about addresses, and how these lists fare."""

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import click

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.commands.common import emit, json_option, load_settings, printable, progress
from spamcannibal.errors import AddrError, ConfigError, SpamCannibalError
from spamcannibal.events import EventLog
from spamcannibal.jobs.labels import REVERSE
from spamcannibal.remote.catalogue import chosen
from spamcannibal.remote.client import Client
from spamcannibal.remote.verdict import Outcome, Verdict
from spamcannibal.remote.watch import Summary
from spamcannibal.rows import when

CHECK_COLUMNS = ("address", "list", "says", "code", "reason", "text")
HEALTH_COLUMNS = ("who", "family", "state", "why", "checked")
NOT_TOLD = 3
WRONG_SHOWN = 5
OK, WARNING, CRITICAL, UNKNOWN = range(4)
NAGIOS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

nagios_option = click.option("--nagios", is_flag=True, help="One line and the exit code for Nagios and its kin.")


@click.group()
def command() -> None:
    """Ask other people's blocklists: the lists of remote.lists."""


@command.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--zone", "zones", metavar="NAME", multiple=True, help="Ask this list only (may be repeated).")
@click.option("--critical", type=float, default=1.0, show_default=True, help="With --nagios: the sum of weights.")
@nagios_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    addresses: tuple[str, ...],
    zones: tuple[str, ...],
    critical: float,
    nagios: bool,
    as_json: bool,
) -> None:
    """Say what each list says about ADDRESSES: listed, clear, or unknown and why.

    Exit 1 if any list has any of them; else 3 if some list could not tell, 0 if all say clear.

    With --nagios exit 2 (CRITICAL) if the weights of the lists that have an address reach --critical, 1 (WARNING) if
    any has one, 3 (UNKNOWN) if no list could tell about one, else 0 (OK).

    \b
    Examples:
      spamcannibal remote check 192.0.2.7 2001:db8::7
      spamcannibal remote check 192.0.2.7 --zone bl.example.org --json
      spamcannibal remote check 192.0.2.25 --nagios
    """
    with _reported(ctx, nagios):
        wanted = list(dict.fromkeys(map(parse_addr, addresses)))
        with _client(ctx) as client:
            verdicts = client.verdicts(wanted, [zone.lower() for zone in zones] or None)
    answers = [(addr, verdict) for addr in wanted for verdict in verdicts[addr]]
    outcomes = {verdict.outcome for _, verdict in answers}
    if nagios:
        _plugin_check(ctx, verdicts, critical)
    emit([_verdict_row(addr, verdict) for addr, verdict in answers], CHECK_COLUMNS, as_json)
    if Outcome.LISTED in outcomes:
        ctx.exit(1)
    ctx.exit(NOT_TOLD if Outcome.UNKNOWN in outcomes or not all(verdicts.values()) else 0)


@command.command()
@click.option("--known", is_flag=True, help="Test only what is due, else say what earlier tests found.")
@nagios_option
@json_option
@click.pass_context
def health(ctx: click.Context, known: bool, nagios: bool, as_json: bool) -> None:
    """Test resolvers and lists, and say which lists are set aside and why.

    Reverse DNS is tested, too, if a rule of [jobs] needs it. Exit 1 if it or any list is set aside or any resolver is
    down, 75 if all resolvers are down. With --nagios: 1 (WARNING) for some, 2 (CRITICAL) for all lists, 3 (UNKNOWN)
    without resolvers or lists.

    \b
    Examples:
      spamcannibal remote health
      spamcannibal remote health --known --nagios
    """
    with _reported(ctx, nagios):
        jobs = load_settings(ctx).jobs
        is_asked = jobs.missing_ptr or bool(jobs.generic_ptr)
        with _client(ctx) as client:
            summary = client.healthy(force=not known)
            reverse = client.test_reverse() if is_asked else None
    if nagios:
        _plugin_health(ctx, summary, reverse)
    emit(_health_rows(summary, reverse), HEALTH_COLUMNS, as_json)
    whys = [one.why for one in summary.resolvers] + [one.why for one in summary.lists]
    ctx.exit(1 if reverse or any(whys) else 0)


@command.command()
@click.argument("file", metavar="FILE", type=click.File("r", encoding="utf-8", errors="backslashreplace"))
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: a line as soon as an address is done.")
@click.option(
    "--picture", metavar="FILE.svg", type=click.Path(dir_okay=False), help="Draw it, as SVG, PNG or PDF by the name."
)
@json_option
@click.pass_context
def matrix(ctx: click.Context, file: TextIO, as_csv: bool, picture: str | None, as_json: bool) -> None:
    """Ask all lists about the addresses in FILE (- is standard input), one a line: addresses x lists.

    A cell is the list's codes, "-" for clear, "?" for unknown, empty where the list does not have the family. Exit 0
    when all were asked, whatever the lists say.

    \b
    Examples:
      spamcannibal remote matrix suspects.txt
      spamcannibal remote matrix suspects.txt --csv > suspects.csv
      spamcannibal remote matrix - --picture suspects.svg < suspects.txt
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    addrs = _addresses(file)
    with _client(ctx) as client, progress(len(addrs), "asking") as advance:
        found = client.stream(addrs, progress=advance)
        if as_csv and not picture:
            _write_csv(client.zones, found)
            return
        verdicts = dict(found)
    if picture:
        # Imported here, since it takes a second.
        from spamcannibal.commands.picture import draw_matrix

        draw_matrix(picture, client.zones, [(format_addr(addr), verdicts[addr]) for addr in addrs])
    if as_csv:
        _write_csv(client.zones, ((addr, verdicts[addr]) for addr in addrs))
    elif as_json:
        emit([_verdict_row(addr, verdict) for addr in addrs for verdict in verdicts[addr]], (), as_json)
    elif not picture:
        rows = [{"address": format_addr(addr), **_cells(verdicts[addr])} for addr in addrs]
        emit(rows, ("address", *client.zones))


def _client(ctx: click.Context) -> Client:
    """Return the client of the settings; ConfigError if they name no list."""
    settings = load_settings(ctx)
    lists = chosen(settings.remote, lambda line: click.echo(f"spamcannibal: {line}", err=True))
    if not lists:
        raise ConfigError(f"remote.lists: no lists to ask; name some of {settings.remote.lists_dir}")
    return Client(settings.remote, lists, EventLog(sys.stderr, settings.log.format))


@contextmanager
def _reported(ctx: click.Context, nagios: bool) -> Iterator[None]:
    """Turn an error into Nagios's UNKNOWN, if that is asked for."""
    try:
        yield
    except SpamCannibalError as error:
        if not nagios:
            raise
        _plugin(ctx, UNKNOWN, str(error))


def _plugin(ctx: click.Context, status: int, text: str, **figures: int) -> NoReturn:
    """Print the line of a Nagios plug-in and exit; in its text "|" would begin the figures."""
    line = f"REMOTE {NAGIOS[status]} - {printable(text).replace('|', '/')}"
    told = " ".join(f"{name}={count}" for name, count in figures.items())
    click.echo(f"{line} | {told}" if told else line)
    ctx.exit(status)


def _plugin_check(ctx: click.Context, verdicts: Mapping[bytes, Sequence[Verdict]], critical: float) -> NoReturn:
    """Say in one line who is listed where."""
    counts = Counter(verdict.outcome for told in verdicts.values() for verdict in told)
    figures = {outcome.value: counts[outcome] for outcome in Outcome}
    hits = [
        f"{format_addr(addr)} is listed by {verdict.zone} ({_codes(verdict)})"
        for addr, told in verdicts.items()
        for verdict in told
        if verdict.outcome is Outcome.LISTED
    ]
    if hits:
        heaviest = max(sum(verdict.weight for verdict in told) for told in verdicts.values())
        _plugin(ctx, CRITICAL if heaviest >= critical else WARNING, "; ".join(hits), **figures)
    untold = [
        format_addr(addr)
        for addr, told in verdicts.items()
        if all(verdict.outcome is Outcome.UNKNOWN for verdict in told)
    ]
    if untold:
        _plugin(ctx, UNKNOWN, f"no list could tell about {', '.join(untold)}", **figures)
    _plugin(ctx, OK, f"{len(verdicts)} addresses in no list", **figures)


def _plugin_health(ctx: click.Context, summary: Summary, reverse: str | None) -> NoReturn:
    """Say in one line who is set aside or down."""
    aside = [f"{one.zone} {one.family}: {one.why}" for one in summary.lists if one.why]
    down = [f"{one.endpoint}: {one.why}" for one in summary.resolvers if one.why]
    figures = {"lists": len(summary.lists), "aside": len(aside), "resolvers": len(summary.resolvers), "down": len(down)}
    unnamed = [f"{REVERSE}: {reverse}"] if reverse else []
    told = "; ".join([*aside, *unnamed, *down]) or f"{len(summary.lists)} lists answer as they should"
    status = CRITICAL if len(aside) == len(summary.lists) else WARNING if aside or unnamed or down else OK
    _plugin(ctx, status, told, **figures)


def _verdict_row(addr: bytes, verdict: Verdict) -> dict[str, Any]:
    return {
        "address": format_addr(addr),
        "list": verdict.zone,
        "says": verdict.outcome.value,
        "code": _codes(verdict) or None,
        "reason": verdict.reason or None,
        "text": verdict.text or None,
        "weight": verdict.weight,
        "ttl_s": verdict.ttl_s,
    }


def _health_rows(summary: Summary, reverse: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"who": one.endpoint, "family": None, "state": "down" if one.why else "alive", "why": one.why or None}
        for one in summary.resolvers
    ]
    if reverse is not None:
        rows.append({"who": REVERSE, "family": None, "state": "aside" if reverse else "good", "why": reverse or None})
    for one in summary.lists:
        checked = when(int(one.checked * 1000)) if one.checked else None
        state = "aside" if one.why else "good" if checked else "not tested"
        rows.append({"who": one.zone, "family": one.family, "state": state, "why": one.why or None, "checked": checked})
    return rows


def _addresses(file: TextIO) -> list[bytes]:
    """Return the addresses of a file, each once, in its order; every mistake is told, in one error."""
    name = printable(getattr(file, "name", "-"))
    found: dict[bytes, None] = {}
    wrong = []
    for number, line in enumerate(file, 1):
        for word in line.partition("#")[0].split():
            try:
                found[parse_addr(word)] = None
            except AddrError as error:
                wrong.append(f"{name}:{number}: {error}")
    if wrong:
        more = f" (and {len(wrong) - WRONG_SHOWN} more)" if len(wrong) > WRONG_SHOWN else ""
        raise AddrError("; ".join(wrong[:WRONG_SHOWN]) + more)
    return list(found)


def _write_csv(zones: Sequence[str], found: Iterable[tuple[bytes, Sequence[Verdict]]]) -> None:
    out = csv.DictWriter(sys.stdout, ("address", *zones), restval="", lineterminator="\n")
    out.writeheader()
    for addr, verdicts in found:
        out.writerow({"address": format_addr(addr), **_cells(verdicts)})


def _cells(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return a row's cells by zone."""
    signs = {Outcome.CLEAR: "-", Outcome.UNKNOWN: "?"}
    return {verdict.zone: signs.get(verdict.outcome) or _codes(verdict) for verdict in verdicts}


def _codes(verdict: Verdict) -> str:
    return " ".join(map(format_addr, verdict.codes))
