"""What `spamcannibal doctor` looks at, part by part: facts from doctor/host.py and reach.py into doctor's findings."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from spamcannibal.addr import format_endpoint, parse_endpoint, reachable
from spamcannibal.checks import is_endpoint
from spamcannibal.commands.dnsbl_serve import zone_specs
from spamcannibal.commands.reading import Opened, opened_for_reading
from spamcannibal.commands.running import rule_problems
from spamcannibal.doctor import asked, host, keeping, packets, reach
from spamcannibal.doctor.finding import Finding, State, Untold, Wrong
from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.neverfile import host_addresses, name_addresses, read_never_list
from spamcannibal.remote import catalogue
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store
from spamcannibal.tarpit.firewall import families

NAMES_S, STORE_S, ROBOT_S = 10.0, 5.0, 30.0


def settings_problems(settings: Settings) -> list[str]:
    """Return what is wrong in the files that the settings name, but for the never-list."""
    return list(rule_problems(settings))


def never_list(settings: Settings) -> Finding:
    """Look at the never-list, and whether it holds us."""
    path = settings.guard.never_list
    try:
        found = reach.within(NAMES_S, lambda: read_never_list(settings))
        named = reach.within(NAMES_S, lambda: list(name_addresses(settings.guard.own_names)))
    except ConfigError as error:
        return keeping.never_list(error.problems, (), path)
    except SpamCannibalError as error:
        return keeping.never_list(Untold(str(error)), (), path)
    own = sorted({*host_addresses(), *named})
    return keeping.never_list((), [key for key in own if found.find(key) is None], path)


def clock() -> Finding:
    return keeping.clock(host.is_clock_set())


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Opened]:
    """Give the database, open for reading; nothing is created, but one that nobody has open is made ready."""
    store = opened_for_reading(settings, STORE_S)
    try:
        yield store
    finally:
        if isinstance(store, Store):
            store.close()


def store(settings: Settings, found: Opened, now: float) -> Iterator[Finding]:
    """Look at the database and its directory."""
    if isinstance(found, Store):
        yield keeping.books(host.books(found), now)
    else:
        yield keeping.books(found, now)
    users = {f"{name}.user": getattr(settings, name).user for name in ("tarpit", "gather", "dnsbl")}
    enabled = {f"{name}.user" for name in settings.services.enabled}
    used = {setting: user for setting, user in users.items() if setting in enabled}
    if not isinstance(found, Wrong):
        yield from keeping.folder(host.folder(Path(settings.store.path)), used)


def packet_path(settings: Settings) -> Iterator[Finding]:
    """Look at kernel, rules, queues and whether the tarpit writes."""
    chosen = host.backend(settings)
    yield packets.kernel(chosen, families())
    present = host.rules_present()
    wanted = host.rules_wanted(settings, chosen) if isinstance(chosen, str) else Untold("the kernel can't be asked")
    yield packets.rules(chosen if isinstance(chosen, str) else "", wanted, present)
    rows, numbers = host.queues(), host.queue_numbers(settings)
    ours = {} if isinstance(rows, Untold) else {number: rows[number] for number in numbers if number in rows}
    readers = host.readers(ours)
    yield packets.queues(numbers, rows, readers, settings.tarpit.queue_length)
    is_read = len(ours) == len(numbers)
    yield packets.writing(is_read, host.slots_age_s(settings), readers.values())


def dnsbl(settings: Settings, found: Opened) -> Iterator[Finding]:
    """Ask our DNS server everywhere, the system's resolver for our zones, and compare a sample."""
    if not settings.dnsbl.zone:
        cure = "add [[dnsbl.zone]], or take dnsbl out of services.enabled"
        yield Finding("dns", State.BAD, "dnsbl.zone: none to answer for", cure)
        return
    specs = zone_specs(settings)[: reach.ZONES_LIMIT]
    names, answering = [spec.name for spec in specs], None
    last_seq = found.last_seq if isinstance(found, Store) else None
    for text in settings.dnsbl.listen:
        endpoint = reachable(text)
        told = reach.server(endpoint, names, last_seq)
        finding = asked.server(format_endpoint(*endpoint), told)
        answering = answering or (endpoint if finding.state is State.OK else None)
        yield finding
    until_s = time.monotonic() + NAMES_S
    for zone in settings.dnsbl.zone[: reach.ZONES_LIMIT]:
        yield asked.delegation(zone.name, reach.delegation(zone.name, until_s))
    for spec in specs:
        if spec.kind.is_empty:
            continue
        if answering is None or not isinstance(found, Store):
            yield asked.drift(spec.name, Untold("not compared: the server or the database can't be asked"))
        else:
            yield asked.drift(spec.name, reach.drift(found, spec, answering))


