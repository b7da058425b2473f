"""`spamcannibal tarpit`: the packet daemon in the foreground. Options override the settings, at a reload too."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from spamcannibal.checks import QUEUES_FORM, is_queues
from spamcannibal.commands.common import load_settings, open_store, progress
from spamcannibal.errors import ConfigError
from spamcannibal.events import EventLog
from spamcannibal.service import CAP_NET_ADMIN, CAP_NET_RAW, Signals, drop_privileges
from spamcannibal.settings import Settings

MODES = ["throttle", "persist", "stutter", "drop", "observe"]


@click.command()
@click.option("--queue", "queues", metavar="N|N:M", help="Kernel queue, or a range of them.")
@click.option("--mode", type=click.Choice(MODES), help="What to do to a listed source whose listing does not say.")
@click.option("--observe", "mode", flag_value="observe", help="Log and archive, let everything pass.")
@click.option("-X", "other_protocols", flag_value=True, default=None, help="Drop other protocols than TCP too.")
@click.option("-L", "loopback", flag_value=True, default=None, help="Treat loopback sources like others.")
@click.option("-k", "answer_synack", flag_value=False, default=None, help="Send no RST to a stray SYN/ACK.")
@click.option("--window", "throttle_window", type=int, metavar="BYTES", help="TCP window of throttle and persist.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Hold listed sources at the packet level, note everybody else.

    Stops at SIGTERM; SIGHUP reads the settings again. Needs CAP_NET_ADMIN and CAP_NET_RAW, and the rules of
    `spamcannibal firewall`.
    """
    # Imported here, since --help needs neither the queue's library nor the database's.
    from spamcannibal.tarpit.daemon import Daemon

    def read() -> Settings:
        return override(load_settings(ctx), options)

    settings = read()
    log = EventLog(sys.stderr, settings.log.format)
    with Signals() as signals:
        if settings.tarpit.user:
            drop_privileges(settings.tarpit.user, (CAP_NET_ADMIN, CAP_NET_RAW))
        store = open_store(settings)
        try:
            daemon = Daemon(settings, store, log)
            with progress(store.counts()["tarpit"], "Loading listings") as step:
                daemon.load(step)
            daemon.bind()
            daemon.serve(signals, read)
        finally:
            store.close()


def override(settings: Settings, options: dict[str, Any]) -> Settings:
    """Return the settings with what the command line says instead, checked like them."""
    given = {name: value for name, value in options.items() if value is not None}
    tarpit = msgspec.structs.replace(settings.tarpit, **given)
    if not is_queues(tarpit.queues):
        raise ConfigError(f"--queue: got {tarpit.queues!r}, want {QUEUES_FORM}")
    try:
        msgspec.convert(msgspec.to_builtins(tarpit), type(tarpit))
    except msgspec.ValidationError as error:
        raise ConfigError(f"command line: {error}") from None
    return msgspec.structs.replace(settings, tarpit=tarpit)
