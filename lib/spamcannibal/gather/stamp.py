"""When a log line was written, by its own word. Pure.

| form | example | is |
|---|---|---|
| syslog's old one | `Nov 24 13:30:44` | local time, without a year |
| RFC 3339 | `2026-11-24T13:30:44.123456+00:00` | absolute |
| Exim's | `2026-11-24 13:30:44`, perhaps ` +0100` behind it | local time, or absolute |

A local time is compared with the local clock's, so what matters is its difference from now. Without a year it is that
of now, or the one before for a time that would lie more than a day ahead.
"""

import re
from typing import NamedTuple

DAY_S = 86_400
_MONTHS = {name: i for i, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_OLD = re.compile(rb"([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) ")
_NEW = re.compile(rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,]\d{1,9})?(?: ?([+-]\d\d):?(\d\d)| ?(Z))?(?= )")


class Clock(NamedTuple):
    """Now, as seconds since the epoch, and how far local time is ahead of UTC then."""

    now: float
    ahead_s: float


def age_s(line: bytes, clock: Clock) -> float | None:
    """Return how long ago a line was written, below 0 if it says the future; None if it does not say."""
    match = _NEW.match(line)
    if match:
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        ahead_s = 0.0 if match[9] else clock.ahead_s
        if match[7]:
            sign = 1 if match[7][:1] == b"+" else -1
            ahead_s = sign * (abs(int(match[7])) * 3600 + int(match[8]) * 60)
        return clock.now + ahead_s - _seconds(year, month, day, hour, minute, second)
    match = _OLD.match(line)
    month = _MONTHS.get(match[1], 0) if match else 0
    if match is None or not month:
        return None
    local = clock.now + clock.ahead_s
    year = _year(local)
    clock_time = (int(match[3]), int(match[4]), int(match[5]))
    at = _seconds(year, month, int(match[2]), *clock_time)
    if at > local + DAY_S:
        at = _seconds(year - 1, month, int(match[2]), *clock_time)
    return local - at


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Return seconds since the epoch of a date of the Gregorian calendar."""
    shifted = year - (month <= 2)  # years that begin in March have their leap day last
    days = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days += shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 - 719_468
    return days * DAY_S + hour * 3600 + minute * 60 + second


def _year(seconds: float) -> int:
    year = 1970 + int(seconds // (365.2425 * DAY_S))
    return year + (seconds >= _seconds(year + 1, 1, 1, 0, 0, 0)) - (seconds < _seconds(year, 1, 1, 0, 0, 0))
