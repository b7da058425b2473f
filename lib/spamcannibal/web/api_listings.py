"""Operations on listings: search, show, add, amend, remove, evidence. Each write is one transaction.

Conditions (If-Match, If-None-Match) are judged inside the transaction that writes: what holds then was true when the
change was made. The never-list is asked first, the breakers are those of [guard], counted with what all others list.
"""

import base64
import binascii
from datetime import datetime
from typing import Literal

from msgspec import UNSET

from spamcannibal.addr import format_key, parse_addr, parse_key, parse_listing_key
from spamcannibal.errors import AddrError
from spamcannibal.record import FLAG_NAMES, Listing, Mode, Piece
from spamcannibal.rows import contrib_row, piece_row
from spamcannibal.store import stores
from spamcannibal.store.batch import Batch
from spamcannibal.store.search import Wanted, search
from spamcannibal.store.stores import Store
from spamcannibal.web import api_views as views
from spamcannibal.web.api_call import Answer, Call
from spamcannibal.web.api_decode import refused
from spamcannibal.web.api_problem import Problem

Word = Literal["listed", "changed", "same"]
KEY_SIZES = (4, 5, 16, 17)
LOWEST_CODE, HIGHEST_CODE = bytes((127, 0, 0, 2)), bytes((127, 255, 255, 255))


def find(call: Call) -> Answer:
    """Search."""
    query: views.Search = call.query
    flag = next((bit for bit, name in FLAG_NAMES.items() if name == query.flag), 0)
    within = None if query.prefix is None else _prefix(query.prefix)
    since, until = (None if time is None else _ms(time) for time in (query.since, query.until))
    wanted = Wanted(within, query.text, query.source, None, flag, since, until)
    after = _after(query.cursor)
    part = search(call.site.store, wanted, after, query.limit, call.site.settings.api.look_limit)
    rows = [views.listing_view(*row) for row in part.rows]
    return Answer(views.ListingPage(rows, None if part.after is None else _cursor(part.after)))


def show(call: Call) -> Answer:
    """Show one listing."""
    key, listing = _listed(call)
    return _shown(call.site.store, key, listing)


def put(call: Call) -> Answer:
    """List, or make a listing what the body says."""
    body: views.NewListing = call.body
    store, now, key = call.site.store, call.site.clock(), _key(call)
    store.guard.check(key)
    item = stores.NewListing(
        key,
        code=_code(body.code),
        text=body.text,
        source=call.caller.source,
        mode=Mode[body.mode.upper()],
        expiry_ms=_future_ms(body.expires, now),
        evidence=None if body.evidence is None else body.evidence.encode("utf-8", "replace"),
        flags=views.flag_bits(body.flags),
    )
    changes = stores.Amendment(item.code, item.mode, item.flags, item.expiry_ms, item.text)
    if call.query.dry_run:
        call.conditions.check(_now_seq(store, key))
        return _done(call, key, _word(store, key, changes))

    def write(batch: Batch) -> tuple[int, int]:
        was = batch.seq_of(key)
        call.conditions.check(was)
        if not was:
            call.tools.listings.admit(key, call.caller.source, now)
        return was, batch.list(item)

    with call.tools.listings.turn(store, now):
        was, seq = store.transact(now, write)
        if was != seq:
            call.tools.listings.made(seq)
    return _done(call, key, "listed" if not was else "same" if was == seq else "changed", seq)


def amend(call: Call) -> Answer:
    """Change a listing."""
    body: views.Amendment = call.body
    store, now, key = call.site.store, call.site.clock(), _key(call)
    changes = stores.Amendment(
        code=None if body.code is UNSET else _code(body.code),
        mode=None if body.mode is UNSET else Mode[body.mode.upper()],
        flags=None if body.flags is UNSET else views.flag_bits(body.flags),
        expiry_ms=None if body.expires is UNSET else _future_ms(body.expires, now),
        text=None if body.text is UNSET else body.text,
    )
    if call.query.dry_run:
        _must(call, key, _now_seq(store, key))
        return _done(call, key, _word(store, key, changes))

    def write(batch: Batch) -> tuple[int, int]:
        return _must(call, key, batch.seq_of(key)), batch.amend(key, changes, call.caller.source)

    was, seq = store.transact(now, write)
    return _done(call, key, "same" if was == seq else "changed", seq)


