"""`spamcannibal dnsbl`: the DNS server in the foreground; `dnsbl query ADDRESS`: what the zones say about an address;
`dnsbl top`: who asks the server most.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import closing

import click

from spamcannibal.addr import format_addr, make_key, mask, parse_addr, reachable
from spamcannibal.commands.common import emit, json_option, load_settings, open_store
from spamcannibal.commands.dnsbl_serve import serve, zone_specs
from spamcannibal.dnsbl import answer, client
from spamcannibal.dnsbl.access import parse_server
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.dnsbl.publisher import read_text
from spamcannibal.dnsbl.zone import Zones, ZoneSpec, compile_zone
from spamcannibal.errors import ConfigError, StoreError, Unavailable
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store

QUERY_S = 2.0
COLUMNS = ("zone", "address", "listed", "code", "text", "rcode", "from")
_WORDS = {True: "yes", False: "no", None: "unknown"}
TOP_COLUMNS = ("address", "queries", "error", "limited")


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Answer DNS queries for what is listed and published, in the foreground until SIGTERM.

    SIGHUP reads the settings anew: zones, keys, secondaries and cookie secrets change at once, the rest wants a
    restart, which is said. Until the database can be read, and (dnsbl.stale_limit_s) when it is not followed any more,
    queries in the zones get SERVFAIL.

    \b
    Examples:
      spamcannibal dnsbl
      spamcannibal dnsbl query 192.0.2.7
      dig @127.0.0.1 -p 5353 2.0.0.127.bl.example.org TXT

    \b
    Exit codes: 0 stopped; 2 wrong usage; 69 the port is taken or forbidden;
    75 start it again (a thread ended, the database was replaced); 78 settings.
    """
    if ctx.invoked_subcommand is not None:
        return
    serve(ctx)


