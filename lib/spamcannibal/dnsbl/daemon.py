"""The DNS server's life beside its store: wait for it, follow it, tell how old the data is, obey signals.

The store is opened read-only, so a writer must have made it ready. Until then queries in our zones get SERVFAIL and we
try again, less and less often. A writer that waits for nothing else (`source.prepare`) is asked for when none comes by
itself within PATIENCE_S; by `prepare` at once, by who becomes a user that may only read.

Data is as old as the last time when nothing was left to follow. Past max_lag_s it is told (STALE, then CURRENT); past
stale_limit_s, if that is set, the server answers SERVFAIL rather than what it has.

SIGHUP reads the settings anew: zones, their secondaries and cookie secrets change at once, the rest needs a restart,
which is said. Wrong settings change nothing. SIGTERM ends.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

from spamcannibal.dnsbl.cookies import Cookies
from spamcannibal.dnsbl.publisher import STEP, Publisher
from spamcannibal.dnsbl.responder import Log
from spamcannibal.dnsbl.secondaries import Secondaries, Terms
from spamcannibal.dnsbl.server import Server
from spamcannibal.dnsbl.zone import ZoneSpec
from spamcannibal.errors import Replaced, SpamCannibalError, Unavailable
from spamcannibal.service import Signals, notify, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store

COMPLAIN_S = 10.0
JUDGE_S = 0.2
PATIENCE_S = 2.0
PREPARE_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0
EXTEND_S = 30


class Helper(Protocol):
    """A process that makes the store ready."""

    def close(self) -> None: ...


class Source(Protocol):
    """Where settings, zones and the store come from."""

    def open(self, settings: Settings) -> Store: ...
    def prepare(self) -> Helper: ...
    def reload(self) -> Settings: ...
    def specs(self, settings: Settings) -> Sequence[ZoneSpec]: ...
    def cookies(self, settings: Settings) -> Cookies | None: ...
    def terms(self, settings: Settings) -> Terms: ...
    def needs_restart(self, old: Settings, new: Settings) -> bool: ...


class Daemon:
    """Keeps what a server publishes equal to the store, in the caller's thread."""

    def __init__(self, settings: Settings, server: Server, source: Source, log: Log) -> None:
        self._settings = settings
        self._server = server
        self._source = source
        self._log = log
        self._held = ExitStack()
        self._publisher: Publisher | None = None
        self._secondaries: Secondaries | None = None
        self._began_s = self._current_s = time.monotonic()
        self._complained_s = self._prepared_s = float("-inf")
        self._wait_s = FIRST_WAIT_S
        self._helper: Helper | None = None
        self._trouble = ""
        self._is_late = False
        self._closed = threading.Event()
        self._judge = threading.Thread(target=self._judge_until_closed, name="age", daemon=True)

    @property
    def lag_s(self) -> float:
        """Return how old the data is."""
        return time.monotonic() - self._current_s

    @property
    def figures(self) -> dict[str, float]:
        """Return what metrics say of us."""
        publisher = self._publisher
        return {
            "lag_seconds": self.lag_s,
            "stale": self._server.responder.is_stale,
            "serial": max(publisher.seq, 0) if publisher else 0,
            "entries": publisher.entries if publisher else 0,
            "text_failures_total": publisher.texts.failures if publisher else 0,
            **(self._secondaries.figures if self._secondaries else {}),
        }

    def prepare(self) -> None:
        """Have the store made ready now, if it is there and wants that, with the rights that we still have."""
        if not Path(self._settings.store.path).is_dir():
            return  # nor would we make one for whom it may not belong to
        try:
            self._source.open(self._settings).close()
        except SpamCannibalError:
            self._helper = self._source.prepare()

    def run(self, signals: Signals) -> None:
        """Go on until asked to stop."""
        self._judge.start()
        while not signals.stop:
            if not self._server.is_alive:
                raise Unavailable("dnsbl: an answering thread ended; the supervisor should start us anew")
            if signals.take_reload():
                self._reload()
            wait_s = self._open() if self._publisher is None else self._follow(self._publisher)
            signals.wait(wait_s)

    def close(self) -> None:
        """Let go of the store."""
        self._closed.set()
        if self._judge.is_alive():
            self._judge.join()
        self._server.responder.transfers = self._secondaries = self._publisher = None
        self._dismiss()
        self._held.close()

    def _open(self) -> float:
        """Read the store if it can be; return how long to wait."""
        began_s = time.monotonic()
        with ExitStack() as opened:
            try:
                store = opened.enter_context(closing(self._source.open(self._settings)))
                publisher = opened.enter_context(closing(Publisher(store, self._source.specs(self._settings))))
                publisher.load()
                terms = self._source.terms(self._settings)
                secondaries = opened.enter_context(closing(Secondaries(store, publisher.view, terms, self._log)))
            except SpamCannibalError as error:
                return self._wait(str(error))
            self._held = opened.pop_all()
        self._dismiss()
        self._server.publish(publisher.view, publisher.texts)
        self._current_s = time.monotonic()
        self._publisher, self._secondaries = publisher, secondaries  # from here on its age is judged
        self._server.responder.transfers = secondaries.transfers
        self._server.mark_stale(False)
        secondaries.start(publisher.view, terms)
        took_s = round(time.monotonic() - began_s, 3)
        listen = ",".join(self._server.endpoints)
        self._log.emit("READY", service="dnsbl", listen=listen, entries=publisher.entries, took_s=took_s)
        notify("READY=1")
        return 0.0

    def _wait(self, reason: str) -> float:
        """Say why there is no store yet; return how long to wait for it."""
        now_s = time.monotonic()
        if now_s - self._complained_s >= COMPLAIN_S:
            self._complained_s = now_s
            self._log.emit("WAIT", service="dnsbl", reason=reason)
            notify(f"STATUS=waiting for the store: {reason}\nEXTEND_TIMEOUT_USEC={EXTEND_S * 1_000_000}")
        if now_s - self._began_s >= PATIENCE_S and now_s - self._prepared_s >= PREPARE_S:
            self._dismiss()
            self._prepared_s = now_s
            self._helper = self._source.prepare()
            self._wait_s = FIRST_WAIT_S
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, LONGEST_WAIT_S)
        return wait_s

    def _dismiss(self) -> None:
        if self._helper:
            self._helper.close()
            self._helper = None

    def _follow(self, publisher: Publisher) -> float:
        """Apply what changed; return how long to wait."""
        interval_s = self._settings.store.follow_interval_s
        try:
            applied = publisher.follow()
        except Replaced:
            raise  # what we hold is of another list: whoever supervises us starts us with this one
        except SpamCannibalError as error:
            self._trouble = str(error)
            return interval_s
        if self._secondaries:
            self._secondaries.changed(publisher.seq)
        if applied < STEP:
            self._trouble = ""
            self._current_s = time.monotonic()
        # Behind, the answering thread still gets its turn between two steps.
        return 0.001 if applied else interval_s

    def _judge_until_closed(self) -> None:
        """Judge the data's age in a thread of its own: following may be what hangs.

        For the same reason it is this thread that tells the supervisor that queries are answered: killed for a store
        that hangs, we would have nothing to answer from.
        """
        beat_s, beaten_s = watchdog_s(), float("-inf")
        while not self._closed.wait(JUDGE_S):
            self._judge_age()
            if beat_s and self._server.is_alive and time.monotonic() - beaten_s >= beat_s:
                beaten_s = time.monotonic()
                notify("WATCHDOG=1")

    def _judge_age(self) -> None:
        """Tell when the data is old, and when it is not any more."""
        dnsbl, lag_s, now_s, publisher = self._settings.dnsbl, self.lag_s, time.monotonic(), self._publisher
        if publisher is None:
            return
        self._server.mark_stale(0 < dnsbl.stale_limit_s < lag_s)
        if lag_s > dnsbl.max_lag_s:
            self._is_late = True
            if now_s - self._complained_s >= COMPLAIN_S:
                self._complained_s = now_s
                is_silent = self._server.responder.is_stale or None
                lag = {"lag_s": round(lag_s, 1), "seq": publisher.seq, "servfail": is_silent}
                self._log.emit("STALE", service="dnsbl", **lag, error=self._trouble or None)
        elif self._is_late:
            self._is_late = False
            self._complained_s = float("-inf")
            self._log.emit("CURRENT", service="dnsbl", seq=publisher.seq)

    def _reload(self) -> None:
        """Publish the zones of new settings; if they are wrong, say so and keep the old ones."""
        try:
            new = self._source.reload()
            specs, cookies, terms = self._source.specs(new), self._source.cookies(new), self._source.terms(new)
            if self._publisher:
                self._publisher.adopt(specs)
        except SpamCannibalError as error:
            self._log.emit("RELOAD", service="dnsbl", result="refused", error=str(error))
            return
        self._server.set_cookies(cookies)
        if self._publisher:
            self._server.publish(self._publisher.view, self._publisher.texts)
        if self._publisher and self._secondaries:
            self._secondaries.adopt(self._publisher.view, terms)
        needs_restart = self._source.needs_restart(self._settings, new)
        self._settings = new
        self._log.emit("RELOAD", service="dnsbl", result="done", zones=len(specs), needs_restart=needs_restart or None)
