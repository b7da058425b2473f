"""Is a list worth believing? Its answers to test points in, whether it is set aside out. Pure.

RFC 5782 fixes what every list of addresses must answer: 127.0.0.2 is listed, 127.0.0.1 is not, and in IPv6
::ffff:127.0.0.2 and ::ffff:127.0.0.1. An address that nobody has (of 192.0.2.0/24, 2001:db8::/32) is not, either.

| the list | finding |
|---|---|
| answers all of them so | GOOD |
| lists what must be clear | BAD: it lists everything |
| has not its test point | BAD: it lists nothing, or is gone |
| answers outside 127/8 | BAD: its domain was sold, or the resolver rewrites answers |
| refuses | BAD: it does not want our questions |
| does not answer one of them, or with an error | UNSURE |

A list that is not GOOD is set aside at once. It comes back after so many good tests in a row, after UNSURE with one:
quickly out, slowly in. IPv4 and IPv6 of a list are tested and set aside apart. States last beyond the process; the
day's count of questions is kept beside them.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from spamcannibal.addr import MAPPED, format_addr, parse_addr
from spamcannibal.remote.exchange import Outcome as Heard
from spamcannibal.remote.lists import RemoteList, is_refusal
from spamcannibal.remote.pace import DAY_S

MEMORY_LIMIT_BYTES = 4 << 20

_LISTED, _CLEAR = ("127.0.0.2", "::ffff:127.0.0.2"), ("127.0.0.1", "::ffff:127.0.0.1")
_NOBODY = {"ip4": bytes((192, 0, 2)), "ip6": bytes((0x20, 0x01, 0x0D, 0xB8))}
_SIZES = {"ip4": 4, "ip6": 16}


class Probe(NamedTuple):
    """A test point. An IPv4-mapped address stays 16 bytes here, since a list is asked for it by its nibbles."""

    addr: bytes
    is_listed: bool


class Kind(Enum):
    GOOD = "good"
    BAD = "bad"
    UNSURE = "unsure"


class Finding(NamedTuple):
    kind: Kind
    why: str = ""


class State(Struct, frozen=True):
    """What is known of a list in one family. `passes` more good tests are needed before it is asked again."""

    why: str = ""
    passes: int = 0
    checked: float = 0.0

    @property
    def is_aside(self) -> bool:
        return self.passes > 0


class Spent(Struct, frozen=True):
    """Questions asked on a day, counted from the epoch."""

    day: int
    count: int


class Memory(Struct, frozen=True):
    """What lasts: the states by "zone family", and the questions spent by zone."""

    states: dict[str, State] = {}
    spent: dict[str, Spent] = {}


def probes(one: RemoteList, family: str, noise: bytes) -> list[Probe]:
    """Return a list's test points in a family; `noise` (16 bytes) picks the address that nobody has."""
    size = _SIZES[family]
    listed = _points(one.test_listed or _LISTED, size) if one.has_test_points else []
    clear = _points(one.test_clear or _CLEAR, size)
    if not one.test_clear:
        nobody = _NOBODY[family]
        clear.append((nobody + noise)[: size - 1] + bytes((1 + noise[-1] % 254,)))
    return [*(Probe(addr, True) for addr in listed), *(Probe(addr, False) for addr in clear)]


def examine(answers: Iterable[tuple[Probe, Heard]]) -> Finding:
    """Return what the answers to all test points say together: the worst."""
    findings = [_examine(probe, heard) for probe, heard in answers]
    for kind in (Kind.BAD, Kind.UNSURE):
        found = next((finding for finding in findings if finding.kind is kind), None)
        if found is not None:
            return found
    return Finding(Kind.GOOD)


def step(state: State | None, finding: Finding, passes: int, now: float) -> State:
    """Return the state after a finding; `passes` good ones in a row bring a bad list back."""
    if finding.kind is Kind.BAD:
        return State(finding.why, passes, now)
    if finding.kind is Kind.UNSURE:
        return State(finding.why, max(1, state.passes if state else 0), now)
    left = max(0, state.passes - 1) if state else 0
    return State(state.why if state and left else "", left, now)


def due_at(state: State | None, interval_s: float, retry_s: float) -> float:
    """Return when a list is to be tested: at once if it never was, sooner while it is set aside."""
    if state is None:
        return 0.0
    return state.checked + (min(retry_s, interval_s) if state.is_aside else interval_s)


def encode(memory: Memory) -> bytes:
    return msgspec.json.format(msgspec.json.encode(memory), indent=1)


def decode(raw: bytes) -> Memory | None:
    """Return what was encoded, None if it is something else."""
    try:
        return msgspec.json.decode(raw, type=Memory)
    except (msgspec.DecodeError, RecursionError):
        return None


def merge(ours: Memory, theirs: Memory, asked: dict[str, int], now: float) -> Memory:
    """Return what both processes know: the later test of each list, and the day's questions of both together.

    Tests of the future are of a clock that was wrong: kept, they would outlast all that come.
    """
    states, day = {name: state for name, state in theirs.states.items() if state.checked <= now}, int(now // DAY_S)
    for name, found in ours.states.items():
        state = replace(found, checked=min(found.checked, now))
        if name not in states or states[name].checked <= state.checked:
            states[name] = state
    spent = {zone: one for zone, one in theirs.spent.items() if one.day == day}
    for zone, count in asked.items():
        spent[zone] = Spent(day, count + (spent[zone].count if zone in spent else 0))
    return Memory(states, spent)


def _points(texts: Sequence[str], size: int) -> list[bytes]:
    """Return the addresses of a family, where a text with colons is of IPv6 even if it maps IPv4."""
    found = []
    for text in texts:
        addr = parse_addr(text)
        found.append(MAPPED + addr if ":" in text and len(addr) == 4 else addr)
    return [addr for addr in found if len(addr) == size]


def _examine(probe: Probe, heard: Heard) -> Finding:
    shown = format_addr(probe.addr)
    if isinstance(heard, str):
        return Finding(Kind.UNSURE, f"no answer about {shown}: {heard}")
    outside = next((code for code in heard.data if code[0] != 127), None)
    if outside:
        return Finding(Kind.BAD, f"answers {format_addr(outside)} about {shown}: zone or resolver is not itself")
    refused = next((code for code in heard.data if is_refusal(code)), None)
    if refused:
        return Finding(Kind.BAD, f"refuses questions: answers {format_addr(refused)} about {shown}")
    if heard.data and not probe.is_listed:
        return Finding(Kind.BAD, f"lists {shown}, so it lists everything")
    if not heard.data and probe.is_listed:
        return Finding(Kind.BAD, f"does not list {shown}, so it lists nothing")
    return Finding(Kind.GOOD)
