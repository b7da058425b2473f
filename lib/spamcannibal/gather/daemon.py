"""The gather listener as a process: bind, load, then serve mail servers until SIGTERM.

| thread | does | may wait for |
|---|---|---|
| gather | connections, reports, answers (server.py) | nothing but sockets |
| writer | decisions -> store (writer.py) | the store, the disk |
| main | follows the journal, signals, notices to the supervisor | the store |

The sockets are bound before the rights to do so are given up, and listen only when all is loaded: until then, and when
we are not there at all, a mail server is refused at once, which costs it nothing.

SIGHUP reads the settings anew: reporters, weights, answers, never-list and certificates change at once, the rest needs
a restart, which is said. Wrong settings change nothing.
"""

import socket
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from spamcannibal.addr import listing_key, parse_endpoint
from spamcannibal.breaker import HOUR_S, Admission, Breaker, Caps, is_counted
from spamcannibal.errors import Replaced, SpamCannibalError, Unavailable
from spamcannibal.gather import figures
from spamcannibal.gather.decision import Decision, Terms
from spamcannibal.gather.desk import Desk, Manner
from spamcannibal.gather.reporters import Peer, Reporters
from spamcannibal.gather.server import Limits, Log, Server
from spamcannibal.gather.sink import Sink, World
from spamcannibal.gather.standing import Standing
from spamcannibal.gather.tally import Tally
from spamcannibal.gather.writer import Writer
from spamcannibal.guard import NeverList
from spamcannibal.record import Action, Change
from spamcannibal.service import Signals, notify, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.settings.gather import GatherSettings
from spamcannibal.sockets import bind, bind_local, owner_of, raise_descriptors, shown
from spamcannibal.store.follow import Follower
from spamcannibal.store.recent import listed_since
from spamcannibal.store.reports import PEER, SOURCE
from spamcannibal.store.stores import Store

BACKLOG = 1024
SPARE_DESCRIPTORS = 128
STALL_S = 10.0
FOLLOW_STEP = 1000
TEXTS_A_TURN = 50
RECENT_CHANGES = 100_000  # of the journal's end, to find what was listed in the last hour
COMPLAIN_EVERY_S = 3600.0
COMPLAINTS = 1024
TRIPPED = "caused more than per_hour listings; refused for 1h, or until a reload with another per_hour"


class Parts(NamedTuple):
    """What is made of settings, and can change while we run."""

    terms: Terms
    reporters: Reporters
    manner: Manner
    never_list: NeverList


class Source(Protocol):
    """Where settings and what is made of them come from; ConfigError if they are wrong."""

    def reload(self) -> Settings: ...
    def parts(self, settings: Settings) -> Parts: ...
    def tls(self, gather: GatherSettings) -> ssl.SSLContext | None: ...


