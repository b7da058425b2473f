"""Everything that is known of an address: what lists it and why, what packet path and DNS make of that, its past.

In: the store, a zone's kind by name, an address, and perhaps the number of the change after which to look. Out: an
Account, of facts only; commands and pages say them in their own ways. A few dozen look-ups, whatever the store's size.
"""

from collections.abc import Iterable, Mapping

import msgspec

from spamcannibal.addr import make_key, mask
from spamcannibal.dnsbl.colours import COLOURS, Kind, answer_code
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.errors import NeverListed
from spamcannibal.record import EXCLUDED, SHADOW, Action, Change, Checked, Contact, Contrib, Listing, Mode, Piece
from spamcannibal.store.stores import Store
from spamcannibal.store.timeline import listing_at

HISTORY_LIMIT = 100
TEST_LISTED, TEST_CLEAR = bytes((127, 0, 0, 2)), bytes((127, 0, 0, 1))


class Match(msgspec.Struct, frozen=True):
    """A listing that covers the address, and why; `listing` is None for the past, of which less is known."""

    key: bytes
    change: Change
    listing: Listing | None = None
    contrib: Contrib | None = None
    evidence: list[Piece] = []


class Answer(msgspec.Struct, frozen=True):
    """What a zone says: its code, and which entry says so; None: not listed there. A test point is no entry's."""

    zone: str
    code: bytes | None
    key: bytes | None = None


class Account(msgspec.Struct, frozen=True):
    """What is known. `matches` and `history` of all covering keys; matches are the most specific first.

    `decision` is what the packet path does: refused, passes, or observed; `mode` how, DEFAULT meaning the setting.
    """

    addr: bytes
    seq: int
    never: str | None
    matches: list[Match]
    decision: str
    mode: Mode
    answers: list[Answer]
    history: list[Change]
    contact: Contact | None
    checked: Checked | None

    @property
    def deciding(self) -> Match | None:
        """The entry that decides about its packets."""
        return _deciding(self.matches)

    @property
    def was_listed(self) -> Change | None:
        """The change that ended the last listing, if there is none now."""
        ended = [change for change in self.history if change.action is Action.UNLIST]
        return ended[-1] if ended and not self.matches else None


def explain(store: Store, zones: Mapping[str, Kind], addr: bytes, seq: int | None = None) -> Account:
    """Return what is known of an address, now or after change `seq`; the never-list is always today's."""
    keys = [make_key(mask(addr, plen), plen) for plen in range(len(addr) * 8, -1, -1)]
    matches = _present(store, keys) if seq is None else _past(store, keys, seq)
    decision, mode = _decision(matches)
    at = store.last_seq() if seq is None else seq
    history = sorted((change for key in keys for change in store.history(key, HISTORY_LIMIT)), key=lambda one: one.seq)
    return Account(
        addr,
        at,
        _never(store, addr),
        matches,
        decision,
        mode,
        [_answer(zone, kind, addr, matches) for zone, kind in zones.items()],
        [change for change in history if change.seq <= at][-HISTORY_LIMIT:],
        store.contact(addr),
        _checked(store, keys),
    )


def _present(store: Store, keys: Iterable[bytes]) -> list[Match]:
    keys = list(keys)
    found = [(key, row) for key, row in zip(keys, store.records("tarpit", keys), strict=True) if row is not None]
    return [
        Match(key, store.change(row.seq) or _unwritten(key, row), row, store.contrib(key), store.evidence(key))
        for key, row in found
    ]


def _past(store: Store, keys: Iterable[bytes], seq: int) -> list[Match]:
    changes = ((key, listing_at(store, key, seq)) for key in keys)
    return [Match(key, change) for key, change in changes if change is not None]


def _unwritten(key: bytes, row: Listing) -> Change:
    """Stand in for a journal record that is missing, as only a damaged store has it."""
    return Change(row.seq, row.listed_ms, Action.LIST, key, row.code, "", "", row.expiry_ms, row.flags, row.mode)


def _never(store: Store, addr: bytes) -> str | None:
    try:
        store.guard.check(addr)
    except NeverListed as error:
        return error.rule
    return None


def _decision(matches: list[Match]) -> tuple[str, Mode]:
    """Say what core/tarpit.c does with the longest entry that is no shadow."""
    found = _deciding(matches)
    if found is None:
        return "passes", Mode.DEFAULT
    change = found.change
    if change.flags & (EXCLUDED | SHADOW):
        return "passes", change.mode
    return "observed" if change.mode is Mode.OBSERVE else "refused", change.mode


def _deciding(matches: list[Match]) -> Match | None:
    """Return the longest entry that is no shadow, or the longest one if all are."""
    return next((match for match in matches if not match.change.flags & SHADOW), matches[0] if matches else None)


def _answer(zone: str, kind: Kind, addr: bytes, matches: list[Match]) -> Answer:
    """Say what a zone answers, by a shelf of the server's own kind that holds what covers the address."""
    if addr == TEST_LISTED:
        return Answer(zone, COLOURS[kind.only].code if kind.only in COLOURS else TEST_LISTED)
    if addr == TEST_CLEAR or kind.is_empty:
        return Answer(zone, None)
    shelf = Listings((kind,)).shelves[kind]
    for match in matches:
        shelf.set(match.key, match.change.state)
    found = shelf.match(addr)
    if found is None:
        return Answer(zone, None)
    plen, value = found
    code = COLOURS[kind.only].code if kind.only else answer_code(value, kind.promiscuous)
    return Answer(zone, code, make_key(mask(addr, plen), plen) if code else None)


def _checked(store: Store, keys: Iterable[bytes]) -> Checked | None:
    """Find when the address, or the network that would be listed for it, was examined last."""
    found = [checked for checked in store.records("checked", list(keys)) if checked is not None]
    return max(found, key=lambda checked: checked.checked_ms, default=None)
