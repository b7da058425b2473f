"""Sharing as a process: settings and store in, other sites told, until SIGTERM."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import click

from spamcannibal.addr import format_key, parse_endpoint
from spamcannibal.checks import is_endpoint
from spamcannibal.commands.common import load_settings, open_store
from spamcannibal.commands.credentials import client_tls, read_key
from spamcannibal.errors import ConfigError, Replaced, SpamCannibalError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.gather import places
from spamcannibal.gather.courier import Courier
from spamcannibal.gather.line import Report
from spamcannibal.gather.share import Selection
from spamcannibal.gather.sharer import Manner, Messenger, Sharer, read_places
from spamcannibal.service import Signals, drop_privileges, notify, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.settings.share import PeerSettings
from spamcannibal.store.stores import Store

POLL_S = 0.25
KEEP_EVERY_S = 1.0
TIMEOUT_S = 5.0  # a site that hangs holds the others up so long, at most once a minute
EXIT_LATER = 75


def serve(ctx: click.Context, once: bool, from_start: bool, dry_run: bool) -> int:
    """Tell other sites until SIGTERM, or until all is told; return the exit code."""
    settings = load_settings(ctx)
    share, log = settings.share, EventLog(sys.stderr, settings.log.format)
    messengers = _messengers(settings, dry_run)
    if share.user and not dry_run:
        drop_privileges(share.user)
    held = nullcontext() if dry_run else places.held(share.state_file, "share.state_file")
    with Signals() as signals, held, closing(open_store(settings, readonly=True)) as store:
        process = _Process(ctx, store, log, from_start, "" if dry_run else share.state_file)
        process.adopt(settings, messengers, read_places(share.state_file))
        log.emit("START", service="share", peers=",".join(messengers))
        notify("READY=1")
        process.run(signals, once)
        notify("STOPPING=1")
        process.keep()
    for sharer in process.sharers:
        log.emit("STOP", service="share", peer=sharer.name, place=sharer.place, **sharer.counts)
    log.flush()
    return EXIT_LATER if once and not process.is_done else 0


class _Process:
    """All other sites, one after the other."""

    def __init__(self, ctx: click.Context, store: Store, log: EventLog, from_start: bool, state_file: str) -> None:
        """`state_file` is empty for a dry run: nothing is told, or written."""
        self.sharers: list[Sharer] = []
        self.is_done = False
        self._ctx = ctx
        self._store = store
        self._log = log
        self._from_start = from_start
        self._kept: dict[str, int] = {}
        self._kept_s = 0.0
        self._state_file = state_file
        self._trouble = ""

    def adopt(self, settings: Settings, messengers: Mapping[str, Messenger], told: Mapping[str, int]) -> None:
        """Take who is to be told, and how far each was told already."""
        begin = 0 if self._from_start else self._store.last_seq()
        self.sharers = []
        for peer in settings.share.peer:
            manner = Manner(Selection(peer.sources, peer.colours), peer.per_s)
            sharer = Sharer(peer.name, self._store, messengers[peer.name], manner, self._log)
            sharer.place = told.get(peer.name, begin)
            self.sharers.append(sharer)
        self.keep()

    def run(self, signals: Signals, once: bool) -> None:
        """Tell until asked to stop, or until there is nothing left to tell."""
        beat_s, beaten_s = watchdog_s(), float("-inf")
        while not signals.stop:
            if signals.take_reload():
                self._reload()
            is_more = False
            for sharer in self.sharers:
                is_more = self._turn(sharer) or is_more
                if beat_s and time.monotonic() - beaten_s >= beat_s:
                    beaten_s = time.monotonic()
                    notify("WATCHDOG=1")
            if time.monotonic() - self._kept_s >= KEEP_EVERY_S:
                self.keep()
            if once and not is_more:
                end = self._store.last_seq()
                self.is_done = all(sharer.place >= end for sharer in self.sharers)
                if self.is_done or any(sharer.is_waiting for sharer in self.sharers):
                    return
            signals.wait(0.0 if is_more else POLL_S)

    def keep(self) -> None:
        """Write down how far each site was told."""
        self._kept_s = time.monotonic()
        told = {sharer.name: sharer.place for sharer in self.sharers}
        if not self._state_file or told == self._kept:
            return
        try:
            places.write(self._state_file, told)
        except Unavailable as error:
            self._complain("state", error)
            return
        self._kept = told

    def _turn(self, sharer: Sharer) -> bool:
        try:
            is_more = sharer.turn()
        except Replaced:
            raise
        except SpamCannibalError as error:
            self._complain("store", error)
            return False
        self._trouble = ""
        return is_more

    def _complain(self, what: str, error: SpamCannibalError) -> None:
        """Say what is wrong, once for as long as it stays so."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._log.emit("TROUBLE", what=what, why=self._trouble)

    def _reload(self) -> None:
        """Go on with new settings; if they are wrong, say so and keep the old ones."""
        notify("RELOADING=1")
        try:
            settings = load_settings(self._ctx)
            messengers = _messengers(settings, not self._state_file)
        except SpamCannibalError as error:
            self._log.emit("RELOAD", service="share", result="refused", error=str(error))
        else:
            self.adopt(settings, messengers, {sharer.name: sharer.place for sharer in self.sharers})
            is_moved = self._state_file not in ("", settings.share.state_file)
            needs_restart = "share.state_file" if is_moved else None
            peers = ",".join(messengers)
            self._log.emit("RELOAD", service="share", result="done", peers=peers, needs_restart=needs_restart)
        notify("READY=1")


def _messengers(settings: Settings, dry_run: bool) -> dict[str, Messenger]:
    """Return who brings reports to each site."""
    if not settings.share.peer:
        raise ConfigError("share.peer: nobody to tell, want a [[share.peer]] with name and server")
    return {peer.name: _messenger(peer, dry_run) for peer in settings.share.peer}


def _messenger(peer: PeerSettings, dry_run: bool) -> Messenger:
    """Return who brings reports to a site."""
    if dry_run:
        return _Rehearsal(peer.name)
    where = parse_endpoint(peer.server) if is_endpoint(peer.server) else peer.server
    secret = read_key(Path(peer.key_file)).decode("ascii") if peer.key_file else ""
    return Courier(where, secret, TIMEOUT_S, client_tls(peer), peer.host, is_peer=True)


class _Rehearsal:
    """Prints reports instead of telling them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def bring(self, reports: Sequence[Report]) -> list[str]:
        for report in reports:
            click.echo(f"{self._name}: {report.colour} {format_key(report.key)} {report.reason}".rstrip())
        return ["ok"] * len(reports)
