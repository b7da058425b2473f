"""`spamcannibal export FORMAT`: the list for other programs, once or kept current, and whether they still have it."""

import io
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from spamcannibal.commands.common import dry_run_option, emit, json_option, load_settings, open_store, progress
from spamcannibal.dnsbl.access import parse_server
from spamcannibal.dnsbl.client import over_network
from spamcannibal.dnsbl.export import drift, entry, files, follow, kernel, outlet, sample
from spamcannibal.dnsbl.export.facts import Facts, Item
from spamcannibal.dnsbl.export.figures import Figures, outlet_name
from spamcannibal.dnsbl.export.formats import FORMATS
from spamcannibal.dnsbl.zone import ZoneSpec, compile_zone, with_colours
from spamcannibal.errors import ConfigError, StoreError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.service import Signals, notify, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store

QUERY_S = 2.0
COLUMNS = ("format", "to", "entries", "bytes", "changed", "seq")
DRIFT_COLUMNS = ("format", "in", "expected", "held", "missing", "surplus", "differs")
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,24}")
_FORMATS_HELP = "\n".join(f"      {name:<11} {form.about}" for name, form in FORMATS.items())


@dataclass(frozen=True)
class Options:
    """The command line but for the format."""

    output: Path | None
    load: bool
    zone: str | None
    what: str | None
    table: str
    run: str | None
    follow: bool
    settle: float
    check_drift: bool
    server: str | None
    sample: int
    metrics: Path | None
    as_json: bool
    dry_run: bool


@click.command(
    help=f"""Write the list in FORMAT: to standard output, into a file, or into the kernel.

    \b
    Formats:
{_FORMATS_HELP}

    Zone formats (rbldnsd, bind, rpz) hold what a zone publishes, the others what this host refuses. Files are replaced
    whole and only if they changed; with --follow they, or the kernel's sets, stay current until SIGTERM, and SIGHUP
    exports all anew (after the packet filter was flushed, say).

    \b
    Exit codes: 0 done, or no drift; 1 the consumer differs (--check-drift); 2 wrong usage;
    69 a program is missing; 75 the store or the consumer can't be reached now; 78 settings.

    \b
    Examples:
      spamcannibal export combined --zone bl.example.org -o /var/lib/rbldns/bl.example.org --follow
      spamcannibal export bind -o /etc/bind/db.bl --run "rndc reload bl.example.org"
      spamcannibal export nft --load --follow
      spamcannibal export ipset --check-drift --metrics /var/lib/prometheus/node-exporter/ipset.prom
      spamcannibal export combined --check-drift --server 192.0.2.53
    """
)
@click.argument("name", metavar="FORMAT", type=click.Choice(list(FORMATS)))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Replace this file.")
@click.option("--load", is_flag=True, help="Load into the kernel (nft, ipset) instead.")
@click.option("--zone", metavar="NAME", help="The zone to publish, if there are several.")
@click.option("--what", type=click.Choice(["refused", "published", "all"]), help="What, if not a zone format.")
@click.option("--table", default=Facts().table, show_default=True, help="Name of the nft table or the ipset sets.")
@click.option("--run", metavar="COMMAND", help="Run this (no shell) after the file has changed, to reload its reader.")
@click.option("--follow", is_flag=True, help="Stay, and export again when the list changes.")
@click.option("--settle", type=click.FloatRange(0, 3600), default=follow.SETTLE_S, show_default=True,
              help="With --follow: seconds of quiet before exporting.")  # fmt: skip
