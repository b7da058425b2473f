"""The DNS server as a process: settings and store in, a Server and its Daemon out, until SIGTERM.

The server binds, becomes the configured user and answers; dnsbl/daemon.py opens the database for reading, follows it
and obeys signals. A reader can neither make a database nor recover it; where no other writer comes, a process of our
own is one until we have it open (`dnsbl prepare`), begun before the server becomes a user that may not write.
"""

import base64
import contextlib
import os
import pwd
import secrets
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import click
import msgspec

from spamcannibal._core import RateLimit, Talkers
from spamcannibal.addr import parse_endpoint, parse_key
from spamcannibal.checks import is_secret
from spamcannibal.commands.common import config_path, load_settings, open_store
from spamcannibal.dnsbl import metrics
from spamcannibal.dnsbl.access import keys_named
from spamcannibal.dnsbl.answer import View
from spamcannibal.dnsbl.cookies import SECRET_BYTES, Cookies
from spamcannibal.dnsbl.daemon import Daemon, Helper
from spamcannibal.dnsbl.diary import Diary
from spamcannibal.dnsbl.pages import Page, Pages
from spamcannibal.dnsbl.responder import Policy
from spamcannibal.dnsbl.secondaries import Terms, check
from spamcannibal.dnsbl.server import Limits, Server
from spamcannibal.dnsbl.tellings import named_counts
from spamcannibal.dnsbl.tsig import Key
from spamcannibal.dnsbl.wire import Labels
from spamcannibal.dnsbl.zone import Zones, ZoneSpec, compile_zone, to_labels, with_colours
from spamcannibal.errors import ConfigError
from spamcannibal.events import EventLog
from spamcannibal.service import CAP_NET_BIND_SERVICE, Signals, drop_privileges, notify
from spamcannibal.settings import Settings
from spamcannibal.settings.dnsbl import DnsblSettings
from spamcannibal.store.stores import Store

PREPARE_S = 30.0
STORE_WAIT_S = 5.0  # whoever is longer in the store, SIGTERM must not wait for
SECRETS_FILE = "dns-cookie-secrets"
TOP_LIMIT = 1000


def serve(ctx: click.Context) -> None:
    """Run the server until SIGTERM."""
    source = _Source(ctx)
    settings = load_settings(ctx)
    dnsbl, log = settings.dnsbl, EventLog(sys.stderr, settings.log.format)
    threads = dnsbl.threads or len(os.sched_getaffinity(0))
    limits = Limits(dnsbl.udp_payload_bytes, dnsbl.tcp_connections, dnsbl.tcp_idle_s, threads)
    zones = Zones(map(compile_zone, zone_specs(settings)))  # mistakes come out before anything is bound
    source.terms(settings)
    talkers = Talkers(dnsbl.top_talkers)
    policy = Policy(source.cookies(settings), _rate_limit(dnsbl), talkers, _chaos(dnsbl))
    with (
        Signals() as signals,
        closing(Server(_endpoints(dnsbl), limits, log, policy)) as server,
        closing(Daemon(settings, server, source, log)) as daemon,
    ):
        if dnsbl.metrics:
            server.add_pages(*parse_endpoint(dnsbl.metrics), Pages(_pages(server, daemon, talkers)))
        if dnsbl.user:
            if _is_another(dnsbl.user, Path(settings.store.path)):
                daemon.prepare()
            drop_privileges(dnsbl.user, (CAP_NET_BIND_SERVICE,))
        server.mark_stale(True)
        server.start(View(zones, {}, lambda: 0, lambda key: b""), None)
        diary = Diary(Path(settings.store.path), partial(_tellings, server), log)
        diary.start()
        daemon.run(signals)
        notify("STOPPING=1")
        server.stop()
        diary.close()
        log.emit("STOP", service="dnsbl", **server.counters)
        log.flush()


def _is_another(user: str, path: Path) -> bool:
    """Tell whether a user does not own the store, so that no helper of his could make it ready later."""
    try:
        return pwd.getpwnam(user).pw_uid != path.stat().st_uid
    except (KeyError, OSError):
        return False


class _Helper:
    """`dnsbl prepare` as a process."""

    def __init__(self, path: str | None) -> None:
        words = [sys.executable, "-P", "-m", "spamcannibal", *(["-c", path] if path else []), "dnsbl", "prepare"]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=PREPARE_S)
            return
        with contextlib.suppress(PermissionError):  # begun before we became another user; it ends by itself
            self._process.kill()
            self._process.wait()


