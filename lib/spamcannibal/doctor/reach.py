"""Ask around: our DNS server, the resolvers, listeners, remote lists. Every wait is bounded; it judges nothing."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from spamcannibal.addr import format_endpoint
from spamcannibal.dnsbl.client import Exchange, has_records, lag, look_up, over_network
from spamcannibal.dnsbl.export import sample
from spamcannibal.dnsbl.export.entry import of_key, of_zone
from spamcannibal.dnsbl.export.facts import Facts
from spamcannibal.dnsbl.names import TEST_CLEAR, TEST_LISTED
from spamcannibal.dnsbl.zone import ZoneSpec, compile_zone
from spamcannibal.doctor.asked import ListHealth, Sampled, Spoken
from spamcannibal.doctor.finding import Untold, Wrong
from spamcannibal.errors import SpamCannibalError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.gather.client import connected, say
from spamcannibal.remote import catalogue, statefile
from spamcannibal.remote.client import Client
from spamcannibal.settings.remote import RemoteSettings
from spamcannibal.store.stores import Store

ASK_S = 1.0
LAG_S = 3.0
STEP_S = 0.1
ZONES_LIMIT = 20
SAMPLE = 25
SETTLINGS = 3

Endpoint = tuple[bytes, int]
T = TypeVar("T")


def within(limit_s: float, ask: Callable[[], T]) -> T:
    """Return ask(), or raise Unavailable if it takes longer: it then goes on in its thread, which ends with us."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # it is raised again, in the thread that wants the answer
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        raise errors[0]
    if not answers:
        raise Unavailable(f"no answer after {limit_s:g} s")
    return answers[0]


def server(endpoint: Endpoint, zones: Sequence[str], last_seq: Callable[[], int] | None) -> list[Spoken] | Wrong:
    """Ask the DNS server about all zones; its serial may take LAG_S to be that of the journal's end now."""
    exchange = over_network(*endpoint, ASK_S)
    until_s = time.monotonic() + LAG_S
    try:
        seq = last_seq() if last_seq else None
        return [_spoken(zone, exchange, seq, until_s) for zone in zones[:ZONES_LIMIT]]
    except SpamCannibalError as error:
        return Wrong(str(error))


def delegation(zone: str, until_s: float) -> bool | Untold:
    """Ask the system's resolvers, until one answers, about the zone's test point; none past a monotonic time."""
    why = "no resolver answered in time"
    for endpoint in catalogue.resolvers(RemoteSettings()):
        if time.monotonic() > until_s:
            break
        try:
            verdict = look_up(TEST_LISTED, zone, over_network(*endpoint, ASK_S))
        except SpamCannibalError as error:
            why = str(error)
            continue
        if verdict.is_listed is None:
            return Untold(f"{format_endpoint(*endpoint)} answers {verdict.code or verdict.rcode}")
        return verdict.is_listed
    return Untold(why)


def drift(store: Store, spec: ZoneSpec, endpoint: Endpoint) -> Sampled | Untold:
    """Ask about listings at random places of the list, and again after a moment if answers differ."""
    zone, exchange = compile_zone(spec), over_network(*endpoint, ASK_S)
    select, code = of_zone(zone), Facts(zone=zone).code
    try:
        asked = list(sample.addresses(of_key(key, code) for key in _some_keys(store)))
        for turn in range(SETTLINGS):
            time.sleep(turn * ASK_S / 2)
            found = sample.compare(
                asked, lambda addr: sample.expected_code(store, select, code, addr), spec.name, exchange
            )
            if not found:
                break
    except SpamCannibalError as error:
        return Untold(str(error))
    return Sampled(len(asked), [name for _, name in found.shown])


def resolvers(remote: RemoteSettings) -> dict[str, str]:
    """Ask each resolver for what always is there; return why not by endpoint, "" for one that finds it."""
    endpoints = catalogue.resolvers(remote) if remote.canary else []
    return {format_endpoint(*endpoint): _canary(remote, endpoint) for endpoint in endpoints}


def list_health(remote: RemoteSettings, is_deep: bool) -> list[ListHealth] | Wrong | Untold:
    """Return how the remote lists fare: by what is remembered, or (deep) by asking them."""
    try:
        lists = catalogue.chosen(remote)
        if is_deep:
            with Client(remote, lists, EventLog(sys.stderr)) as client:
                return [ListHealth(*one[:4]) for one in client.healthy(force=True).lists]
        states = statefile.load(Path(remote.state_file)).states
    except Unavailable as error:
        return Untold(str(error))
    except SpamCannibalError as error:
        return Wrong(str(error))
    except OSError as error:
        return Untold(f"{remote.state_file}: {error.strerror}")
    found = []
    for one in lists:
        for family in one.families:
            state = states.get(f"{one.zone} {family}")
            why = state.why if state and state.is_aside else ""
            found.append(ListHealth(one.zone, family, why, state.checked if state else 0.0))
    return found


def gather(where: Endpoint | str) -> str | Wrong:
    """Ask the gather listener for its figures; "" if it does not tell us."""
    try:
        answer = say(where, "status", ASK_S)
    except SpamCannibalError as error:
        return Wrong(str(error))
    try:
        found = json.loads(answer)
        return f"{found['connections']} connections, {found['addresses']} addresses reported"
    except (ValueError, KeyError, TypeError):
        return ""


def connects(where: Endpoint | str) -> str | Wrong:
    """Tell whether a listener takes a connection."""
    try:
        connected(where, ASK_S).close()
    except OSError as error:
        return Wrong(f"{where if isinstance(where, str) else format_endpoint(*where)}: {error.strerror or error}")
    return ""


def _spoken(zone: str, exchange: Exchange, seq: int | None, until_s: float) -> Spoken:
    listed = look_up(TEST_LISTED, zone, exchange)
    clear = look_up(TEST_CLEAR, zone, exchange)
    is_clear = None if clear.is_listed is None else not clear.is_listed
    behind = None
    while seq is not None:
        behind = lag(zone, seq, exchange)
        if not behind or time.monotonic() > until_s:
            break
        time.sleep(STEP_S)
    return Spoken(zone, listed.is_listed, is_clear, behind, listed.rcode)


def _some_keys(store: Store) -> list[bytes]:
    """Return up to SAMPLE listings behind random places, of both families."""
    keys: set[bytes] = set()
    for turn in range(SAMPLE):
        after = os.urandom(16 if turn % 2 else 4)
        page = store.raw_page("tarpit", after, 1) or store.raw_page("tarpit", None, 1)
        keys.update(key for key, _ in page)
    return sorted(keys)


def _canary(remote: RemoteSettings, endpoint: Endpoint) -> str:
    exchange, why = over_network(*endpoint, min(ASK_S, remote.timeout_s)), "finds nothing"
    for text in remote.canary:
        name, _, qtype = text.partition(" ")
        try:
            if has_records(name, qtype, exchange):
                return ""
        except SpamCannibalError as error:
            return str(error)
    return why
