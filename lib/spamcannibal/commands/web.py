"""`spamcannibal web`: the pages over HTTP until SIGTERM; and one request of a CGI server."""

from __future__ import annotations

import functools
import os
import sys
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import click

from spamcannibal.addr import parse_endpoint
from spamcannibal.checks import is_contact, is_endpoint
from spamcannibal.commands.common import config_path, load_settings, open_store, settings_path
from spamcannibal.commands.explain import zone_kinds
from spamcannibal.config import load
from spamcannibal.errors import SpamCannibalError, StoreError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.names import Resolved
from spamcannibal.robot.mailout import Mailer
from spamcannibal.service import CAP_NET_BIND_SERVICE, Signals, drop_privileges, notify, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.sockets import bind, bind_local, owner_of, shown
from spamcannibal.store.stores import Store
from spamcannibal.web.app import create_app
from spamcannibal.web.site import Site

TURN_S = 1.0
STORE_WAIT_S = 5.0  # a visitor does not wait longer
BACKLOG = 1024


@click.command()
@click.pass_context
def command(ctx: click.Context) -> None:
    """Serve the web pages and the API over HTTP, for a proxy that speaks TLS.

    Look-ups, evidence, removal, the activity report, administration. A CGI server runs the same by
    cgi-bin/cannibal.cgi; any WSGI server by spamcannibal.commands.web:application.

    \b
    Examples:
      spamcannibal web
      curl http://127.0.0.1:8025/lookup/192.0.2.7.json
    """
    settings = load_settings(ctx)
    log = EventLog(sys.stderr, settings.log.format)
    web = settings.web
    with Signals() as signals, ExitStack() as stack:
        socks = [stack.enter_context(closing(_bound(text, web.socket_mode, web.user))) for text in web.listen]
        if web.user:
            drop_privileges(web.user, (CAP_NET_BIND_SERVICE,))
        site = stack.enter_context(closing(make_site(settings, log, config_path(ctx))))
        server = _Server(site, socks)
        stack.callback(server.stop)
        log.emit("START", service="web", listen=" ".join(map(shown, socks)))
        notify("READY=1")
        beat_s = min(watchdog_s() or TURN_S, TURN_S)
        while not signals.stop and server.is_alive and not site.is_over:
            if signals.take_reload():
                site = _reload(ctx, stack, server, log) or site
            notify("WATCHDOG=1")
            signals.wait(beat_s)
        notify("STOPPING=1")
    log.emit("STOP", service="web")
    if not signals.stop:
        raise Unavailable("web: the database was replaced, or the server ended by itself; start it again")


def make_site(settings: Settings, log: EventLog, config: str | None = None) -> Site:
    """Return the site of the settings; its store is opened by the first page that needs it."""
    robot = settings.robot
    return Site(
        settings=settings,
        opened=lambda: _opened(settings, log),
        zones=zone_kinds(settings),
        names=Resolved(settings.remote),
        send=Mailer(robot.sendmail, robot.smtp, robot.wait_s).send,
        log=log,
        config=settings_path(config),
        contacts=lambda addr: _contacts(settings, log, addr),
        lists=functools.cache(lambda: _lists(settings)),
    )


def _opened(settings: Settings, log: EventLog) -> Store:
    """Open the store, to read only if we may not write; then no request for removal can be taken."""
    try:
        return open_store(settings, wait_s=STORE_WAIT_S)
    except StoreError as error:
        try:
            store = open_store(settings, readonly=True, wait_s=STORE_WAIT_S)
        except SpamCannibalError:
            raise error from None
        log.emit("WEB", what="the database is opened to read only", why=str(error))
        return store


def _contacts(settings: Settings, log: EventLog, addr: bytes) -> list[str] | None:
    """Return who answers for an address, as reports ask; None if that can't be told now."""
    from spamcannibal.commands.report_abuse import contacts_of

    try:
        return [each for each in contacts_of(settings, addr)[0] if is_contact(each)]
    except SpamCannibalError as error:
        log.emit("REMOVAL", what="no contact", src=addr, why=str(error))
        return None


