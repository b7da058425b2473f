"""`spamcannibal explain`: what is known of an address, and what would have to happen."""

import sys
from collections.abc import Iterator
from contextlib import closing

import click

from spamcannibal.addr import format_addr, format_key, parse_key
from spamcannibal.colours import Kind, kind_of
from spamcannibal.commands.common import json_option, load_settings, open_store, printable
from spamcannibal.commands.moments import HELP, journal_number, moment
from spamcannibal.explain import Account, Answer, Match, document, explain, mode_name, ways
from spamcannibal.record import FLAG_NAMES, SHADOW
from spamcannibal.rows import when
from spamcannibal.settings import Settings

HISTORY_SHOWN = 10
EVIDENCE_SHOWN = 3
BODY_SHOWN = 200


@click.command(epilog=HELP)
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--at", "at_ms", callback=moment, metavar="TIME", help="As it was then; default is now.")
@json_option
@click.pass_context
def command(ctx: click.Context, addresses: tuple[str, ...], at_ms: int | None, as_json: bool) -> None:
    """Tell everything that is known of ADDRESS: what lists it and why, what it gets, what DNS answers, its past.

    And of one that is not listed, what would have to happen. A prefix is told by what covers the whole of it. Exit 1 if
    any is refused, 0 if none.

    \b
    Examples:
      spamcannibal explain 192.0.2.7
      spamcannibal explain 192.0.2.7 --at 2026-11-01T08:15Z
      spamcannibal explain 2001:db8::25 --json | jq '.[0].matches[0].evidence'
    """
    settings = load_settings(ctx)
    packed = [parse_key(text) for text in addresses]
    zones = zone_kinds(settings)
    with closing(open_store(settings)) as store:
        seq = None if at_ms is None else journal_number(store, at_ms)
        accounts = [explain(store, zones, addr, seq) for addr in packed]
    if as_json:
        import json  # here, since people wait for each import

        click.echo(json.dumps([document(account, settings) for account in accounts], indent=2))
    else:
        for account in accounts:
            _say(_lines(account, settings, at_ms is not None))
    ctx.exit(1 if any(account.decision == "refused" for account in accounts) else 0)


def zone_kinds(settings: Settings) -> dict[str, Kind]:
    """Return what each zone of the settings shows, those of colours too."""
    kinds = {}
    for zone in settings.dnsbl.zone:
        kinds[zone.name] = kind_of("", zone.promiscuous, zone.sunset)
        kinds |= {f"{colour}.{zone.name}": kind_of(colour, False, zone.sunset) for colour in zone.colours}
    return kinds


def _lines(account: Account, settings: Settings, is_past: bool) -> Iterator[tuple[str, str]]:
    """Yield (what it is about, what there is to say)."""
    yield format_key(account.addr), _headline(account, settings, is_past)
    for match in account.matches:
        yield from _match_lines(match)
    if account.never:
        yield "never-list", account.never
    for answer in account.answers:
        yield "DNS", _answer_line(answer)
    if account.contact and not account.matches:
        contact = account.contact
        yield "contact", f"{contact.count} times, first {when(contact.first_ms)}, last {when(contact.last_ms)}"
    if account.checked and not account.matches:
        times = f", no answer {account.checked.unknown} times" if account.checked.unknown else ""
        yield "examined", f"{when(account.checked.checked_ms)} by blcheck{times}"
    if not account.matches:
        for way in ways(account, settings):
            yield "would list", way
    for change in account.history[-HISTORY_SHOWN:]:
        said = f" {change.text}" if change.text else ""
        words = f"#{change.seq} {when(change.time_ms)} {change.action.name.lower()} {format_key(change.key)}"
        yield "history", f"{words} by {change.source or '-'}{said}"


def _headline(account: Account, settings: Settings, is_past: bool) -> str:
    verb = "was" if is_past else "is"
    deciding = account.deciding
    if deciding is None:
        ended = account.was_listed
        before = f"; it was until {when(ended.time_ms)} ({ended.text or ended.source})" if ended else ""
        return f"{verb} not listed: its packets pass{before}"
    by = format_key(deciding.key)
    if account.decision == "refused":
        return f"{verb} refused ({mode_name(account.mode, settings)}), by {by}"
    if account.decision == "observed":
        return f"{verb} listed by {by}, but only observed: its packets pass"
    is_shadow = deciding.change.flags & SHADOW
    return f"passes: {by} is {'only counted (shadow)' if is_shadow else 'an exception (excluded)'}"


def _match_lines(match: Match) -> Iterator[tuple[str, str]]:
    change, listing = match.change, match.listing
    names = ", ".join(name for bit, name in FLAG_NAMES.items() if change.flags & bit)
    flags = f" [{names}]" if names else ""
    since = f" since {when(listing.listed_ms)}" if listing else ""
    until = f" until {when(change.expiry_ms)}" if change.expiry_ms else ""
    yield "listed by", f"{format_key(match.key)} {format_addr(change.code)}{since}{until}{flags} #{change.seq}"
    yield "  why", f"{change.source or '-'}: {change.text or '(no text)'}"
    if listing and listing.contact_ms:
        yield "  contact", f"last {when(listing.contact_ms)}"
    if match.contrib:
        for cause in match.contrib.causes:
            yield "  told by", f"{cause.zone}: {format_addr(cause.code)} {cause.text}"
    if match.trial:
        seen = match.trial
        packets = f"{seen.count} packets passed that it would refuse"
        yield (
            "  on trial",
            f"{packets}; by the logs {seen.accepted} mails accepted, {seen.rejected} times spoken against",
        )
    for piece in match.evidence[-EVIDENCE_SHOWN:]:
        body = " ".join(piece.body.decode("utf-8", "replace").split())[:BODY_SHOWN]
        yield "  evidence", f"{when(piece.time_ms)} {piece.source}: {body}"
    if len(match.evidence) > EVIDENCE_SHOWN:
        yield "", f"and {len(match.evidence) - EVIDENCE_SHOWN} older pieces: --json"


def _answer_line(answer: Answer) -> str:
    if answer.code is None:
        return f"{answer.zone}: not listed"
    return f"{answer.zone}: {format_addr(answer.code)}" + (
        f" by {format_key(answer.key)}" if answer.key else " (test point)"
    )


def _say(lines: Iterator[tuple[str, str]]) -> None:
    """Print an account: coloured on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        for what, said in lines:
            click.echo(printable(f"{what:11} {said}").rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, (what, said) in enumerate(lines):
        style = "bold" if number == 0 else "cyan"
        console.print(Text.assemble((f"{what:11} ", style), (printable(said), style if number == 0 else "")))
