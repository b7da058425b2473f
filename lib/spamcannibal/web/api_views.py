"""What the API takes and gives: strict structs, from which its description is made as well. Pure.

Times are RFC 3339 in UTC. A listing's key is an address or prefix; an IPv6 address stands for its /64, or what
guard.v6_prefix says, as everywhere: write /128 for one host.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from spamcannibal.addr import format_addr, format_key
from spamcannibal.checks import LINE_LIMIT
from spamcannibal.record import FLAG_NAMES, Change, Listing, Mode
from spamcannibal.rows import when

PAGE_LIMIT = 1000
SEQ_LIMIT = (1 << 63) - 1

Key = Annotated[
    str,
    Meta(min_length=2, max_length=49, description="An address or prefix.", extra_json_schema={"format": "prefix"}),
]
Code = Annotated[
    str,
    Meta(
        max_length=15,
        description="What DNS answers: 127.0.0.2 to 127.255.255.255.",
        extra_json_schema={"format": "answer-code"},
    ),
]
Line = Annotated[str, Meta(max_length=LINE_LIMIT, pattern="^[ -~]*$", description="A line of printable ASCII.")]
Time = Annotated[datetime, Meta(tz=True)]
ModeName = Literal["default", "throttle", "persist", "stutter", "drop", "observe"]
FlagName = Literal["published", "excluded", "shadow"]
Flags = Annotated[list[FlagName], Meta(max_length=3)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_LIMIT, description="Rows at most.")]
Seq = Annotated[int, Meta(ge=0, le=SEQ_LIMIT, description="Number of a change in the journal.")]
DryRun = Annotated[bool, Meta(description="Say what would be done, and do nothing.")]
Cursor = Annotated[str, Meta(max_length=100, description="What `next` of the page before said; opaque.")]


class Path(Struct, frozen=True, forbid_unknown_fields=True):
    key: Key


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    address: Key


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """What listings must have, all of it."""

    prefix: Annotated[Key | None, Meta(description="It lies in this prefix.")] = None
    source: Annotated[str, Meta(max_length=200, description="Who listed it; * stands for anything: gather:*")] = ""
    text: Annotated[str, Meta(max_length=200, description="Its text contains this, in any case.")] = ""
    flag: FlagName | None = None
    since: Annotated[Time | None, Meta(description="It was listed then or later.")] = None
    until: Annotated[Time | None, Meta(description="It was listed by then.")] = None
    limit: Limit = 100
    cursor: Cursor = ""


class NewListing(Struct, frozen=True, forbid_unknown_fields=True):
    """A listing as it shall be. `evidence` is the proof, such as a message; the text, if there is none."""

    text: Line = ""
    code: Code = "127.0.0.2"
    mode: ModeName = "default"
    flags: Flags = msgspec.field(default_factory=lambda: ["published"])
    expires: Time | None = None
    evidence: Annotated[str, Meta(min_length=1, max_length=1 << 20)] | None = None


class Amendment(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a listing; what is not given stays. `expires`: null is never."""

    text: Line | UnsetType = UNSET
    code: Code | UnsetType = UNSET
    mode: ModeName | UnsetType = UNSET
    flags: Flags | UnsetType = UNSET
    expires: Time | UnsetType | None = UNSET


class Write(Struct, frozen=True, forbid_unknown_fields=True):
    dry_run: DryRun = False


class Removal(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[Line, Meta(description="Why, for the journal.")] = ""
    dry_run: DryRun = False


class NewEvidence(Struct, frozen=True, forbid_unknown_fields=True):
    body: Annotated[str, Meta(min_length=1, max_length=1 << 20)]


class ListingView(Struct, frozen=True):
    """A listing; `seq` is the number of its newest change, and its entity tag."""

    key: str
    code: str
    mode: ModeName
    flags: list[FlagName]
    listed: str | None
    expires: str | None
    source: str
    text: str
    seq: int


class ListingPage(Struct, frozen=True):
    """`next` is the cursor of the next page, null at the end; a page may hold fewer than asked for, even none."""

    listings: list[ListingView]
    next: str | None


class ChangeView(Struct, frozen=True):
    """A change of the list; of an unlisting, code, mode, flags and expires are those that ended."""

    seq: int
    time: str | None
    action: Literal["list", "unlist", "amend"]
    key: str
    code: str
    mode: ModeName
    flags: list[FlagName]
    expires: str | None
    source: str
    text: str


class Done(Struct, frozen=True):
    """What was done, or with dry_run would be; `seq` is the change's number in the journal, null if there is none."""

    key: str
    done: Literal["listed", "changed", "same", "removed", "noted"]
    seq: int | None
    dry_run: bool
    listing: ListingView | None = None


class PieceView(Struct, frozen=True):
    time: str | None
    source: str
    body: str


class CauseView(Struct, frozen=True):
    """What another list said; `addr` is whom it was asked about."""

    zone: str
    code: str
    addr: str | None
    text: str


class Evidence(Struct, frozen=True):
    """Why something is listed: what was proven here, or what other lists told us."""

    key: str
    evidence: list[PieceView]
    told: list[CauseView]


class Document(Struct, frozen=True):
    """Everything that is known of an address or prefix, as `spamcannibal explain --json` has it.

    Without a token that may read, the evidence's bodies are left out.
    """

    address: str
    decision: Literal["refused", "passes", "observed"]
    mode: str | None
    never_list: str | None
    seq: int
    matches: list[dict[str, Any]]
    dns: list[dict[str, Any]]
    contact: dict[str, Any] | None
    checked: dict[str, Any] | None
    history: list[dict[str, Any]]
    would_list: list[str]


def listing_view(key: bytes, listing: Listing, change: Change | None) -> ListingView:
    return ListingView(
        format_key(key),
        format_addr(listing.code),
        mode_of(listing.mode),
        flags_of(listing.flags),
        when(listing.listed_ms),
        when(listing.expiry_ms),
        change.source if change else "",
        change.text if change else "",
        listing.seq,
    )


def change_view(change: Change) -> ChangeView:
    action: Any = change.action.name.lower()
    return ChangeView(
        change.seq,
        when(change.time_ms),
        action,
        format_key(change.key),
        format_addr(change.code),
        mode_of(change.mode),
        flags_of(change.flags),
        when(change.expiry_ms),
        change.source,
        change.text,
    )


def mode_of(mode: Mode) -> Any:
    return mode.name.lower()


def flags_of(flags: int) -> list[Any]:
    return [name for bit, name in FLAG_NAMES.items() if flags & bit]


def flag_bits(names: list[FlagName]) -> int:
    """Return flags as the store has them."""
    return sum(bit for bit, name in FLAG_NAMES.items() if name in names)
