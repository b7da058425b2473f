"""`spamcannibal replay`: what the list would have done to packets, or to mail, that came by."""

import json
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from spamcannibal.commands.against import Readable, against, at_option, listings_option, plain
from spamcannibal.commands.common import emit, json_option, load_settings, printable
from spamcannibal.commands.moments import HELP

PARTIAL = 4
MODES = ["throttle", "persist", "stutter", "drop", "observe"]


@click.command(epilog=HELP)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=Readable(allow_dash=True))
@click.option("--lists", is_flag=True, help="FILEs are logs of mail servers: tell what accepted mail would be refused.")
@at_option
@listings_option
@click.option("--mode", type=click.Choice(MODES), help="As if this were [tarpit] mode.")
@click.option("--port", "ports", type=click.IntRange(0, 65535), multiple=True, help="Instead of [firewall] ports.")
@click.option("--picture", type=click.Path(), metavar="FILE", help="Draw it: FILE.svg, FILE.png or FILE.pdf.")
@click.option("--keep", is_flag=True, help="With --lists: note in the database what it says of shadow listings.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Show so many rows; 0 for all.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], lists: bool, keep: bool, **options: Any) -> None:
    """Tell what the tarpit would have done with the packets of captures, by the listings of now; nothing is sent.

    FILEs are pcap or pcapng, perhaps gzipped; - is standard input. The decisions are those of the tarpit, each packet
    by itself: without its bandwidth limit, and without the bytes of stutter. Packets to other ports don't reach it.
    Ethernet, VLANs, Linux cooked, raw IP and loopback are read; packets of other link types are counted.

    With --lists FILEs are logs of Postfix, Exim or Sendmail, perhaps gzipped: how much of the mail that they accepted
    the listings would have refused, which entries and whose, and what shadow listings would. --keep notes the latter
    for `list shadow` and `list promote`, in place of what was noted before: give it all the logs there are. An entry
    that would have refused accepted mail stays marked. Logs that are damaged, or in which no mail was accepted, are
    not noted. Of one entry 10,000 clients and 1,000 senders are told apart.

    Exit 0 done, 1 --keep found no accepted mail, 4 a file is damaged, or holds what can't be read or listed: figures
    are of the rest; 65 no capture.

    \b
    Examples:
      tcpdump -i eth0 -s 128 -w mail.pcap tcp port 25
      spamcannibal replay mail.pcap --picture mail.svg
      spamcannibal replay mail.pcap --listings drop.txt --mode drop --json
      spamcannibal replay --lists /var/log/mail.log*
      spamcannibal replay --lists /var/log/mail.log* --keep
    """
    if keep and not lists:
        raise click.UsageError("--keep goes with --lists")
    settings = load_settings(ctx)
    if lists:
        # Imported here, since it reads no packets, and the other no logs.
        from spamcannibal.commands.replay_mails import replay_mails

        ctx.exit(replay_mails(settings, files, keep, options))
    if options["mode"]:
        tarpit = msgspec.structs.replace(settings.tarpit, mode=options["mode"])
        settings = msgspec.structs.replace(settings, tarpit=tarpit)
    from spamcannibal.commands.replay_packets import SOURCE_COLUMNS, draw, run, source_rows, totals

    with against(settings, options["at_ms"], options["listings"]) as found:
        replay, read = run(found, settings, files, options["ports"] or settings.firewall.ports)
        rows = source_rows(replay, found, options["limit"])
    told = totals(replay, read)
    if options["picture"]:
        draw(options["picture"], replay, rows)
    if options["as_json"]:
        click.echo(json.dumps({**told, "sources": list(map(plain, rows))}, indent=2))
    else:
        for line in _lines(told):
            click.echo(printable(line))
        if rows:
            click.echo()
            emit(rows, SOURCE_COLUMNS)
    ctx.exit(PARTIAL if read.damage or read.links or found.left else 0)


def _lines(told: dict[str, Any]) -> Iterator[str]:
    """Yield the totals for people."""
    yield f"{told['packets']} packets from {told['from'] or '-'} to {told['to'] or '-'}"
    yield (
        f"refused {told['dropped']}, {told['answered']} of them answered: {told['connections']} connections, "
        f"{told['bytes_in']} bytes in, {told['bytes_out']} out"
    )
    yield f"passed {told['unlisted']} not listed, {told['excepted']} excepted, {told['observed']} observed"
    yield f"shadow listings would have refused {told['shadowed']}"
    yield f"not for the tarpit {told['elsewhere']} to other ports, {told['other']} no IP"
    if told["cut"] or told["bad"]:
        yield f"not understood, so passed {told['cut']} cut off, {told['bad']} bad"
    if told["sources_shed"]:
        yield f"sources are told without {told['sources_shed']} packets of those that came when the table was full"
    for link, count in told["other_links"].items():
        yield f"NOT READ {count} packets of link type {link}"
    for damage in told["damage"]:
        yield f"DAMAGED {damage}"
    if told["decide_pps"]:
        yield f"read at {told['read_pps']} packets/s, decided at {told['decide_pps']} packets/s"
