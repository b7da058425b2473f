"""Moments as people write them: RFC 3339, a date, "2h" for two hours ago, or a journal number. Pure."""

from datetime import UTC, datetime

from spamcannibal.decode import DURATIONS, parse_quantity

FORM = "a time such as 2026-11-24, 2026-11-24T10:30Z, 36h (ago), or a journal number such as #123"


def parse_moment(text: str, now: float) -> int | None:
    """Return a moment as milliseconds since the epoch, a journal number as `-number`; None if it is neither."""
    if text[:1] == "#" and text[1:].isascii() and text[1:].isdigit() and len(text) < 20:
        return -int(text[1:])
    ago_s = parse_quantity(text, {unit: factor for unit, factor in DURATIONS.items() if unit})
    if ago_s is not None:
        return max(0, int((now - ago_s) * 1000))
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