@command.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--server", metavar="ADDRESS[:PORT]", help="Ask this server instead of the configured one.")
@click.option("--store", "from_store", is_flag=True, help="Ask no server but the database.")
@click.option("--zone", "zones", metavar="NAME", multiple=True, help="Ask in this zone only (may be repeated).")
@json_option
@click.pass_context
def query(
    ctx: click.Context,
    addresses: tuple[str, ...],
    server: str | None,
    from_store: bool,
    zones: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what the zones answer for addresses.

    The running server is asked; if it does not answer, the database. An answer that is none (SERVFAIL, REFUSED, a code
    that means an error) leaves it unknown whether the address is listed (in JSON: null).

    \b
    Examples:
      spamcannibal dnsbl query 192.0.2.7 2001:db8::7
      spamcannibal dnsbl query 127.0.0.2 --server 192.0.2.53:53 --zone bl.example.org
      spamcannibal dnsbl query 192.0.2.7 --store --json

    \b
    Exit codes: 0 none is listed; 1 one is; 75 none is known to be, and of one it is unknown;
    2 wrong usage; 78 settings.
    """
    if server and from_store:
        raise click.UsageError("--server and --store exclude each other")
    settings = load_settings(ctx)
    specs = _chosen(settings, zones, may_be_foreign=server is not None)
    rows, found = [], set()
    for addr in map(parse_addr, addresses):
        for spec in specs:
            verdict, origin = _verdict(settings, spec, addr, server, from_store)
            found.add(verdict.is_listed)
            rows.append(
                {
                    "zone": spec.name,
                    "address": format_addr(addr),
                    "listed": verdict.is_listed if as_json else _WORDS[verdict.is_listed],
                    "code": verdict.code or None,
                    "text": verdict.text or None,
                    "from": origin,
                    "name": verdict.name,
                    "rcode": verdict.rcode,
                }
            )
    emit(rows, COLUMNS, as_json)
    ctx.exit(1 if True in found else Unavailable.exit_code if None in found else 0)


@command.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most so many.")
@json_option
@click.pass_context
def top(ctx: click.Context, limit: int, as_json: bool) -> None:
    """Say who asks the running server most, and how many of their replies the rate limit kept back.

    It is asked over HTTP at dnsbl.metrics. Counts are since its start, of IPv4 addresses and IPv6 /64; they are
    estimates, at most `error` too high.

    \b
    Examples:
      spamcannibal dnsbl top
      spamcannibal dnsbl top --limit 5 --json

    \b
    Exit codes: 0 done; 2 wrong usage; 75 the server does not answer; 78 dnsbl.metrics is not set.
    """
    settings = load_settings(ctx)
    if not settings.dnsbl.metrics:
        raise ConfigError(
            'dnsbl.metrics: not set, so nobody can be asked; want "127.0.0.1:9453" or such, and a restart'
        )
    try:
        page = client.fetch_page(*reachable(settings.dnsbl.metrics), "/top", QUERY_S)
    except Unavailable as error:
        raise Unavailable(f"dnsbl.metrics: {error}; is `spamcannibal dnsbl` running with these settings?") from None
    rows = json.loads(page)
    emit(rows[:limit], TOP_COLUMNS, as_json)


@command.command(hidden=True)
@click.pass_context
def prepare(ctx: click.Context) -> None:
    """Make the database ready for readers, and stay until standard input ends: the server's helper."""
    with closing(open_store(load_settings(ctx))):
        sys.stdin.buffer.read()


def _open(settings: Settings) -> Store:
    """Return the store for reading, or, where nobody has made it ready, for writing if we may."""
    try:
        return open_store(settings, readonly=True)
    except Unavailable as error:
        reason = error
    try:
        return open_store(settings)
    except (StoreError, ConfigError):
        raise reason from None


def _chosen(settings: Settings, names: Sequence[str], may_be_foreign: bool) -> list[ZoneSpec]:
    """Return the zones to ask in; another server may have zones that are not ours."""
    if not names:
        return zone_specs(settings)
    known = {spec.name.lower(): spec for spec in zone_specs(settings)} if settings.dnsbl.zone else {}
    specs = []
    for name in names:
        zone = known.get(name.lower().rstrip("."))
        if zone is None and not may_be_foreign:
            raise ConfigError(f"dnsbl.zone: no such zone: {name!r}, want one of {', '.join(known) or 'none'}")
        specs.append(zone or ZoneSpec(name))
    return specs


def _verdict(
    settings: Settings, spec: ZoneSpec, addr: bytes, server: str | None, from_store: bool
) -> tuple[client.Verdict, str]:
    """Return what a zone says and who said it."""
    if not from_store:
        endpoint, port = parse_server(server) if server else reachable(settings.dnsbl.listen[0])
        exchange = client.over_network(endpoint, port, QUERY_S)
        try:
            return client.look_up(addr, spec.name, exchange), server or settings.dnsbl.listen[0]
        except Unavailable:
            if server:
                raise
    return client.look_up(addr, spec.name, _store_exchange(settings, spec, addr)), "store"


def _store_exchange(settings: Settings, spec: ZoneSpec, addr: bytes) -> client.Exchange:
    """Return an exchange with the server's own rules over the entries that cover an address."""
    listings = Listings((spec.kind,))
    texts: dict[bytes, bytes] = {}
    with closing(_open(settings)) as store:
        for plen in range(len(addr) * 8 + 1):
            key = make_key(mask(addr, plen), plen)
            listing = store.get_key(key)
            if listing:
                listings.set(key, listing.state)
                texts[key] = read_text(store, key).encode("utf-8", "replace")
        seq = store.last_seq()
    zones = Zones([compile_zone(spec)])
    view = answer.View(zones, listings.shelves, lambda: seq, lambda key: texts.get(key, b""))

    def exchange(data: bytes) -> bytes:
        reply = answer.answer(data, view, answer.TCP)
        assert isinstance(reply, bytes)
        return reply

    return exchange
