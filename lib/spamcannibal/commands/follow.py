"""`spamcannibal follow`: read the logs of mail servers, and report to the gather listener what they show."""

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click

from spamcannibal.addr import parse_endpoint
from spamcannibal.checks import is_endpoint
from spamcannibal.commands.common import dry_run_option, load_settings
from spamcannibal.commands.credentials import read_key
from spamcannibal.commands.patterns import read_signs
from spamcannibal.errors import ConfigError
from spamcannibal.events import EventLog
from spamcannibal.gather import places
from spamcannibal.gather.courier import Courier
from spamcannibal.gather.follower import LogFollower, Manner, Messenger
from spamcannibal.gather.line import Report
from spamcannibal.gather.signs import Signs
from spamcannibal.gather.tail import GRACE_S
from spamcannibal.service import Signals, drop_privileges, notify, watchdog_s
from spamcannibal.settings import Settings

POLL_S = 0.25


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Read what there is, and end.")
@click.option("--from-start", is_flag=True, help="Begin a file that was not read before at its beginning.")
@dry_run_option
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], once: bool, from_start: bool, dry_run: bool) -> None:
    """Read the logs of mail servers as they grow, and report to the gather listener whom they show spamming.

    FILEs instead of those of the settings. What counts stands in log-signs.toml: talkers before the greeting, storms of
    unknown users, failed logins and such of Postfix, Exim, Sendmail and Dovecot. A rotated log is read to its end;
    after a stop it goes on where it was, and lines older than follow.oldest_s say nothing any more. The listener must
    know us as a reporter. SIGHUP reads the signs anew.

    --dry-run prints what would be reported, and neither reports nor remembers.

    \b
    Examples:
      spamcannibal follow --dry-run --once --from-start /var/log/mail.log
      spamcannibal follow
    """
    settings = load_settings(ctx)
    follow = settings.follow
    paths = list(files) or [Path(path) for path in follow.files]
    if not paths:
        raise ConfigError('follow.files: nothing to read, want files such as ["/var/log/mail.log"]')
    log = EventLog(sys.stderr, settings.log.format)
    messenger: Messenger = _Rehearsal() if dry_run else Courier(_where(settings), _secret(settings))
    state_file = "" if dry_run else follow.state_file
    grace_s = 0.0 if once else GRACE_S
    manner = Manner(state_file, follow.oldest_s, follow.addresses, settings.guard.v6_prefix, from_start, grace_s)
    if follow.user and not dry_run:
        drop_privileges(follow.user)
    with Signals() as signals, places.held(state_file, "follow.state_file") if state_file else nullcontext():
        follower = LogFollower(paths, Signs(read_signs(settings)), messenger, manner, log)
        log.emit("START", service="follow", files=",".join(map(str, paths)), signs=len(follower.signs.all))
        _run(ctx, follower, signals, log, once)
        notify("STOPPING=1")
        is_all = follower.close()
    log.emit("STOP", service="follow", **follower.counts)
    log.flush()
    ctx.exit(0 if is_all else 75)


def _run(ctx: click.Context, follower: LogFollower, signals: Signals, log: EventLog, once: bool) -> None:
    """Follow until asked to stop, or to the ends of the files."""
    notify("READY=1")
    beat_s, beaten_s = watchdog_s(), float("-inf")
    while not signals.stop:
        if signals.take_reload():
            _reload(ctx, follower, log)
        is_more = follower.turn()
        if once and not is_more:
            return
        now_s = time.monotonic()
        if beat_s and now_s - beaten_s >= beat_s:
            beaten_s = now_s
            notify("WATCHDOG=1")
        signals.wait(0.0 if is_more else POLL_S)


def _reload(ctx: click.Context, follower: LogFollower, log: EventLog) -> None:
    """Take new signs; if they are wrong, say so and keep the old ones."""
    notify("RELOADING=1")
    try:
        follower.signs = Signs(read_signs(load_settings(ctx)))
    except ConfigError as error:
        log.emit("RELOAD", service="follow", result="refused", error=str(error))
    else:
        log.emit("RELOAD", service="follow", result="done", signs=len(follower.signs.all))
    notify("READY=1")


def _where(settings: Settings) -> tuple[bytes, int] | str:
    server = settings.follow.server
    if not server:
        server = settings.gather.socket or next(iter(settings.gather.listen), "")
    if not server:
        raise ConfigError("follow.server: nowhere to report to, want ADDRESS:PORT or a socket's path")
    return parse_endpoint(server) if is_endpoint(server) else server


def _secret(settings: Settings) -> str:
    if not settings.follow.key_file:
        return ""
    return read_key(Path(settings.follow.key_file)).decode("ascii")


class _Rehearsal:
    """Prints reports instead of bringing them."""

    def bring(self, reports: Sequence[Report]) -> list[str]:
        from spamcannibal.addr import format_key

        for report in reports:
            click.echo(f"{report.colour} {format_key(report.key)} {report.reason}")
        return ["ok"] * len(reports)
