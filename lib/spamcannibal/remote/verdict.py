"""What a remote list says about an address, and what reverse DNS says: three-valued, so that a fault is never a "no".

| outcome | means | follows |
|---|---|---|
| LISTED | the list answered with a code that one of its accept rules takes | may list |
| CLEAR | NXDOMAIN, NODATA, or codes inside 127/8 that no accept rule takes | may delist |
| UNKNOWN | anything else: silence, an error, a refusal, an answer that makes no sense | nothing, ever |

Pure types. Nothing here holds the name that was asked: it may contain the key of a keyed zone.
"""

from enum import Enum

from msgspec import Struct


class Outcome(Enum):
    LISTED = "listed"
    CLEAR = "clear"
    UNKNOWN = "unknown"


class Verdict(Struct, frozen=True):
    """One list about one address.

    `codes` are the answers that accept rules take, packed, in wire order. `reason` and `weight` are those of the
    heaviest such rule; of UNKNOWN the reason says why, of CLEAR which codes were there all the same. `text` is one of
    its TXT records, empty if it has none or did not tell.
    """

    zone: str
    outcome: Outcome
    codes: tuple[bytes, ...] = ()
    reason: str = ""
    text: str = ""
    weight: float = 0.0
    ttl_s: int = 0


class Found(Enum):
    FOUND = "found"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Pointers(Struct, frozen=True):
    """The names that reverse DNS gives to an address.

    MISSING is only what a resolver said that can resolve other names; `reason` is then NXDOMAIN or NODATA, and why for
    UNKNOWN. Names are in lower case without the last dot, in wire order.
    """

    outcome: Found
    names: tuple[str, ...] = ()
    reason: str = ""
