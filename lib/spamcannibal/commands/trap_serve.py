"""The spam trap as a process: settings and store in, mail caught, until SIGTERM."""

import socket
import sys
import time
from contextlib import ExitStack, closing

import click

from spamcannibal.addr import parse_endpoint
from spamcannibal.breaker import Caps
from spamcannibal.commands.common import load_settings, open_store
from spamcannibal.commands.received import read_ours
from spamcannibal.errors import ConfigError, SpamCannibalError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.neverfile import read_never_list
from spamcannibal.robot.catcher import Catcher, Manner, Rules
from spamcannibal.robot.plan import Terms
from spamcannibal.robot.redact import Rules as Redaction
from spamcannibal.robot.spamtrap import Bounds, Traps
from spamcannibal.robot.trapserver import Limits, Server
from spamcannibal.robot.world import BREAKER_AGE_S, Breakers
from spamcannibal.service import Signals, drop_privileges, notify, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.settings.trap import TrapSettings
from spamcannibal.sockets import bind
from spamcannibal.store.stores import Store

TURN_S = 1.0
EXPIRE_EVERY_S = 60.0
EVIDENCE_FACTOR = 4  # as redact.py: what is shown is about as long as what goes in, and MIME takes space
RESTARTS = ("listen", "message_limit_bytes", "connections", "per_source", "per_minute", "idle_s", "session_s", "user")


def serve(ctx: click.Context, observe: bool) -> None:
    """Run the trap until SIGTERM."""
    settings = load_settings(ctx)
    trap = settings.trap
    _check(trap)
    log = EventLog(sys.stderr, settings.log.format)
    with Signals() as signals, ExitStack() as stack:
        socks = [stack.enter_context(bind(*parse_endpoint(where), "trap.listen")) for where in trap.listen]
        if trap.user:
            drop_privileges(trap.user)
        store = stack.enter_context(closing(open_store(settings)))
        store.guard = read_never_list(settings)
        catcher = Catcher(store, _rules(settings, store, observe), log)
        server = Server(socks, catcher, _limits(settings), _hostname(trap))
        server.start()
        stack.callback(server.stop)
        log.emit("START", service="trap", listen=",".join(trap.listen), recipients=len(trap.recipients))
        notify("READY=1")
        _watch(_Process(ctx, settings, store, catcher, log, observe), server, signals)
        notify("STOPPING=1")
    log.emit("STOP", service="trap", **server.counts, **catcher.counts)
    log.flush()
    if not signals.stop:
        raise Unavailable("trap: the SMTP loop ended by itself; the supervisor should start us anew")


class _Process:
    """What the main thread does beside the server."""

    def __init__(
        self, ctx: click.Context, settings: Settings, store: Store, catcher: Catcher, log: EventLog, observe: bool
    ) -> None:
        self._ctx = ctx
        self._settings = settings
        self._store = store
        self._catcher = catcher
        self._log = log
        self._observe = observe
        self._expired_s = time.monotonic()

    def reload(self) -> None:
        """Take what may change of the settings; if they are wrong, say so and keep the old ones."""
        notify("RELOADING=1")
        try:
            new = load_settings(self._ctx)
            _check(new.trap)
            rules, never_list = _rules(new, self._store, self._observe), read_never_list(new)
        except SpamCannibalError as error:
            self._log.emit("RELOAD", service="trap", result="refused", error=str(error))
        else:
            old = self._settings.trap
            told = [f"trap.{name}" for name in RESTARTS if getattr(old, name) != getattr(new.trap, name)]
            self._catcher.rules, self._store.guard, self._settings = rules, never_list, new
            recipients, needs_restart = len(new.trap.recipients), ",".join(told) or None
            self._log.emit("RELOAD", service="trap", result="done", recipients=recipients, needs_restart=needs_restart)
        notify("READY=1")

    def expire(self) -> None:
        """Take off what is over: nobody else may run that would."""
        if time.monotonic() - self._expired_s < EXPIRE_EVERY_S:
            return
        self._expired_s = time.monotonic()
        try:
            self._store.expire(time.time())
        except SpamCannibalError as error:
            self._log.emit("TROUBLE", what="expiry", why=str(error))


def _watch(process: _Process, server: Server, signals: Signals) -> None:
    """Work until asked to stop, or until the server ended."""
    turn_s = min(watchdog_s() or TURN_S, TURN_S)
    while not signals.stop and server.is_alive:
        if signals.take_reload():
            process.reload()
        process.expire()
        if server.answers(turn_s):
            notify("WATCHDOG=1")
        signals.wait(turn_s)


def _check(trap: TrapSettings) -> None:
    if not trap.recipients:
        raise ConfigError('trap.recipients: none, want addresses or domains such as ["trap.example.org"]')
    if not trap.listen:
        raise ConfigError('trap.listen: nowhere to listen, want ADDRESS:PORT such as ["0.0.0.0:25"]')


def _rules(settings: Settings, store: Store, observe: bool) -> Rules:
    """Return what the settings say, as far as it may change while we run."""
    trap, guard = settings.trap, settings.guard
    ours = read_ours(settings)
    hidden = (*trap.recipients, *settings.robot.hide)
    addresses = tuple(each for each in hidden if "@" in each)
    domains = tuple(each.removeprefix(".") for each in hidden if "@" not in each and each != "*")
    names = ours.names | {_hostname(trap).lower()}
    redaction = Redaction(names, ours.keys, addresses, domains, settings.store.evidence_limit_bytes)
    terms = Terms(ours, redaction, trap.text, trap.expires_s, guard.v6_prefix)
    manner = Manner(terms, f"trap:{trap.name}", _hostname(trap), trap.answer, observe or trap.observe)
    caps = Caps(0, guard.max_listings_per_hour, guard.max_per_source_per_hour, guard.max_per_net)
    return Rules(Traps(trap.recipients), manner, Breakers(store, caps, BREAKER_AGE_S).now)


def _limits(settings: Settings) -> Limits:
    trap = settings.trap
    kept_bytes = min(trap.message_limit_bytes, settings.store.evidence_limit_bytes * EVIDENCE_FACTOR)
    bounds = Bounds(trap.connections, trap.per_source, trap.per_minute)
    v6_plen = settings.guard.v6_prefix
    return Limits(bounds, trap.message_limit_bytes, kept_bytes, trap.idle_s, trap.session_s, v6_plen)


def _hostname(trap: TrapSettings) -> str:
    return trap.hostname or socket.gethostname()
