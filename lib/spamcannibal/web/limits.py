"""How often one visitor may come: token buckets, one a visitor, in a bounded table. Pure: `now` is an argument."""

from cachetools import LRUCache


class Limiter:
    """Allows `per_minute` visits a minute, in bursts of as many, to each of the newest `size` visitors."""

    def __init__(self, per_minute: float, size: int = 100_000) -> None:
        self._rate_s = per_minute / 60
        self._burst = max(1.0, per_minute)
        self._buckets: LRUCache[bytes, tuple[float, float]] = LRUCache(size)

    def wait_s(self, visitor: bytes, now: float, cost: float = 1.0) -> float:
        """Count a visit and return 0.0, or return in how many seconds it will be allowed."""
        left, then = self._buckets.get(visitor, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - then) * self._rate_s)
        if left < cost:
            self._buckets[visitor] = (left, now)
            return (cost - left) / self._rate_s
        self._buckets[visitor] = (left - cost, now)
        return 0.0
