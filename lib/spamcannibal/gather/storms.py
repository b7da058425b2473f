"""Signs that count only when they come often: (sign, address) and times in, "now it counts" out. Pure, bounded."""

from collections import OrderedDict, deque


class Storms:
    """The last times of each sign of an address; of more than `limit` the one silent longest is forgotten."""

    def __init__(self, limit: int) -> None:
        self.forgotten = 0
        self._limit = limit
        self._times: OrderedDict[tuple[str, bytes], deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def note(self, name: str, addr: bytes, at: float, times: int, within_s: float) -> bool:
        """Note when a sign was shown; True once that is `times` times `within_s`, and counting begins anew."""
        if times == 1:
            return True
        key = (name, addr)
        seen = self._times.setdefault(key, deque(maxlen=times))
        self._times.move_to_end(key)
        if len(self._times) > self._limit:
            self._times.popitem(last=False)
            self.forgotten += 1
        seen.append(at)
        if len(seen) < times or max(seen) - min(seen) > within_s:
            return False
        del self._times[key]
        return True
