"""`spamcannibal received`: who sent a message, and which of its Received fields were believed."""

import json
from collections.abc import Iterator
from typing import IO, Any

import click

from spamcannibal.addr import format_addr, parse_key
from spamcannibal.commands.common import emit, json_option, load_settings, printable
from spamcannibal.errors import AddrError, WireError
from spamcannibal.neverfile import host_addresses, name_addresses
from spamcannibal.robot.embedded import embedded
from spamcannibal.robot.message import Limits, read_entity, read_header
from spamcannibal.robot.pgpparts import Clearsigned, Encrypted, Signed, find_pgp
from spamcannibal.robot.received import Hop, Ours, Trace, trace
from spamcannibal.settings import Settings
from spamcannibal.settings.robot import RobotSettings

COLUMNS = ("hop", "believed", "from", "by", "form", "note")


@click.command()
@click.argument("file", metavar="FILE", type=click.File("rb"))
@click.option(
    "--inside", is_flag=True, help="FILE is a report: explain the messages in it (signatures are not checked)."
)
@click.option("--ours", "more", multiple=True, metavar="HOST", help="One more host, .domain or prefix of ours.")
@json_option
@click.pass_context
def command(ctx: click.Context, file: IO[bytes], inside: bool, more: tuple[str, ...], as_json: bool) -> None:
    """Tell who sent the message in FILE (- is standard input): hop by hop what was believed, and why.

    From the top, hops between hosts of ours are passed over (robot.own_hosts, guard.own_names, this host); the first
    other host is the source, as a host of ours recorded it. What the sending host chose, its greeting, reverse name or
    envelope, is never taken for an address. Exit 0 if a source was found (with --inside, for each message), 1 if none.

    \b
    Examples:
      spamcannibal received spam.eml
      spamcannibal received --ours mx.example.net --ours 192.0.2.0/28 spam.eml
      spamcannibal received --inside --json report.eml | jq -r '.[].source'
    """
    settings = load_settings(ctx)
    limits = read_limits(settings.robot)
    raw = file.read(limits.message_bytes + 1)
    if len(raw) > limits.message_bytes:
        raise WireError(f"{file.name}: too long, want at most {limits.message_bytes} bytes (robot.message_limit_bytes)")
    ours = read_ours(settings, more)
    traces = [trace(lines, ours) for lines in _headers(raw, inside, limits)]
    if as_json:
        click.echo(json.dumps([_document(found) for found in traces], indent=2))
    for found in () if as_json else traces:
        emit([_row(hop) for hop in found.hops], COLUMNS)
        source = format_addr(found.source) if found.source else "none"
        click.echo(f"source: {source} ({printable(found.reason)})")
    ctx.exit(0 if traces and all(found.source for found in traces) else 1)


def read_limits(robot: RobotSettings) -> Limits:
    """Return the bounds on a message that the settings name."""
    return Limits(robot.message_limit_bytes, robot.depth_limit, robot.parts_limit, robot.headers_limit)


def read_ours(settings: Settings, more: tuple[str, ...] = ()) -> Ours:
    """Return what is ours by the settings, names resolved; Unavailable if a name has no address now."""
    robot, own_names = settings.robot, settings.guard.own_names
    names: set[str] = set()
    keys: set[bytes] = {*host_addresses(), *name_addresses(own_names)}
    for host in (*robot.own_hosts, *more):
        try:
            keys.add(parse_key(host))
        except AddrError:
            names.add(host.lower().rstrip("."))
    keys.update(name_addresses(sorted(name for name in names if not name.startswith(".")), "robot.own_hosts"))
    names.update(name.lower() for name in own_names)
    return Ours(frozenset(names), tuple(sorted(keys)), robot.skip_private, robot.trust_local)


def _headers(raw: bytes, inside: bool, limits: Limits) -> Iterator[tuple[str, ...]]:
    """Yield the header lines of the message, or of those in it."""
    if not inside:
        yield tuple(f"{name}: {value}" for name, value in read_header(raw, limits)[0])
        return
    entity = read_entity(raw, limits)
    found = find_pgp(entity)
    if isinstance(found, Encrypted):
        raise WireError("the report is encrypted: `spamcannibal robot --dry-run FILE` reads it with the robot's key")
    if isinstance(found, Signed):
        entity = read_entity(found.content, limits)
    elif isinstance(found, Clearsigned):
        entity = read_entity(found.cleartext(), limits)
    messages = embedded(entity, limits)
    if not messages:
        raise WireError("no message in it: want one attached, or pasted with its Received fields")
    for message in messages:
        yield message.header_lines


def _document(found: Trace) -> dict[str, Any]:
    return {
        "source": format_addr(found.source) if found.source else None,
        "reason": found.reason,
        "hops": [_row(hop) | {"believed": hop.believed, "greeting": hop.helo, "raw": hop.raw} for hop in found.hops],
    }


def _row(hop: Hop) -> dict[str, Any]:
    by_addr = format_addr(hop.by_addr) if hop.by_addr else None
    return {
        "hop": hop.number,
        "believed": "yes" if hop.believed else "no",
        "from": format_addr(hop.from_addr) if hop.from_addr else None,
        "by": hop.by_name or by_addr,
        "by_address": by_addr,
        "form": hop.dialect,
        "note": hop.note,
    }