class _Source:
    """What the daemon asks for: settings of the command line and what is made of them."""

    def __init__(self, ctx: click.Context) -> None:
        self._ctx = ctx
        self._random = secrets.token_bytes(SECRET_BYTES)

    def open(self, settings: Settings) -> Store:
        return open_store(settings, readonly=True, wait_s=STORE_WAIT_S)

    def prepare(self) -> Helper:
        return _Helper(config_path(self._ctx))

    def reload(self) -> Settings:
        return load_settings(self._ctx)

    def specs(self, settings: Settings) -> list[ZoneSpec]:
        return zone_specs(settings)

    def cookies(self, settings: Settings) -> Cookies | None:
        """Return the cookies by the secrets of the settings, else of the file in the store, else by a random one."""
        if not settings.dnsbl.cookies:
            return None
        words = settings.dnsbl.cookie_secrets or _secret_words(Path(settings.store.path) / SECRETS_FILE)
        return Cookies([bytes.fromhex(word) for word in words] or [self._random])

    def terms(self, settings: Settings) -> Terms:
        """Return what is agreed with secondaries; ConfigError if a key is missing or its file can't be used."""
        dnsbl = settings.dnsbl
        keys = keys_named(Key(to_labels(key.name), key.algorithm, _secret(Path(key.secret_file))) for key in dnsbl.key)
        sources = tuple(addr for addr, _ in _endpoints(dnsbl))
        terms = Terms(zone_specs(settings), keys, dnsbl.notify_delay_s, sources, dnsbl.transfers)
        check(terms)
        return terms

    def needs_restart(self, old: Settings, new: Settings) -> bool:
        alike = {
            "zone": (),
            "key": (),
            "notify_delay_s": 1.0,
            "cookies": True,
            "cookie_secrets": (),
            "max_lag_s": 1.0,
            "stale_limit_s": 0.0,
        }
        before, after = (msgspec.structs.replace(one.dnsbl, **alike) for one in (old, new))
        return before != after or old.store.path != new.store.path


def _secret_words(path: Path) -> list[str]:
    """Return the secrets of a file, none if there is no file; ConfigError if it can't be read or used."""
    try:
        words = path.read_text("ascii", "replace").split()
    except FileNotFoundError:
        return []
    except OSError as error:
        # A directory that we may not look into holds no file for us; waiting for the store tells about it.
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return []
        raise ConfigError(f"{path}: can't read the cookie secrets: {error.strerror}") from None
    if not all(map(is_secret, words)):
        raise ConfigError(f"{path}: want cookie secrets of 32 hexadecimal digits, one a line, the newest first")
    return words


def _secret(path: Path) -> bytes:
    """Return the secret of a key's file."""
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"{path}: everybody can read or write this secret; want chmod 640 or less")
        return base64.b64decode(path.read_text("ascii").strip(), validate=True)
    except OSError as error:
        raise ConfigError(f"{path}: can't read the secret: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path}: want a secret in base64 and nothing else") from None


def _rate_limit(dnsbl: DnsblSettings) -> RateLimit | None:
    if not dnsbl.rrl_per_s and not dnsbl.rrl_all_per_s:
        return None
    exempt = tuple(map(parse_key, dnsbl.rrl_exempt))
    try:
        return RateLimit(dnsbl.rrl_per_s, dnsbl.rrl_all_per_s, dnsbl.rrl_slip, dnsbl.rrl_buckets, exempt)
    except ValueError as error:
        raise ConfigError(f"dnsbl.rrl_exempt: {error}") from None


def _chaos(dnsbl: DnsblSettings) -> dict[Labels, bytes]:
    """Return what is told of ourselves, by name."""
    told = {"version.bind": dnsbl.version, "version.server": dnsbl.version}
    told |= {"id.server": dnsbl.server_id, "hostname.bind": dnsbl.server_id}
    return {to_labels(name): text.encode("ascii") for name, text in told.items() if text}


def _pages(server: Server, daemon: Daemon, talkers: Talkers) -> dict[str, Page]:
    """Return what is shown over HTTP."""

    def exposition() -> str:
        figures = {**daemon.figures, **server.figures}
        return metrics.exposition(server.told, server.responder.counters, server.fast_counters, figures)

    return {
        "/metrics": ("text/plain; version=0.0.4", exposition),
        "/top": ("application/json", lambda: metrics.top(talkers.top(TOP_LIMIT))),
    }


def _tellings(server: Server) -> tuple[dict[str, int], dict[str, int]]:
    return named_counts(server.told, server.responder.counters, server.fast_counters)


def zone_specs(settings: Settings) -> list[ZoneSpec]:
    """Return what the settings say about zones; ConfigError if there are none."""
    if not settings.dnsbl.zone:
        raise ConfigError("dnsbl.zone: none to answer for; add [[dnsbl.zone]], or take dnsbl out of services.enabled")
    return with_colours(ZoneSpec(**msgspec.structs.asdict(zone)) for zone in settings.dnsbl.zone)


def _endpoints(dnsbl: DnsblSettings) -> list[tuple[bytes, int]]:
    return [parse_endpoint(text) for text in dnsbl.listen]
