"""When to export again: soon after a change, but not for each of many, and later after a failure. Pure.

Due is what has changed once the list is quiet for `settle_s`, or `longest_s` after the first change. An export that
takes long is not repeated at once: at most a fifth of the time goes into exporting. After a failure the wait doubles.
"""

SHARE = 0.2
LONGEST_FACTOR = 10
RETRY_S, RETRY_LIMIT_S = 1.0, 60.0


class Pace:
    """Times are seconds of one monotonic clock. The first export is due at once."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._first: float | None = None
        self._last = 0.0
        self._is_owed = True
        self._not_before = 0.0
        self._retry_s = 0.0

    def changed(self, now: float) -> None:
        """Note that the list has moved."""
        self._last = now
        if self._first is None:
            self._first = now

    @property
    def is_settled(self) -> bool:
        """Tell whether all changes are exported."""
        return self._first is None and not self._is_owed

    def owe(self) -> None:
        """Make an export due, whatever has changed."""
        self._is_owed = True

    def is_due(self, now: float) -> bool:
        if now < self._not_before:
            return False
        if self._is_owed or self._first is None:
            return self._is_owed
        return now - self._last >= self._settle_s or now - self._first >= LONGEST_FACTOR * self._settle_s

    def done(self, now: float, took_s: float) -> None:
        """Note that all changes so far are exported."""
        self._first = None
        self._is_owed = False
        self._retry_s = 0.0
        self._not_before = now + took_s * (1 / SHARE - 1)

    def failed(self, now: float) -> float:
        """Note that the export has failed and is owed; return in how many seconds."""
        self._retry_s = min(max(RETRY_S, 2 * self._retry_s), RETRY_LIMIT_S)
        self._not_before = now + self._retry_s
        self._is_owed = True
        return self._retry_s