def remote(settings: Settings, deep: bool, now: float) -> Iterator[Finding]:
    """Look at resolvers and remote lists, if any rule asks them."""
    warnings: list[str] = []
    if settings.remote.lists or settings.jobs.missing_ptr or settings.jobs.generic_ptr:
        yield asked.resolvers(reach.resolvers(settings.remote))
    if settings.remote.lists:
        with contextlib.suppress(ConfigError):  # the settings' own finding says it
            catalogue.chosen(settings.remote, warnings.append)
        for line in warnings:
            yield Finding("remote lists", State.WARNING, line, "take it out of remote.lists")
        yield asked.lists(reach.list_health(settings.remote, deep), now)


def jobs(settings: Settings, now: float) -> Iterator[Finding]:
    """Look when the jobs ran: cleanup always, the others if they have anything to do."""
    rules = settings.jobs
    has_rules = settings.remote.lists or rules.block_list or rules.missing_ptr or rules.generic_ptr or rules.countries
    used = (*(("blcheck",) if has_rules else ()), *(("blpreen",) if settings.remote.lists else ()), "cleanup")
    yield from keeping.jobs(host.last_runs(settings, used), now)


def gather(settings: Settings) -> Iterator[Finding]:
    """Ask the gather listener everywhere."""
    for text in settings.gather.listen:
        yield asked.listener(f"gather {text}", reach.gather(reachable(text)))
    for text in settings.gather.tls_listen:
        yield asked.listener(f"gather {text} (TLS)", reach.connects(reachable(text)))
    if settings.gather.socket:
        yield asked.listener(f"gather {settings.gather.socket}", reach.gather(settings.gather.socket))


def follow(settings: Settings) -> Iterator[Finding]:
    """Look whether the followers of logs reach a gather listener."""
    named, gather = settings.follow.server, settings.gather
    where = named or (gather.listen[0] if gather.listen else gather.socket)
    yield asked.listener(f"follow {where}", reach.connects(reachable(where) if is_endpoint(where) else where))


def robot(settings: Settings, config: str | None, now: float) -> Iterator[Finding]:
    """Look at the robot's keys, by its own command, which becomes its user first; and at its LMTP listener."""
    submitters = {each.name: each.fingerprint for each in settings.robot.submitter if each.fingerprint}
    if settings.robot.key or submitters:
        yield from asked.robot(_keys(config), settings.robot.key, submitters, now)
    if "robot" in settings.services.enabled:
        where = settings.robot.lmtp
        target = parse_endpoint(where) if is_endpoint(where) else where
        yield asked.listener(f"robot {where}", reach.connects(target))


def _keys(config: str | None) -> list[asked.Key] | Untold | Wrong:
    words = [sys.executable, "-P", "-m", "spamcannibal", *(["-c", config] if config else [])]
    try:
        done = subprocess.run(
            [*words, "robot", "key", "list", "--json"], capture_output=True, text=True, timeout=ROBOT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Untold(f"gpg: no end after {ROBOT_S:g} s")
    try:
        rows = json.loads(done.stdout)
    except ValueError:
        return Wrong(done.stderr.strip().removeprefix("spamcannibal: ") or f"robot key list: exit {done.returncode}")
    return [
        asked.Key(row["fingerprint"], row["state"] == "usable", row["own"], _seconds(row["expires"])) for row in rows
    ]


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