class Complaints:
    """What peers do wrong, told once an hour for each of them (IPv6: its /64) and each mistake."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: OrderedDict[tuple[bytes, str], float] = OrderedDict()

    def __call__(self, peer: Peer, why: str, detail: str) -> None:
        now, what = time.monotonic(), (listing_key(peer.addr) if peer.addr else b"", why)
        if now - self._told.get(what, float("-inf")) < COMPLAIN_EVERY_S:
            return
        self._told[what] = now
        self._told.move_to_end(what)
        if len(self._told) > COMPLAINTS:
            self._told.popitem(last=False)
        self._log.emit("REFUSED", why=why, peer=peer.addr or "local", detail=detail or None)


class Daemon:
    """`bind`, `load`, `run`, `close`, in this order."""

    def __init__(self, settings: Settings, source: Source, log: Log) -> None:
        self._settings = settings
        self._source = source
        self._log = log
        self._held = ExitStack()
        self._current_s = time.monotonic()
        self._trouble = ""
        self._parts = source.parts(settings)
        self._tls = source.tls(settings.gather)
        self._sockets: list[tuple[socket.socket, bool]] = []  # and whether TLS is spoken there
        self._path = ""  # of the Unix socket, once it is ours

    def bind(self) -> None:
        """Take the addresses, as whoever may do that."""
        gather = self._settings.gather
        raise_descriptors(gather.connections + SPARE_DESCRIPTORS)
        for name, endpoints, has_tls in (("listen", gather.listen, False), ("tls_listen", gather.tls_listen, True)):
            for text in endpoints:
                self._sockets.append((self._held.enter_context(bind(*parse_endpoint(text), f"gather.{name}")), has_tls))
        if gather.socket:
            owner = owner_of(gather.user, "gather.user")
            local = bind_local(gather.socket, "gather.socket", int(gather.socket_mode, 8), owner)
            self._sockets.append((self._held.enter_context(local), False))
            self._path = gather.socket

    def load(self, store: Store, progress: Callable[[int], None]) -> None:
        """Read what is listed, and make what serves; the store is ours from now on."""
        self._store = self._held.enter_context(closing(store))
        gather = self._settings.gather
        self._standing = Standing()
        self._follower = Follower(store, self._standing)
        began_s = time.monotonic()
        count = self._follower.load(progress)
        self._log.emit("LOADED", listings=count, seconds=round(time.monotonic() - began_s, 3), seq=self._follower.seq)
        self._writer = Writer(store, self._log, self._undone)
        self._breaker = self._new_breaker(self._settings)
        v6_plen = self._parts.manner.v6_plen
        sink = Sink(Tally(self._parts.terms), self._parts.reporters, self._world(self._parts), v6_plen)
        self._desk = Desk(sink, self._standing, self._parts.manner, time.time, Complaints(self._log))
        self._desk.status, self._desk.metrics = self.status, self.metrics
        self._server = Server(self._desk, Limits(gather.connections, gather.idle_s, gather.kept_s), self._log)
        self._server.tls = self._tls

    def run(self, signals: Signals) -> None:
        """Serve until asked to stop; Unavailable if a part of us ended by itself."""
        for sock, has_tls in self._sockets:
            sock.listen(BACKLOG)
            (self._server.listen_tls if has_tls else self._server.listen)(sock)
        try:
            self._writer.start()
            self._server.start()
            listen = ",".join(map(shown, (sock for sock, _ in self._sockets)))
            self._log.emit("START", service="gather", listen=listen, reporters=len(self._parts.reporters.all))
            self._warn()
            notify("READY=1")
            self._watch(signals)
        finally:
            notify("STOPPING=1")
            self._server.stop()
            if self._writer.ident is not None and not self._writer.stop():
                self._log.emit("TROUBLE", what="stop", why="the database takes too long", waiting=len(self._writer))
        self._log.emit("STOP", service="gather", waiting=len(self._writer), **self._desk.sink.counts)

    def close(self) -> None:
        """Let go of sockets and store."""
        self._held.close()
        if self._path:
            with suppress(OSError):
                Path(self._path).unlink()

    def status(self) -> dict[str, Any]:
        """Return what `gather status` shows."""
        sink, now = self._desk.sink, time.time()
        return {
            "observe": self._desk.manner.is_observing,
            **{name: round(value, 3) for name, value in self._gauges().items()},
            **{name: dict(counts) for name, counts in self._counters().items()},
            "reporters": [
                {
                    "name": reporter.name,
                    "weight": reporter.voice.weight,
                    "tripped": sink.is_tripped(reporter.name, now),
                    **sink.by_reporter.get(reporter.name, {}),
                }
                for reporter in sink.reporters.all
            ],
        }

    def metrics(self) -> str:
        return figures.exposition(self._desk.sink.by_reporter, self._counters(), self._gauges())

    def _counters(self) -> dict[str, Counter[str]]:
        return {
            "events_total": self._desk.sink.counts,
            "connections_total": self._server.counts,
            "written_total": self._writer.counts,
        }

    def _gauges(self) -> dict[str, float]:
        tally = self._desk.sink.tally
        return {
            "connections": len(self._server),
            "waiting": len(self._writer),
            "addresses": len(tally),
            "forgotten_total": tally.forgotten,
            "listings": len(self._standing),
            "lag_seconds": time.monotonic() - self._current_s,
        }

    def _world(self, parts: Parts) -> World:
        return World(parts.never_list.find, self._standing.find, self._emit, self._admits)

    def _new_breaker(self, settings: Settings) -> Breaker:
        """Return the breaker of all writers, with what they listed in the last hour."""
        guard, now = settings.guard, time.time()
        breaker = Breaker(Caps(per_hour=guard.max_listings_per_hour, per_net=guard.max_per_net))
        for change in listed_since(self._store, int((now - HOUR_S) * 1000), RECENT_CHANGES):
            if is_counted(change.source):
                breaker.note(change.time_ms / 1000, change.key, change.source)
        return breaker

    def _admits(self, key: bytes, by: str, now: float) -> bool:
        return self._breaker.admit(key, SOURCE + by, now) is Admission.OPEN

    def _emit(self, decision: Decision) -> bool:
        """Have a decision carried out, or only told."""
        if not self._desk.manner.is_observing:
            return self._writer.put(decision)
        self._log.emit("WOULD", src=decision.key, colour=decision.colour, by=decision.by, why=decision.why)
        return True

    def _undone(self, key: bytes) -> None:
        self._server.call(lambda: self._desk.sink.tally.retract(key))

    def _warn(self) -> None:
        """Say so if nobody can ever get anything listed."""
        everybody = sum(reporter.voice.most for reporter in self._parts.reporters.all)
        wanted = self._parts.terms.weights["black"]
        if everybody < wanted:
            self._log.emit("NOTE", what="reporters", why=f"all together weigh {everybody:g}, black wants {wanted:g}")

    # The main thread's turns.

    def _watch(self, signals: Signals) -> None:
        beat_s, beaten_s = watchdog_s(), float("-inf")
        while not signals.stop:
            if not (self._server.is_alive and self._writer.is_alive()):
                raise Unavailable("gather: a thread ended; the supervisor should start us anew")
            if signals.take_reload():
                self._reload()
            wait_s = self._follow()
            self._tell_tripped()
            now_s = time.monotonic()
            if beat_s and now_s - beaten_s >= beat_s and now_s - self._server.swept_s < STALL_S:
                beaten_s = now_s
                notify("WATCHDOG=1")
            signals.wait(wait_s)

    def _follow(self) -> float:
        """Apply what changed in the store; return how long to wait for more."""
        interval_s = self._settings.store.follow_interval_s
        try:
            changes = self._follower.poll(FOLLOW_STEP)
            texts = self._missing_texts()
        except Replaced:
            raise
        except SpamCannibalError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log.emit("TROUBLE", what="follow", why=self._trouble)
            return interval_s
        self._trouble = ""
        if changes or texts:
            self._server.call(lambda: self._take_in(changes, texts))
        if len(changes) < FOLLOW_STEP:
            self._current_s = time.monotonic()
            return interval_s
        return 0.001

    def _missing_texts(self) -> list[tuple[bytes, str]]:
        """Read texts that answers lacked."""
        found = []
        for _ in range(min(TEXTS_A_TURN, len(self._standing.missing))):
            key = self._standing.missing.popleft()
            listing = self._store.get_key(key)
            found.append((key, self._store.text(listing) if listing else ""))
        return found

    def _take_in(self, changes: Iterable[Change], texts: Iterable[tuple[bytes, str]]) -> None:
        """Take texts in, and what other writers listed; in the serving thread."""
        for key, text in texts:
            self._standing.put(key, text)
        for change in changes:
            if change.action is not Action.UNLIST:
                self._standing.put(change.key, change.text)
            is_ours = change.source.startswith((SOURCE, PEER))
            if change.action is Action.LIST and is_counted(change.source) and not is_ours:
                self._breaker.note(change.time_ms / 1000, change.key, change.source)

    def _tell_tripped(self) -> None:
        """Say which caps were met."""
        tripped, trips = self._desk.sink.tripped, self._breaker.trips
        while tripped:
            self._log.emit("BREAKER", reporter=tripped.pop(), why=TRIPPED)
        while trips:
            self._log.emit("BREAKER", why=trips.pop())

    def _reload(self) -> None:
        """Go on with new settings; if they are wrong, say so and keep the old ones."""
        notify("RELOADING=1")
        try:
            new = self._source.reload()
            parts = self._source.parts(new)
            tls = self._source.tls(new.gather)
            breaker = self._breaker if new.guard == self._settings.guard else self._new_breaker(new)
        except SpamCannibalError as error:
            self._log.emit("RELOAD", service="gather", result="refused", error=str(error))
        else:
            needs_restart = needs_restart_for(self._settings, new)
            self._store.guard = parts.never_list
            self._server.call(lambda: self._adopt(parts, breaker, tls))
            self._settings, self._parts = new, parts
            reporters = len(parts.reporters.all)
            told = ",".join(needs_restart) or None
            self._log.emit("RELOAD", service="gather", result="done", reporters=reporters, needs_restart=told)
        notify("READY=1")

    def _adopt(self, parts: Parts, breaker: Breaker, tls: ssl.SSLContext | None) -> None:
        """Take new parts in; in the serving thread."""
        self._breaker = breaker
        self._server.tls = tls or self._server.tls  # where TLS is spoken at all changes by a restart only
        sink = self._desk.sink
        peers = parts.terms.peers | sink.tally.terms.peers  # what a former peer said does not become ours
        sink.tally.terms = parts.terms._replace(peers=peers)
        sink.v6_plen = parts.manner.v6_plen
        sink.adopt(parts.reporters)
        sink.world = self._world(parts)
        self._desk.manner = parts.manner


RESTARTS = ("listen", "tls_listen", "socket", "socket_mode", "connections", "idle_s", "kept_s", "user")


def needs_restart_for(old: Settings, new: Settings) -> list[str]:
    """Return the keys whose change a running listener does not take."""
    keys = [f"gather.{name}" for name in RESTARTS if getattr(old.gather, name) != getattr(new.gather, name)]
    return keys + ["store.path"] * (old.store.path != new.store.path)
