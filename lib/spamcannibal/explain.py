"""Everything that is known of an address: what lists it and why, what packet path and DNS make of that, its past.

In: the store, a zone's kind by name, an address or prefix, and perhaps the number of the change after which to look.
Out: an Account, of facts only; commands and pages say them in their own ways. A few dozen look-ups, whatever the
store's size. A prefix is told by what covers the whole of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from spamcannibal.addr import around, format_addr, format_key, make_key, mask, split_key
from spamcannibal.colours import COLOURS, Kind, answer_code
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.errors import NeverListed
from spamcannibal.record import (
    EXCLUDED,
    FLAG_NAMES,
    SHADOW,
    Action,
    Change,
    Checked,
    Contact,
    Contrib,
    Listing,
    Mode,
    Piece,
)
from spamcannibal.rows import change_row, contrib_row, piece_row, when
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store
from spamcannibal.store.timeline import listing_at, with_history
from spamcannibal.store.trial_rows import Trial
from spamcannibal.store.trials import trial

HISTORY_LIMIT = 100
TEST_LISTED, TEST_CLEAR = bytes((127, 0, 0, 2)), bytes((127, 0, 0, 1))


class Match(msgspec.Struct, frozen=True):
    """A listing that covers the address, and why; `listing` is None for the past, of which less is known."""

    key: bytes
    change: Change
    listing: Listing | None = None
    contrib: Contrib | None = None
    evidence: list[Piece] = []
    trial: Trial | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a zone says: its code, and which entry says so; None: not listed there. A test point is no entry's."""

    zone: str
    code: bytes | None
    key: bytes | None = None


class Account(msgspec.Struct, frozen=True):
    """What is known of `addr`, an address or the key of a prefix. `matches` and `history` are of all keys that cover
    it; matches are the most specific first.

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
    """Return what is known of an address or prefix, now or after change `seq`; the never-list is always today's.

    All of it is of one moment.
    """
    return store.env.read(lambda: _account(store, zones, addr, seq))


def _account(store: Store, zones: Mapping[str, Kind], addr: bytes, seq: int | None) -> Account:
    keys = around(addr)
    matches = _present(store, keys) if seq is None else _past(store, keys, seq)
    decision, mode = _decision(matches)
    at = store.last_seq() if seq is None else seq
    told = (change for key in with_history(store, keys) for change in store.history(key, HISTORY_LIMIT))
    history = sorted(told, key=lambda one: one.seq)
    return Account(
        addr,
        at,
        _never(store, addr),
        matches,
        decision,
        mode,
        [_answer(zone, kind, addr, matches) for zone, kind in zones.items()] if len(addr) in (4, 16) else [],
        [change for change in history if change.seq <= at][-HISTORY_LIMIT:],
        store.contact(addr),
        _checked(store, keys),
    )


def _present(store: Store, keys: Iterable[bytes]) -> list[Match]:
    keys = list(keys)
    size = len(split_key(keys[0])[0])
    lengths = set(store.lengths(size))
    keys = [key for key in keys if (key[-1] if len(key) > size else size * 8) in lengths]
    found = [(key, row) for key, row in zip(keys, store.records("tarpit", keys), strict=True) if row is not None]
    return [
        Match(
            key,
            store.change(row.seq) or _unwritten(key, row),
            row,
            store.contrib(key),
            store.evidence(key),
            trial(store, key) if row.flags & SHADOW else None,
        )
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


def document(account: Account, settings: Settings) -> dict[str, Any]:
    """Return an account as plain values: what `explain --json` prints."""
    return {
        "address": format_key(account.addr),
        "decision": account.decision,
        "mode": mode_name(account.mode, settings) if account.matches else None,
        "never_list": account.never,
        "seq": account.seq,
        "matches": [_match_row(match) for match in account.matches],
        "dns": [_answer_row(answer) for answer in account.answers],
        "contact": _contact_row(account),
        "checked": {"time": when(account.checked.checked_ms), "unknown": account.checked.unknown}
        if account.checked
        else None,
        "history": [{"key": format_key(change.key), **change_row(change)} for change in account.history],
        "would_list": list(ways(account, settings)) if not account.matches else [],
    }


def _match_row(match: Match) -> dict[str, Any]:
    change, listing = match.change, match.listing
    return {
        "key": format_key(match.key),
        "code": format_addr(change.code),
        "mode": change.mode.name.lower(),
        "flags": [name for bit, name in FLAG_NAMES.items() if change.flags & bit],
        "listed": when(listing.listed_ms) if listing else None,
        "contact": when(listing.contact_ms) if listing else None,
        "expires": when(change.expiry_ms),
        "source": change.source,
        "text": change.text,
        "seq": change.seq,
        "contrib": contrib_row(match.contrib),
        "evidence": [piece_row(piece) for piece in match.evidence],
    }


def _answer_row(answer: Answer) -> dict[str, Any]:
    code, key = answer.code, answer.key
    return {
        "zone": answer.zone,
        "code": format_addr(code) if code else None,
        "by": format_key(key) if key is not None else None,
    }


def _contact_row(account: Account) -> dict[str, Any] | None:
    contact = account.contact
    if contact is None:
        return None
    return {"count": contact.count, "first": when(contact.first_ms), "last": when(contact.last_ms)}


def mode_name(mode: Mode, settings: Settings) -> str:
    return settings.tarpit.mode if mode is Mode.DEFAULT else mode.name.lower()


def ways(account: Account, settings: Settings) -> Iterator[str]:
    """Yield what would list an address that is not."""
    if account.never:
        yield "nothing, while the never-list has it"
        return
    if settings.remote.lists:
        when_seen = "is due" if account.contact else "once it connects"
        lists, threshold = settings.remote.lists, settings.jobs.threshold
        yield f"blcheck ({when_seen}), if of {len(lists)} remote lists those that have it weigh {threshold:g} or more"
    if settings.robot.submitter:
        yield f"a signed report to the robot by one of {len(settings.robot.submitter)} submitters"
    if settings.gather.reporter:
        gather = settings.gather
        yield f"reports of mail servers that weigh {gather.black_weight:g} within {gather.within_s:g} s"
    yield "spamcannibal list add"