def _lists(settings: Settings) -> dict[str, RemoteList]:
    """Return what the catalogue says of remote lists; its mistakes are those of `config check` to tell."""
    from spamcannibal.remote.catalogue import read_lists

    return read_lists(Path(settings.remote.lists_dir), [])


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve one request of any WSGI server; the settings are those of $SPAMCANNIBAL_CONFIG or the usual place."""
    return _application()(environ, start_response)


def cgi() -> None:
    """Serve the one request that a CGI server describes in the environment; SPAMCANNIBAL_ROOT is the first page."""
    import signal
    from wsgiref.handlers import CGIHandler

    # A server that has its answer ends us (lighttpd does), perhaps inside the database, which would cost a recovery:
    # we end by ourselves, and soon. Not "ignored": programs that we start would inherit that.
    signal.signal(signal.SIGTERM, lambda *_: None)
    if os.environ.get("PATH_INFO", "") in ("", "/"):
        os.environ["PATH_INFO"] = os.environ.get("SPAMCANNIBAL_ROOT", "/")
    try:
        app = _application(os.environ["PATH_INFO"])
    except SpamCannibalError as error:
        print(f"spamcannibal: {error}", file=sys.stderr)
        sys.stdout.write("Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 30\r\n\r\n")
        sys.stdout.write("This service is not set up yet, or not available now.\n")
        return
    CGIHandler().run(app)
    _end()


def _end() -> None:
    """End this process here: to take the interpreter apart would cost a fifth of the whole request."""
    from spamcannibal.store.shared import close_all

    close_all()
    with suppress(OSError):  # the server may be gone
        sys.stdout.flush()
    os._exit(0)


_made: list[Any] = []
_lock = threading.Lock()


def _application(path: str | None = None) -> Any:
    with _lock:
        if not _made:
            settings = load(None, os.environ)
            _made.append(create_app(make_site(settings, EventLog(sys.stderr, settings.log.format)), path))
        return _made[0]


def _bound(text: str, mode: str, user: str) -> Any:
    if is_endpoint(text):
        return bind(*parse_endpoint(text), "web.listen")
    return bind_local(text, "web.listen", int(mode, 8), owner_of(user, "web.user"))


def _reload(ctx: click.Context, stack: ExitStack, server: _Server, log: EventLog) -> Site | None:
    """Take the settings of the file, except those of sockets and threads; None and the old ones if they are wrong."""
    try:
        site = make_site(load_settings(ctx), log, config_path(ctx))
    except SpamCannibalError as error:
        log.emit("RELOAD", ok=False, why=str(error))
        return None
    stack.enter_context(closing(site))
    server.serve(site)
    log.emit("RELOAD", ok=True)
    return site


class _Server:
    """waitress in a thread of its own."""

    def __init__(self, site: Site, socks: list[Any]) -> None:
        # Imported here, since a CGI request needs none of it.
        from waitress import create_server

        web = site.settings.web
        self._site: Site | None = None
        self.serve(site)
        for sock in socks:
            sock.listen(BACKLOG)
        self._server: Any = create_server(
            self._answer,
            sockets=socks,
            threads=web.threads,
            connection_limit=web.connections,
            channel_timeout=int(max(1, web.idle_s)),
            max_request_body_size=web.body_limit_bytes + 1,
            max_request_header_size=32 << 10,
            channel_request_lookahead=1,  # so that it notices when who waits hangs up
            ident=None,
            clear_untrusted_proxy_headers=False,
        )
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def serve(self, site: Site) -> None:
        """Answer by this site from now on; what still waits or streams for the one before ends."""
        before, self._site, self._app = self._site, site, create_app(site)
        if before is not None:
            before.is_over = True

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self._app(environ, start_response)

    def stop(self) -> None:
        """End, requests in hand first."""
        if self._site is not None:
            self._site.is_over = True
        self._server.task_dispatcher.shutdown()
        self._server.close()
        self._thread.join(5)
