"""Who sent a message: its Received fields read from the top, as far down as hosts of ours wrote them.

In: header lines in order, and what is ours. Out: a Trace, every hop with what was believed and why.

The topmost field was written by the host that had the message last, which is ours. If it got the message from a host of
ours, that one wrote the next field, and so on. The first host that is not ours is the source, as recorded by the host
of ours that it connected to; whatever stands below came from there and may be made up. So the search ends, without a
source, at a field that can't be read or that a program wrote which takes a message from anybody on the host.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from spamcannibal.addr import format_addr, parse_key
from spamcannibal.guard import NeverList
from spamcannibal.ranges import PRIVATE, SPECIAL
from spamcannibal.robot.fields import unfold
from spamcannibal.robot.hopline import HANDOVER, HTTP, LOCAL, UNREAD, Recorded, read_hop
from spamcannibal.robot.hoptext import read_literal

HOPS_LIMIT = 100  # RFC 5321 section 6.3: more than 100 are a loop
RAW_LIMIT = 400

# Inside whatever house they stand in; the rest of the special ranges is nobody's.
_HOUSE = ("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10")
_SIX_TO_FOUR = b"\x20\x02"


@dataclass(frozen=True)
class Ours:
    """What is ours: `names` of hosts in lower case (".example.org": all below it), `keys` as addresses and prefixes.

    Trusted relays count as ours. `skip_private`: private, loopback and link-local addresses are inside, too, and are
    nobody's source. `trust_local`: what a local program handed in (sendmail(1), pickup) had come in by our own server.
    """

    names: frozenset[str] = frozenset()
    keys: tuple[bytes, ...] = ()
    skip_private: bool = True
    trust_local: bool = False

    @cached_property
    def _ranges(self) -> NeverList:
        return NeverList((key, "ours") for key in self.keys)

    def has_addr(self, addr: bytes) -> bool:
        return self._ranges.find(addr) is not None

    def has_name(self, name: str) -> bool:
        """Tell whether a host name, or an address literal in its place, is ours."""
        addr = read_literal(name)
        if addr is not None:
            return self.has_addr(addr)
        labels = name.split(".")
        return name in self.names or any("." + ".".join(labels[i:]) in self.names for i in range(1, len(labels)))


@dataclass(frozen=True)
class Hop:
    """One Received field. `number` counts from the top, from 1; `raw` is its text, cut.

    `from_addr` and `by_addr` are addresses that the receiving server itself wrote, None if it wrote none or the field
    can't be read; `helo` is what the sending host called itself, for show only. `believed`: a host of ours wrote it.
    """

    number: int
    raw: str
    dialect: str
    by_name: str = ""
    by_addr: bytes | None = None
    from_addr: bytes | None = None
    helo: str = ""
    believed: bool = False
    note: str = ""


@dataclass(frozen=True)
class Trace:
    """All hops, the source (None: not found) and why it is, or is not, the one."""

    hops: tuple[Hop, ...]
    source: bytes | None
    reason: str


@dataclass(frozen=True)
class _Verdict:
    """What one hop means: whether the search goes on below it, ends there, or has found the source."""

    note: str
    goes_on: bool = False
    is_source: bool = False


def trace(header_lines: Sequence[str], ours: Ours) -> Trace:
    """Return the first host that is not ours, as a host of ours recorded it, of header lines "Name: value" in order."""
    hops: list[Hop] = []
    source, reason = None, ""
    for number, value in enumerate(_received(header_lines), 1):
        if number > HOPS_LIMIT:
            reason = reason or f"more than {HOPS_LIMIT} Received fields"
            break
        recorded = read_hop(value)
        hop = _hop(number, value, recorded)
        if reason:
            hops.append(replace(hop, note="below the end of the search: the sending host may have written it"))
            continue
        verdict = _judge(recorded, ours)
        hops.append(replace(hop, believed=verdict.goes_on or verdict.is_source, note=verdict.note))
        if not verdict.goes_on:
            source = recorded.from_addr if verdict.is_source else None
            reason = f"hop {number}: {verdict.note}"
    return Trace(tuple(hops), source, reason or _nothing_found(hops))


def _received(header_lines: Sequence[str]) -> Iterator[str]:
    """Yield the values of the Received fields as one line each."""
    for line in header_lines:
        name, colon, value = line.partition(":")
        if colon and name.strip(" \t").lower() == "received":
            yield unfold(value)


def _hop(number: int, value: str, recorded: Recorded) -> Hop:
    raw = value if len(value) <= RAW_LIMIT else value[: RAW_LIMIT - 3] + "..."
    dialect = recorded.dialect or recorded.kind
    return Hop(number, raw, dialect, recorded.by_name, recorded.by_addr, recorded.from_addr, recorded.helo)


def _judge(recorded: Recorded, ours: Ours) -> _Verdict:
    """Return what a hop means that a host of ours is known to have written, or that can't be read."""
    if recorded.kind == UNREAD:
        return _Verdict(f"can't be read: it {recorded.problem}")
    if recorded.kind == LOCAL and not ours.trust_local:
        return _Verdict("handed in by a local program: what stands below may be made up (robot.trust_local)")
    if recorded.kind == HTTP and not (recorded.from_addr and ours.has_addr(recorded.from_addr)):
        return _Verdict("handed in by a browser: its address may be a proxy's word")
    if recorded.kind == LOCAL:
        return _Verdict("handed in by a local program, which robot.trust_local believes", goes_on=True)
    if recorded.kind == HANDOVER:
        return _handover(recorded, ours)
    return _network(recorded, ours)


def _handover(recorded: Recorded, ours: Ours) -> _Verdict:
    """Return the verdict on a hop inside one house; a service's inner hop has an inner address for its name."""
    if recorded.dialect != "gmail" or _is_house(recorded.by_addr) or ours.has_name(recorded.by_name):
        return _Verdict(f"passed on inside ({recorded.dialect})", goes_on=True)
    return _Verdict(f"recorded by {recorded.by_name}, which is not ours")


def _network(recorded: Recorded, ours: Ours) -> _Verdict:
    """Return the verdict on a hop of a connection."""
    addr = recorded.from_addr
    assert addr is not None
    text = format_addr(addr)
    if ours.has_addr(addr):
        return _Verdict(f"from {text}, which is ours", goes_on=True)
    if ours.skip_private and _is_house(addr):
        return _Verdict(f"from {text}, a private address", goes_on=True)
    special = _special().find(addr)
    if special:
        return _Verdict(f"from {text}, which is no host's address ({special})")
    by_ours = ours.has_name(recorded.by_name) or (recorded.by_addr is not None and ours.has_addr(recorded.by_addr))
    if not by_ours:
        return _Verdict(f"recorded by {recorded.by_name}, which is not ours (robot.own_hosts)")
    return _Verdict(f"{text}, recorded by {recorded.by_name}, is the first host that is not ours", is_source=True)


def _nothing_found(hops: Sequence[Hop]) -> str:
    return "every hop is ours or private" if hops else "no Received field"


@cache
def _house() -> NeverList:
    return NeverList((parse_key(prefix), why) for prefix, why in (*PRIVATE, *((net, "house") for net in _HOUSE)))


@cache
def _special() -> NeverList:
    return NeverList((parse_key(prefix), why) for prefix, why in SPECIAL)


def _is_house(addr: bytes | None) -> bool:
    """Tell whether an address is private, loopback or link-local, or the 6to4 form of one."""
    if addr is None:
        return False
    inner = addr[2:6] if len(addr) == 16 and addr.startswith(_SIX_TO_FOUR) else addr
    return _house().find(inner) is not None
