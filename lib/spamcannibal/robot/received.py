"""Who sent a message: its Received headers read from the top, as far down as hosts of ours wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class Hop:
    """One Received header. `number` counts from the top, from 1; `raw` is its text, cut.

    `from_addr` and `by_addr` are addresses that the receiving server itself wrote, None if it wrote none or the header
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

    hops: tuple[Hop, ...] = field(default=())
    source: bytes | None = None
    reason: str = ""


def trace(header_lines: Sequence[str], ours: Ours) -> Trace:
    """Return the first host that is not ours, as a host of ours recorded it, of headers "Name: value" in order."""
    return Trace(reason="no Received header")
