"""The gather listener as a process: settings and store in, a Daemon out, until SIGTERM."""

import gc
import ssl
import sys
from contextlib import closing
from pathlib import Path

import click
import msgspec

from spamcannibal.addr import parse_key
from spamcannibal.commands.common import load_settings, open_store, progress
from spamcannibal.commands.credentials import read_key, server_tls
from spamcannibal.events import EventLog
from spamcannibal.gather.daemon import Daemon, Parts
from spamcannibal.gather.decision import ORDER, Terms, Voice
from spamcannibal.gather.desk import Manner
from spamcannibal.gather.reporters import LOCAL, Reporter, Reporters
from spamcannibal.neverfile import read_never_list
from spamcannibal.service import CAP_NET_BIND_SERVICE, Signals, drop_privileges
from spamcannibal.settings import Settings
from spamcannibal.settings.gather import GatherSettings, ReporterSettings

SWITCH_S = 0.001  # Python's own 5 ms would let a report wait so long for a turn of another thread


def serve(ctx: click.Context, observe: bool) -> None:
    """Run the listener until SIGTERM."""
    sys.setswitchinterval(SWITCH_S)
    source = _Source(ctx, observe)
    settings = source.reload()
    log = EventLog(sys.stderr, settings.log.format)
    with Signals() as signals, closing(Daemon(settings, source, log)) as daemon:
        daemon.bind()
        if settings.gather.user:
            drop_privileges(settings.gather.user, (CAP_NET_BIND_SERVICE,))
        store = open_store(settings)
        with progress(store.counts()["tarpit"], "Loading listings") as step:
            daemon.load(store, step)
        gc.collect()
        gc.freeze()  # what is here now stays: to look through it would stop everybody for 10 ms now and then
        daemon.run(signals)
        log.flush()


class _Source:
    """What the daemon asks for: settings of the command line and what is made of them."""

    def __init__(self, ctx: click.Context, observe: bool) -> None:
        self._ctx = ctx
        self._observe = observe

    def reload(self) -> Settings:
        settings = load_settings(self._ctx)
        if self._observe:
            gather = msgspec.structs.replace(settings.gather, observe=True)
            settings = msgspec.structs.replace(settings, gather=gather)
        return settings

    def parts(self, settings: Settings) -> Parts:
        gather, v6_plen = settings.gather, settings.guard.v6_prefix
        manner = Manner(_origins(gather.ask), gather.act, gather.text, v6_plen, gather.observe, gather.milter_act)
        reporters = Reporters(map(reporter, gather.reporter))
        return Parts(terms(gather), reporters, manner, read_never_list(settings))

    def tls(self, gather: GatherSettings) -> ssl.SSLContext | None:
        return server_tls(gather)


def terms(gather: GatherSettings) -> Terms:
    """Return what it takes to be listed."""
    return Terms(
        weights={colour: getattr(gather, f"{colour}_weight") for colour in ORDER},
        lasts_s={colour: getattr(gather, f"{colour}_s") for colour in ORDER},
        within_s=gather.within_s,
        half_life_s=gather.half_life_s,
        session_s=gather.session_s,
        addresses=gather.addresses,
        peers=frozenset(one.name for one in gather.reporter if one.peer),
    )


def reporter(one: ReporterSettings) -> Reporter:
    """Return a reporter of the settings; ConfigError if his key can't be read."""
    return Reporter(
        voice=Voice(one.name, one.weight, one.most or one.weight),
        nets=tuple(key for key in _origins(one.addresses) if isinstance(key, bytes)),
        is_local=LOCAL in one.addresses,
        fingerprints=frozenset(text.replace(":", "").lower() for text in one.fingerprints),
        names=frozenset(map(str.lower, one.names)),
        secret=read_key(Path(one.key_file)) if one.key_file else b"",
        colours=frozenset(one.colours),
        prefixes=one.prefixes,
        per_s=one.per_s,
        per_hour=one.per_hour,
    )


def _origins(texts: tuple[str, ...]) -> tuple[bytes | str, ...]:
    return tuple(text if text == LOCAL else parse_key(text) for text in texts)
