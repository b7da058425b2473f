"""What the stores hold, as values: listings and why, contacts, changes. Pure; layout.py is how they are kept as bytes.

Times are milliseconds since the epoch, 0 = none. `listed_ms` is when a key came onto the list, `contact_ms` when it
last knocked, `seq` the journal record of its newest change, where text and source are found.

A listing's state is one word, the value of the C tables:

    bits 31..8   the last three octets of the answer code 127.x.y.z
    bit  7       OWN_TEXT: the newest change has a text, which replaces the zone's
    bit  6       SHADOW       bit 5  EXCLUDED       bit 4  PUBLISHED
    bits 3..1    mode         bit 0  always 1: a listing is never 0
"""

from enum import IntEnum

import msgspec

from spamcannibal.errors import StoreError

PUBLISHED, EXCLUDED, SHADOW = 1, 2, 4
OWN_TEXT = 0x80
FLAG_NAMES = {PUBLISHED: "published", EXCLUDED: "excluded", SHADOW: "shadow"}
PROVEN_CODE = bytes((127, 0, 0, 2))  # proven here; never what another list told us
HEARSAY_CODE = bytes((127, 0, 0, 3))  # what another list told us, unless it says otherwise


class Action(IntEnum):
    LIST = 1
    UNLIST = 2
    AMEND = 3


class Mode(IntEnum):
    """How a listed source is treated; the numbers are those of core/tarpit.h. DEFAULT is the daemon's setting."""

    DEFAULT = 0
    THROTTLE = 1
    PERSIST = 2
    STUTTER = 3
    DROP = 4
    OBSERVE = 5


class Listing(msgspec.Struct, frozen=True):
    code: bytes
    mode: Mode
    flags: int
    listed_ms: int
    contact_ms: int
    expiry_ms: int
    seq: int
    has_text: bool = False

    @property
    def state(self) -> int:
        """The table value."""
        return table_value(self.code, self.mode, self.flags, self.has_text)


class Contact(msgspec.Struct, frozen=True):
    count: int
    first_ms: int
    last_ms: int


class Cause(msgspec.Struct, frozen=True):
    """One list's word: its zone, what it answered, and its text; `addr` is whom it was asked about, empty if unknown.

    A rule of ours stands for a zone too, under the labels of jobs/labels.py.
    """

    zone: str
    code: bytes
    addr: bytes = b""
    text: str = ""


class Contrib(msgspec.Struct, frozen=True):
    """Why, as told by others: our answer code, until when their word counts, and every list that caused the entry."""

    code: bytes
    expiry_ms: int
    causes: tuple[Cause, ...]


class Checked(msgspec.Struct, frozen=True):
    """When an address that is not listed was last examined, and how often in a row that gave no answer."""

    checked_ms: int
    unknown: int = 0


class Hits(msgspec.Struct):
    """How often each zone caused a listing, and how often nothing did, since `since_ms`."""

    since_ms: int
    passed: int = 0
    never: int = 0
    given_up: int = 0
    zones: dict[str, int] = {}


class Piece(msgspec.Struct, frozen=True):
    time_ms: int
    source: str
    body: bytes


class Change(msgspec.Struct, frozen=True):
    """One journal record. code, mode, flags and expiry are those after the change; for UNLIST, those that ended."""

    seq: int
    time_ms: int
    action: Action
    key: bytes
    code: bytes
    text: str
    source: str
    expiry_ms: int
    flags: int
    mode: Mode

    @property
    def state(self) -> int:
        """The table value after the change."""
        return table_value(self.code, self.mode, self.flags, bool(self.text))


class Tally(msgspec.Struct):
    """The counters, exact because each transaction keeps them: last sequence number, records by store and kind."""

    seq: int
    archive: int
    blcontrib: int
    evidence: int
    v4: list[int]
    v6: list[int]

    @classmethod
    def empty(cls) -> "Tally":
        return cls(0, 0, 0, 0, [0] * 33, [0] * 129)

    def count(self, key: bytes, step: int) -> None:
        """Add step to the count of listings as long as key."""
        per_length = self.v4 if len(key) < 16 else self.v6
        per_length[key[-1] if len(key) in (5, 17) else len(per_length) - 1] += step

    @property
    def listings(self) -> int:
        return sum(self.v4) + sum(self.v6)


def table_value(code: bytes, mode: int, flags: int, has_text: bool = False) -> int:
    """Give the state word of a listing: the value of the C tables, never 0."""
    if len(code) != 4 or code[0] != 127:
        raise StoreError(f"answer code {'.'.join(map(str, code))}: got an address outside 127.0.0.0/8")
    own_text = OWN_TEXT if has_text else 0
    return (int.from_bytes(code, "big") & 0xFFFFFF) << 8 | own_text | (flags & 7) << 4 | (mode & 7) << 1 | 1


def split_table_value(value: int) -> tuple[bytes, Mode, int]:
    """Give (code, mode, flags) of a state word."""
    return (0x7F000000 | value >> 8).to_bytes(4, "big"), Mode(value >> 1 & 7), value >> 4 & 7