def remove(call: Call) -> Answer:
    """Take a listing off, with its evidence."""
    store, now, key = call.site.store, call.site.clock(), _key(call)
    if call.query.dry_run:
        _must(call, key, _now_seq(store, key))
        return Answer(views.Done(format_key(key), "removed", None, True))

    def write(batch: Batch) -> int:
        _must(call, key, batch.seq_of(key))
        call.tools.removals.admit(key, call.caller.source, now)
        return batch.unlist(key, call.caller.source, call.query.reason)

    with call.tools.removals.turn(store, now):
        seq = store.transact(now, write)
        call.tools.removals.made(seq)
    return Answer(views.Done(format_key(key), "removed", seq, False))


def evidence(call: Call) -> Answer:
    """Show why something is listed."""
    key, _ = _listed(call)
    store = call.site.store
    pieces = [views.PieceView(**piece_row(piece)) for piece in store.evidence(key)]
    told = contrib_row(store.contrib(key))
    causes = [views.CauseView(**cause) for cause in (told["causes"] if told else ())]
    return Answer(views.Evidence(format_key(key), pieces, causes))


def add_evidence(call: Call) -> Answer:
    """Add a piece of evidence to a listing."""
    body: views.NewEvidence = call.body
    store, now, key = call.site.store, call.site.clock(), _key(call)
    _must(call, key, _now_seq(store, key))
    piece = Piece(int(now * 1000), call.caller.source, body.body.encode("utf-8", "replace"))
    if not call.query.dry_run and not store.add_evidence(key, piece):
        raise _missing(key)
    return Answer(views.Done(format_key(key), "noted", None, call.query.dry_run))


def _key(call: Call) -> bytes:
    """Return the key of the path, as `spamcannibal list add` takes it."""
    text = call.path.key
    try:
        return parse_listing_key(text, call.site.settings.guard.v6_prefix)
    except AddrError as error:
        raise Problem("bad-request", str(error), field="key") from None


def _after(cursor: str) -> bytes | None:
    """Return the key that a cursor holds."""
    if not cursor:
        return None
    try:
        key = base64.b64decode(cursor, b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in KEY_SIZES:
        raise refused("cursor", cursor, "what `next` of a page said")
    return key


def _cursor(after: bytes) -> str:
    return base64.urlsafe_b64encode(after).decode()


def _prefix(text: str) -> bytes:
    try:
        return parse_key(text)
    except AddrError as error:
        raise Problem("bad-request", str(error), field="prefix") from None


def _code(text: str) -> bytes:
    try:
        code = parse_addr(text)
    except AddrError:
        code = b""
    if len(code) != 4 or not LOWEST_CODE <= code <= HIGHEST_CODE:
        raise refused("code", text, "127.0.0.2 to 127.255.255.255")
    return code


def _ms(time: datetime) -> int:
    return max(0, int(time.timestamp() * 1000))


def _future_ms(time: datetime | None, now: float) -> int:
    """Return when a listing ends, 0 for never."""
    if time is None:
        return 0
    if time.timestamp() <= now:
        raise refused("expires", time.isoformat(), "a time to come, or null")
    return _ms(time)


def _listed(call: Call) -> tuple[bytes, Listing]:
    key = _key(call)
    listing = call.site.store.get_key(key)
    if listing is None:
        raise _missing(key)
    return key, listing


def _missing(key: bytes) -> Problem:
    return Problem("not-found", f"{format_key(key)} is not listed as written; /lookup tells what covers it")


def _must(call: Call, key: bytes, seq: int) -> int:
    """Return a listing's newest change, if it is listed and what the caller saw."""
    call.conditions.check(seq)
    if not seq:
        raise _missing(key)
    return seq


def _now_seq(store: Store, key: bytes) -> int:
    listing = store.get_key(key)
    return 0 if listing is None else listing.seq


def _word(store: Store, key: bytes, changes: stores.Amendment) -> Word:
    """Say what a change would do."""
    was = store.get_key(key)
    if was is None:
        return "listed"
    pairs = (
        (changes.code, was.code),
        (changes.mode, was.mode),
        (changes.flags, was.flags),
        (changes.expiry_ms, was.expiry_ms),
        (changes.text, store.text(was)),
    )
    return "changed" if any(wanted is not None and wanted != now for wanted, now in pairs) else "same"


def _shown(store: Store, key: bytes, listing: Listing) -> Answer:
    return Answer(views.listing_view(key, listing, store.change(listing.seq)), etag=str(listing.seq))


def _done(call: Call, key: bytes, word: Word, seq: int | None = None) -> Answer:
    """Return what was done, with the listing as it is now; without a number nothing was."""
    listing = call.site.store.get_key(key)
    shown = None if listing is None or seq is None else _shown(call.site.store, key, listing).value
    status = 201 if word == "listed" and seq is not None else 200
    answer = views.Done(format_key(key), word, seq, seq is None, shown)
    return Answer(answer, status, str(listing.seq) if listing else "")
