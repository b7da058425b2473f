"""Times on the command line: moments (see ../moments.py) and durations."""

import time
from typing import TYPE_CHECKING

import click

from spamcannibal.decode import DURATIONS, parse_quantity, shown
from spamcannibal.moments import FORM, parse_moment

if TYPE_CHECKING:
    from spamcannibal.store.stores import Store

HELP = f"TIME is {FORM}; without a zone it is UTC."


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read a moment as milliseconds since the epoch; a journal number as `-number`."""
    found = None if value is None else parse_moment(value, time.time())
    if value is not None and found is None:
        raise click.BadParameter(f"got {shown(value)}, want {FORM}")
    return found


def journal_number(store: "Store", moment_ms: int) -> int:
    """Return the number of the last change up to a moment; BadParameter for a number that the journal is not at yet."""
    from spamcannibal.store.timeline import seq_at

    if moment_ms >= 0:
        return seq_at(store, moment_ms)
    last = store.last_seq()
    if -moment_ms > last:
        raise click.BadParameter(f"the journal has no change number {-moment_ms}; its last is {last}")
    return -moment_ms


def journal_span(store: "Store", first_ms: int, last_ms: int | None) -> tuple[int, int]:
    """Return the journal numbers at two moments, the later one None for now; BadParameter if it is the earlier one."""
    first = journal_number(store, first_ms)
    last = store.last_seq() if last_ms is None else journal_number(store, last_ms)
    until_ms = int(time.time() * 1000) if last_ms is None else last_ms
    if first > last or (first_ms > until_ms >= 0):
        raise click.BadParameter("the first time is later than the second; write the earlier one first")
    return first, last


LONGEST_S = 100 * 365.0 * DURATIONS["d"]  # what ends later never ends, and its year has four digits


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a duration such as 36h or 30d, as seconds."""
    seconds = None if value is None else parse_quantity(value, DURATIONS)
    if value is not None and not seconds:
        raise click.BadParameter(f"got {shown(value)}, want a number with s, m, h, d or w, such as 36h or 30d")
    if seconds and seconds > LONGEST_S:
        raise click.BadParameter(f"got {shown(value)}, want at most 100 years (36500d); without it there is no end")
    return seconds
