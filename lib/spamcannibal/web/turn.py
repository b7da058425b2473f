"""One request computes at a time: threads that compute at once take the interpreter from each other, and all come late.

    app.wsgi_app = taking_turns(app.wsgi_app)     a request has the turn until its answer is made
    with away(): ...                              it gives the turn up while it waits for somebody else

The interpreter is the process's, so is the turn. It is a courtesy, no lock: who waited MOST_S for it takes it from
whoever has it, and both go on, so a request that hangs stops nobody. Streams are sent without it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MOST_S = 0.05


class Turn:
    """Taken by one thread at a time, in the order in which they came."""

    def __init__(self, most_s: float = MOST_S) -> None:
        self._most_s = most_s
        self._lock = threading.Lock()
        self._holder = 0
        self._waiting: deque[tuple[int, threading.Lock]] = deque()

    @property
    def is_mine(self) -> bool:
        return self._holder == threading.get_ident()

    def take(self) -> None:
        """Wait for the turn, but not long; a thread that has it keeps it."""
        me = threading.get_ident()
        with self._lock:
            if self._holder in (0, me):
                self._holder = me
                return
            bell = threading.Lock()
            bell.acquire()
            self._waiting.append((me, bell))
        if bell.acquire(timeout=self._most_s):
            return
        with self._lock:
            if self._holder != me:
                self._waiting.remove((me, bell))
                self._holder = me

    def give(self) -> None:
        """Pass the turn on, unless it was taken from us."""
        with self._lock:
            if self._holder != threading.get_ident():
                return
            self._holder = 0
            if self._waiting:
                self._holder, bell = self._waiting.popleft()
                bell.release()


_turn = Turn()


@contextmanager
def away() -> Iterator[None]:
    """Be without the turn, if we have it, while this lasts: for whatever waits."""
    was_mine = _turn.is_mine
    if was_mine:
        _turn.give()
    try:
        yield
    finally:
        if was_mine:
            _turn.take()


def taking_turns(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application that has the turn while it makes its answer, not while that is sent."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        _turn.take()
        try:
            return app(environ, start_response)
        finally:
            _turn.give()

    return answer
