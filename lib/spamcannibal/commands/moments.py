"""Times on the command line: RFC 3339, a date, "2h" ago, or a journal number."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from spamcannibal.decode import DURATIONS, parse_quantity, shown

if TYPE_CHECKING:
    from spamcannibal.store.stores import Store

FORM = "a time such as 2026-11-24, 2026-11-24T10:30Z, 36h (ago), or a journal number such as #123"
HELP = f"TIME is {FORM}; without a zone it is UTC."


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read a moment as milliseconds since the epoch; a journal number as `-number`."""
    if value is None:
        return None
    if value[:1] == "#" and value[1:].isascii() and value[1:].isdigit() and len(value) < 20:
        return -int(value[1:])
    ago_s = parse_quantity(value, {unit: factor for unit, factor in DURATIONS.items() if unit})
    if ago_s is not None:
        return max(0, int((datetime.now(UTC).timestamp() - ago_s) * 1000))
    try:
        time = datetime.fromisoformat(value)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"got {shown(value)}, want {FORM}") from None


def journal_number(store: "Store", moment_ms: int) -> int:
    """Return the number of the last change up to a moment."""
    from spamcannibal.store.timeline import seq_at

    return min(-moment_ms, store.last_seq()) if moment_ms < 0 else seq_at(store, moment_ms)


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a duration such as 36h or 30d, as seconds."""
    seconds = None if value is None else parse_quantity(value, DURATIONS)
    if value is not None and not seconds:
        raise click.BadParameter(f"got {shown(value)}, want a number with s, m, h, d or w, such as 36h or 30d")
    return seconds