@click.option("--check-drift", is_flag=True, help="Compare the file, kernel or server; exit 1 if it differs.")
@click.option("--server", metavar="ADDRESS[:PORT]", help="With --check-drift: ask this DNS server about a sample.")
@click.option("--sample", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Entries to ask about.")
@click.option("--metrics", type=click.Path(path_type=Path), metavar="FILE",
              help="With --follow or --check-drift: keep figures here for Prometheus's node_exporter.")  # fmt: skip
@json_option
@dry_run_option
@click.pass_context
def command(ctx: click.Context, /, name: str, **given: object) -> None:
    """Export the list."""
    options = Options(**given)  # type: ignore[arg-type]
    _refuse_nonsense(name, options)
    settings = load_settings(ctx)
    job = _job(settings, name, options)
    with closing(_open(settings)) as store:
        if options.check_drift:
            ctx.exit(_check(store, job, options))
        elif options.dry_run:
            _rehearse(store, job, options)
        elif options.follow:
            _follow(store, job, options, settings)
        elif job.path or options.load:
            _export_once(store, job, options)
        else:
            _print(store, job)


def _refuse_nonsense(name: str, options: Options) -> None:
    """Raise UsageError for options that contradict each other or the format."""
    is_zone, in_kernel = FORMATS[name].is_zone, name in kernel.KERNELS
    wrong = {
        "--what is not for zone formats: they hold what the zone publishes": options.what and is_zone,
        "--load is for nft and ipset": options.load and not in_kernel,
        "-o and --load exclude each other": options.output and options.load,
        "--follow wants -o FILE or --load": options.follow and not (options.output or options.load),
        "--run wants -o FILE": options.run and not options.output,
        "--follow and --check-drift exclude each other": options.follow and options.check_drift,
        "--metrics wants --follow or --check-drift": options.metrics and not (options.follow or options.check_drift),
        "--server wants --check-drift and a zone format": options.server and not (options.check_drift and is_zone),
        "--server and -o exclude each other": options.server and options.output,
        "--check-drift wants -o FILE, or --server for a zone": options.check_drift
        and not (options.output or options.server or in_kernel),
        "--json wants -o, --load, --check-drift or --dry-run; lines of JSON are the format jsonl": options.as_json
        and not (options.output or options.load or options.check_drift or options.dry_run),
        f"--table: got {options.table!r}, want a letter, then letters, digits and _, at most 25":
        not _TABLE.fullmatch(options.table),
    }  # fmt: skip
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise click.UsageError(message)


def _job(settings: Settings, name: str, options: Options) -> follow.Job:
    """Return what is to be exported, and to where."""
    what = options.what or FORMATS[name].selects
    facts = Facts(table=options.table)
    select: entry.Select = entry.everything if what == "all" else entry.refused
    if what == "published" or options.zone:
        spec = _zone(settings, options.zone)
        facts = facts._replace(text=spec.text, zone=compile_zone(spec))
        if what == "published":
            select = entry.of_zone(compile_zone(spec))
    return follow.Job(name, select, facts, options.output, tuple(shlex.split(options.run or "")))


def _zone(settings: Settings, name: str | None) -> ZoneSpec:
    """Return the zone of a name, a colour's too, or the only one."""
    specs = with_colours(ZoneSpec(**msgspec.structs.asdict(zone)) for zone in settings.dnsbl.zone)
    zones = {spec.name.lower(): spec for spec in specs}
    known = ", ".join(zones) or "none; add [[dnsbl.zone]]"
    if name is None and len(settings.dnsbl.zone) != 1:
        raise ConfigError(f"dnsbl.zone: which one? --zone NAME, want one of {known}")
    zone = zones.get(name.lower().rstrip(".")) if name else next(iter(zones.values()))
    if zone is None:
        raise ConfigError(f"dnsbl.zone: no such zone: {name!r}, want one of {known}")
    return zone


def _open(settings: Settings) -> Store:
    """Return the store, read-only if it can be: a reader can neither make it nor recover it."""
    try:
        return open_store(settings, readonly=True)
    except (Unavailable, ConfigError) as error:
        reason = error
    try:
        return open_store(settings)
    except (StoreError, ConfigError):
        raise reason from None


def _total(store: Store, job: follow.Job) -> int:
    counts = store.counts()
    return sum(counts[f"tarpit_v{family}"] for family in job.families)


def _print(store: Store, job: follow.Job) -> None:
    """Write the export to standard output."""
    with progress(_total(store, job), f"export {job.name}") as step:
        for chunk in follow.chunks(store, job, follow.entries(store, job, step)):
            click.echo(chunk, nl=False)


def _export_once(store: Store, job: follow.Job, options: Options) -> None:
    with progress(_total(store, job), f"export {job.name}") as step:
        result = follow.Export(store, job).full(step)
    _report(job, result, options)


def _rehearse(store: Store, job: follow.Job, options: Options) -> None:
    """Say how much would be written."""
    with progress(_total(store, job), f"export {job.name}") as step:
        sides = follow.entries(store, job, step)
        size = sum(len(chunk.encode("utf-8", "replace")) for chunk in follow.chunks(store, job, sides))
    count = sum(sides[family].count for family in job.families)
    _report(job, follow.Result("full", store.last_seq(), count, size), options)


def _report(job: follow.Job, result: follow.Result, options: Options) -> None:
    to = str(job.path) if job.path else "kernel" if options.load else "-"
    row = {"format": job.name, "to": to, "entries": result.entries, "bytes": result.size_bytes, "seq": result.seq}
    changed = None if options.dry_run else "yes" if result.is_changed else "no"
    emit([{**row, "changed": changed}], COLUMNS, options.as_json, "would be written" if options.dry_run else "exported")


def _follow(store: Store, job: follow.Job, options: Options, settings: Settings) -> None:
    """Export, and again whenever the list has changed, until SIGTERM."""
    log = EventLog(sys.stderr, settings.log.format)
    export = follow.Export(store, job, log, options.settle)
    figures = Figures(export, outlet_name(job), options.metrics, log)
    beat_s = watchdog_s()
    is_ready, beaten = False, -beat_s
    with Signals() as signals:
        while not signals.stop:
            if signals.take_reload():
                export.renew()
            export.turn(time.monotonic())
            figures.turn()
            if not is_ready and export.seq >= 0:
                is_ready = True
                notify("READY=1")
            if beat_s and time.monotonic() - beaten >= beat_s:
                beaten = time.monotonic()
                notify("WATCHDOG=1")
            signals.wait(settings.store.follow_interval_s)
    notify("STOPPING=1")
    figures.write()
    log.flush()


def _check(store: Store, job: follow.Job, options: Options) -> int:
    """Print the differences; return the exit code."""
    where, found = _ask_server(store, job, options) if options.server else _compare(store, job)
    counts = found.counts()
    shown = [{"difference": kind, "entry": name} for kind, name in found.shown]
    row = {"format": job.name, "in": where, **counts, "seq": store.last_seq()}
    emit([{**row, "shown": shown} if options.as_json else row], DRIFT_COLUMNS, options.as_json, "drift")
    if shown and not options.as_json:
        emit(shown, ("difference", "entry"))
        left_out = found.missing + found.surplus + found.differs - len(shown)
        if left_out:
            click.echo(f"and {left_out} more", err=True)
    if options.metrics:
        files.replace(options.metrics, [outlet.checked(outlet_name(job, options.server), found, time.time())])
    return 1 if found else 0


def _compare(store: Store, job: follow.Job) -> tuple[str, drift.Drift]:
    """Compare a file or the kernel's sets with what would be written now."""
    form = FORMATS[job.name]

    def held() -> Iterable[Item]:
        return form.read(files.lines(job.path)) if job.path else kernel.KERNELS[job.name].held(job.facts)

    total = _total(store, job)
    with progress(None, f"check {job.name}") as step:

        def expected() -> Iterable[Item]:
            return form.read(_lines(follow.chunks(store, job, follow.entries(store, job, step))))

        return str(job.path or "kernel"), drift.compare(expected, held, total)


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the lines of chunks, none of which ends inside a line."""
    for chunk in chunks:
        yield from io.StringIO(chunk, newline="")


def _ask_server(store: Store, job: follow.Job, options: Options) -> tuple[str, drift.Drift]:
    """Ask a running server about a sample of what it should know."""
    assert options.server is not None and job.facts.zone is not None
    addr, port = parse_server(options.server)
    sides = follow.entries(store, job)
    listed = (entry for family in job.families for entry in sides[family])
    asked = sample.addresses(sample.choose(listed, options.sample, store.last_seq()))
    zone = job.facts.zone.name
    exchange = over_network(addr, port, QUERY_S)
    found = sample.compare(
        asked, lambda one: sample.expected_code(store, job.select, job.facts.code, one), zone, exchange
    )
    return options.server, found
