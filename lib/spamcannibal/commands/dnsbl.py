"""`spamcannibal dnsbl`: the DNS server in the foreground; `dnsbl query ADDRESS`: what the zones say about an address.

The server binds, becomes the configured user, opens the database (read-only where a writer runs that can recover it),
reads the listings and answers. Then this thread follows the journal and obeys signals: SIGHUP reads the zones anew or
keeps the old ones and says why, SIGTERM ends. While the database can't be read, what was read before is answered.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import click
import msgspec

from spamcannibal.addr import format_addr, make_key, mask, parse_addr, parse_endpoint
from spamcannibal.commands.common import emit, json_option, load_settings, open_store
from spamcannibal.config import DnsblSettings, Settings
from spamcannibal.dnsbl import answer, client
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.dnsbl.publisher import Publisher, read_text
from spamcannibal.dnsbl.server import Limits, Server
from spamcannibal.dnsbl.zone import Zones, ZoneSpec, compile_zone, with_colours
from spamcannibal.errors import ConfigError, SpamCannibalError, StoreError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.service import CAP_NET_BIND_SERVICE, Signals, drop_privileges, notify, watchdog_s
from spamcannibal.store.stores import Store

QUERY_S = 2.0
COMPLAIN_S = 10.0
COLUMNS = ("zone", "address", "listed", "code", "text", "from")
_WILDCARDS = {bytes(4): bytes((127, 0, 0, 1)), bytes(16): bytes(15) + b"\1"}


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Answer DNS queries for what is listed and published, in the foreground."""
    if ctx.invoked_subcommand is not None:
        return
    settings = load_settings(ctx)
    log = EventLog(sys.stderr, settings.log.format)
    serve(settings, log, lambda: load_settings(ctx))


@command.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--server", metavar="ADDRESS:PORT", help="Ask this server instead of the configured one.")
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
    """Say what the zones answer for addresses: exit 1 if any is listed, 0 if none.

    The running server is asked; if it does not answer, the database.
    """
    if server and from_store:
        raise click.UsageError("--server and --store exclude each other")
    settings = load_settings(ctx)
    specs = _chosen(settings, zones, may_be_foreign=server is not None)
    rows = []
    for addr in map(parse_addr, addresses):
        for spec in specs:
            verdict, origin = _verdict(settings, spec, addr, server, from_store)
            rows.append(
                {
                    "zone": spec.name,
                    "address": format_addr(addr),
                    "listed": bool(verdict.code),
                    "code": verdict.code or None,
                    "text": verdict.text or None,
                    "from": origin,
                    "name": verdict.name,
                    "rcode": verdict.rcode,
                }
            )
    emit(rows, COLUMNS, as_json)
    ctx.exit(1 if any(row["listed"] for row in rows) else 0)


def serve(settings: Settings, log: EventLog, reload: Callable[[], Settings]) -> None:
    """Run the server until SIGTERM."""
    dnsbl, specs = settings.dnsbl, zone_specs(settings)
    threads = dnsbl.threads or len(os.sched_getaffinity(0))
    limits = Limits(dnsbl.udp_payload_bytes, dnsbl.tcp_connections, dnsbl.tcp_idle_s, threads)
    Zones(map(compile_zone, specs))  # mistakes in the zones come out before anything is bound
    with Signals() as signals, closing(Server(_endpoints(dnsbl), limits, log)) as server:
        if dnsbl.user:
            drop_privileges(dnsbl.user, (CAP_NET_BIND_SERVICE,))
        store, reason = _open(settings)
        if reason:
            log.emit("STORE", service="dnsbl", mode="writable", reason=reason)
        with closing(store), closing(Publisher(store, specs)) as publisher:
            began = time.monotonic()
            entries = publisher.load()
            server.start(publisher.view, publisher.texts)
            took = round(time.monotonic() - began, 3)
            log.emit("READY", service="dnsbl", listen=",".join(server.endpoints), entries=entries, took_s=took)
            notify("READY=1")
            _follow(settings, publisher, server, signals, log, reload)
            notify("STOPPING=1")
            server.stop()
        log.emit("STOP", service="dnsbl", **server.counters)
        log.flush()


def _follow(
    settings: Settings,
    publisher: Publisher,
    server: Server,
    signals: Signals,
    log: EventLog,
    reload: Callable[[], Settings],
) -> None:
    """Keep the publisher current until we are asked to stop."""
    interval_s = settings.store.follow_interval_s
    beat_s = watchdog_s()
    complained = beaten = -COMPLAIN_S
    while not signals.stop:
        if not server.is_alive:
            raise Unavailable("dnsbl: the answering thread ended; the supervisor should start us anew")
        if signals.take_reload():
            settings = _reloaded(settings, publisher, server, log, reload)
        try:
            is_behind = publisher.follow() > 0
        except SpamCannibalError as error:
            is_behind = False
            if time.monotonic() - complained >= COMPLAIN_S:
                complained = time.monotonic()
                log.emit("STALE", service="dnsbl", error=str(error), seq=publisher.seq)
        if beat_s and time.monotonic() - beaten >= beat_s:
            beaten = time.monotonic()
            notify("WATCHDOG=1")
        # Behind, the answering thread still gets its turn between two steps.
        signals.wait(0.001 if is_behind else interval_s)


def _reloaded(
    settings: Settings, publisher: Publisher, server: Server, log: EventLog, reload: Callable[[], Settings]
) -> Settings:
    """Publish the zones of new settings and return these; if they are wrong, say so and return the old ones."""
    try:
        new = reload()
        publisher.adopt(zone_specs(new))
    except SpamCannibalError as error:
        log.emit("RELOAD", service="dnsbl", result="refused", error=str(error))
        return settings
    server.publish(publisher.view)
    needs_restart = msgspec.structs.replace(new.dnsbl, zone=()) != msgspec.structs.replace(settings.dnsbl, zone=())
    log.emit("RELOAD", service="dnsbl", result="done", zones=len(new.dnsbl.zone), needs_restart=needs_restart or None)
    return new


def zone_specs(settings: Settings) -> list[ZoneSpec]:
    """Return what the settings say about zones; ConfigError if there are none."""
    if not settings.dnsbl.zone:
        raise ConfigError("dnsbl.zone: none to answer for; add [[dnsbl.zone]], or take dnsbl out of services.enabled")
    return with_colours(ZoneSpec(**msgspec.structs.asdict(zone)) for zone in settings.dnsbl.zone)


def _endpoints(dnsbl: DnsblSettings) -> list[tuple[bytes, int]]:
    return [parse_endpoint(text) for text in dnsbl.listen]


def _open(settings: Settings) -> tuple[Store, str]:
    """Return the store, read-only or with the reason why not: a reader can neither make it nor recover it."""
    try:
        return open_store(settings, readonly=True), ""
    except (Unavailable, ConfigError) as error:
        reason = error
    try:
        return open_store(settings), str(reason)
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
        endpoint, port = parse_endpoint(server or settings.dnsbl.listen[0])
        exchange = client.over_network(_WILDCARDS.get(endpoint, endpoint), port, QUERY_S)
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
    store, _ = _open(settings)
    with closing(store):
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
