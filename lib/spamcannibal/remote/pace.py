"""How fast one list may be asked: questions in flight, a second and a day. Pure.

| bound | past it |
|---|---|
| in flight | the next question waits for an answer |
| a second | it waits for its turn; after silence a burst of BURST_S seconds' worth, at least one |
| a day (UTC) | nothing more is asked before midnight: `is_spent` |
"""

DAY_S = 86400
BURST_S = 1.0


class Pace:
    """The bounds of one list; 0 is no bound for `per_s` and `per_day`. `spent` were asked before on the day of now."""

    def __init__(self, in_flight: int, per_s: float, per_day: int, spent: int, now: float) -> None:
        self.in_flight = 0
        self.spent = spent
        self.day = int(now // DAY_S)
        self._limit, self._per_s, self._per_day = in_flight, per_s, per_day
        self._burst = max(1.0, per_s * BURST_S)
        self._tokens, self._since = self._burst, now

    def room(self, now: float) -> int:
        """Return how many questions may be asked now."""
        room = self._limit - self.in_flight
        if self._per_s:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._since) * self._per_s)
            self._since = now
            room = min(room, int(self._tokens))
        if self._per_day:
            self._turn(now)
            room = min(room, self._per_day - self.spent)
        return max(0, room)

    def is_spent(self, now: float) -> bool:
        """Tell whether the day's questions are used up."""
        self._turn(now)
        return bool(self._per_day) and self.spent >= self._per_day

    def wait_s(self) -> float:
        """Return the time to the next turn of a second's bound, as of the last `room`; 0 if that is not the bound."""
        return max(0.0, (1 - self._tokens) / self._per_s) if self._per_s else 0.0

    def take(self) -> None:
        """Count a question that is asked."""
        self.in_flight += 1
        self._tokens -= 1
        self.count()

    def count(self) -> None:
        """Count a question of the day, whatever the other bounds say: a test."""
        self.spent += 1

    def give(self) -> None:
        """Count a question that has ended."""
        self.in_flight -= 1

    def _turn(self, now: float) -> None:
        day = int(now // DAY_S)
        if day != self.day:
            self.day, self.spent = day, 0
