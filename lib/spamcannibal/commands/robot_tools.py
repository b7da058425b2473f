"""The mail robot of the settings: everything in robot/ put together, for one message, a run or a daemon."""

from __future__ import annotations

import grp
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from spamcannibal.breaker import Caps
from spamcannibal.commands.common import open_store
from spamcannibal.commands.received import read_limits, read_ours
from spamcannibal.errors import ConfigError
from spamcannibal.events import EventLog
from spamcannibal.remote.verdict import Pointers
from spamcannibal.robot.folder import Bounds, Folder
from spamcannibal.robot.gate import Gate
from spamcannibal.robot.intake import Robot, Rules, Tools
from spamcannibal.robot.mailout import Mailer
from spamcannibal.robot.neighbours import Neighbours
from spamcannibal.robot.pgp import Gpg, Pgp
from spamcannibal.robot.plan import Terms
from spamcannibal.robot.policy import Submitter
from spamcannibal.robot.redact import Rules as Redaction
from spamcannibal.robot.world import BREAKER_AGE_S, Breakers
from spamcannibal.settings import Settings
from spamcannibal.settings.robot import RobotSettings
from spamcannibal.store.stores import Store

KEYS_FOLDER = "gnupg"
Kind = Literal["mail", "daemon", "files"]


@contextmanager
def open_robot(settings: Settings, log: EventLog, kind: Kind = "mail", is_dry: bool = False) -> Iterator[Robot]:
    """Yield the robot of the settings with its store open; ConfigError or Unavailable if it can't work.

    `kind` is "mail" for one from a mail server, "daemon" for many of them, "files" for what the operator has already.
    """
    robot, guard = settings.robot, settings.guard
    home = Path(robot.path)
    limits = read_limits(robot)
    pgp = keys_of(robot)
    submitters = submitters_of(robot)
    store = open_store(settings)
    try:
        per_run = 0 if kind == "daemon" else guard.max_listings_per_run
        caps = Caps(per_run, guard.max_listings_per_hour, guard.max_per_source_per_hour, guard.max_per_net)
        breakers = Breakers(store, caps, BREAKER_AGE_S if kind == "daemon" else float("inf"))
        letters = Bounds(robot.dead_letters, robot.kept_bytes, robot.kept_s)
        dead, strangers = (Folder(home / name, letters) for name in ("dead", "strangers"))
        tools = Tools(
            store=store,
            gate=Gate(submitters, limits, pgp),
            pgp=pgp,
            breaker=breakers.now,
            mailer=mailer_of(robot),
            dead=dead,
            strangers=strangers,
            originals=Folder(home / "originals", Bounds(robot.originals, robot.kept_bytes, robot.kept_s)),
            log=log,
            neighbours=neighbours_of(settings, store, log),
        )
        ours = read_ours(settings)
        addresses = tuple(each for each in robot.hide if "@" in each)
        domains = tuple(each for each in robot.hide if "@" not in each)
        redaction = Redaction(ours.names, ours.keys, addresses, domains, settings.store.evidence_limit_bytes)
        terms = Terms(ours, redaction, robot.text, robot.expires_s, guard.v6_prefix)
        is_mail = kind != "files"
        address = robot.address if is_mail else ""
        yield Robot(Rules(terms, limits, robot.replay_window_s, address, is_mail, is_dry), tools)
    finally:
        store.close()


def neighbours_of(settings: Settings, store: Store, log: EventLog) -> Neighbours | None:
    """Return what lists the neighbours of a source, None if that is off. The resolvers are asked when it is used."""
    if not settings.robot.neighbours:
        return None
    from spamcannibal.commands.running import generic_rule
    from spamcannibal.remote.client import Client

    def ask(addrs: Sequence[bytes]) -> Mapping[bytes, Pointers]:
        with Client(settings.remote, (), log) as client:
            return client.pointers(addrs)

    return Neighbours(store, generic_rule(settings), ask, log)


def keys_of(robot: RobotSettings) -> Callable[[], Pgp]:
    """Return what gives gpg with the robot's keys, made at its first use: most of a second process start."""
    made: list[Pgp] = []
    lock = threading.Lock()

    def give() -> Pgp:
        with lock:
            if not made:
                made.append(Pgp(Path(robot.path) / KEYS_FOLDER, how(robot)))
            return made[0]

    return give


def how(robot: RobotSettings) -> Gpg:
    """Return how to run gpg."""
    passphrase = read_passphrase(Path(robot.passphrase_file)) if robot.passphrase_file else b""
    # No more of it would be read, so no more is unpacked.
    return Gpg(robot.gpg, robot.key.upper(), passphrase, robot.wait_s, robot.message_limit_bytes)


def read_passphrase(path: Path) -> bytes:
    """Return the first line of a file that only its owner may read; ConfigError if it can't be used."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"robot.passphrase_file: {path}: others can read it, want chmod 600")
        with path.open("rb") as stream:
            return stream.readline(4096).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"robot.passphrase_file: {path}: {error.strerror}") from None


def submitters_of(robot: RobotSettings) -> list[Submitter]:
    """Return who may report and command."""
    return [
        Submitter(each.name, each.fingerprint.upper(), each.dkim, each.header, frozenset(each.roles), each.address)
        for each in robot.submitter
    ]


def mailer_of(robot: RobotSettings) -> Mailer:
    return Mailer(robot.sendmail, robot.smtp, robot.wait_s)


def group_id(name: str) -> int:
    """Return a group's number, -1 for no name; ConfigError if there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid if name else -1
    except KeyError:
        raise ConfigError(f"robot.lmtp_group: no such group: {name!r}") from None
