"""How failed logins slow down who tries: pure, `now` is an argument, what is counted is kept by the caller.

A count belongs to one user name and one place: a browser that this user logged in from before, or the visitor's
network. Past `tries` failures in a row the place has to wait, twice as long each time, at most `max_s`; then it may try
once. So nobody else's failures lock a user's own browser out, and no lock lasts for ever. Guesses from everywhere at
once are slowed down together by a Gate, which known browsers don't have to pass.
"""

from dataclasses import dataclass

FORGET_S = 3600.0  # after the longest wait that there was


@dataclass(frozen=True)
class Count:
    """Failures in a row of one place, the last at `last`, and until when it has to wait."""

    failures: int = 0
    last: float = 0.0
    until: float = 0.0


@dataclass(frozen=True)
class Lock:
    """After how many failures a place waits, how long at first and at most."""

    tries: int
    first_s: float
    max_s: float


def wait_s(count: Count | None, now: float) -> float:
    """Return how long a place has to wait; 0.0 if it may try."""
    return max(0.0, count.until - now) if count else 0.0


def failed(count: Count | None, lock: Lock, now: float) -> Count:
    """Return the count after one more failure."""
    failures = (count.failures if count else 0) + 1
    over = failures - lock.tries
    delay_s = 0.0 if over < 0 else min(lock.max_s, lock.first_s * 2.0 ** min(over, 40))
    return Count(failures, now, now + delay_s)


@dataclass(frozen=True)
class Gate:
    """Tries that all places share: how many are `left`, as of `at`."""

    left: float
    at: float


def passed(gate: Gate | None, per_minute: int, now: float) -> Gate | None:
    """Return the gate after one more try, None if it is shut for now."""
    left = float(per_minute)
    if gate is not None:
        left = min(left, gate.left + max(0.0, now - gate.at) * per_minute / 60)
    return Gate(left - 1, now) if left >= 1 else None
