"""Stored records as rows: plain values for JSON, tables and pages; times as text, keys left as bytes."""

from datetime import UTC, datetime
from typing import Any

from spamcannibal.addr import format_addr
from spamcannibal.record import FLAG_NAMES, Cause, Change, Contrib, Listing, Piece

LISTING_COLUMNS = ("key", "code", "mode", "flags", "listed", "contact", "expires", "source", "text")


def listing_row(key: bytes, listing: Listing, change: Change | None) -> dict[str, Any]:
    """Give a listing with source and text of its newest change."""
    return {
        "key": key,
        "code": format_addr(listing.code),
        "mode": listing.mode.name.lower(),
        "flags": [name for bit, name in FLAG_NAMES.items() if listing.flags & bit],
        "listed": when(listing.listed_ms),
        "contact": when(listing.contact_ms),
        "expires": when(listing.expiry_ms),
        "source": change.source if change else "",
        "text": change.text if change else "",
    }


def contrib_row(contrib: Contrib | None) -> dict[str, Any] | None:
    """Give what another list said."""
    if contrib is None:
        return None
    return {"causes": [_cause_row(cause) for cause in contrib.causes]}


def _cause_row(cause: Cause) -> dict[str, Any]:
    addr = format_addr(cause.addr) if cause.addr else None
    return {"zone": cause.zone, "code": format_addr(cause.code), "addr": addr, "text": cause.text}


def piece_row(piece: Piece) -> dict[str, Any]:
    """Give a piece of evidence."""
    return {
        "time": when(piece.time_ms),
        "source": piece.source,
        "body": piece.body.decode("utf-8", "backslashreplace"),
    }


def change_row(change: Change) -> dict[str, Any]:
    """Give a journal record."""
    return {
        "seq": change.seq,
        "time": when(change.time_ms),
        "action": change.action.name.lower(),
        "source": change.source,
        "text": change.text,
    }


def when(time_ms: int) -> str | None:
    """Give a stored time as text, None for none."""
    if not time_ms:
        return None
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(time_ms)
