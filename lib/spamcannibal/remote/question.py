"""What an exchange with resolvers is made of: terms, questions, datagrams, and how long answers take. Pure."""

from typing import Any, NamedTuple

LEAST_WAIT_S = 0.1


class Terms(NamedTuple):
    """`retry_s` is the first wait while nothing is known about a list, and later the longest first one."""

    servers: int
    tries: int = 4
    retry_s: float = 1.0
    mixed_case: bool = True


class Question:
    """One thing to find out. `lane` numbers who is asked in the end, since round-trip times are kept for each.

    `server` is the one that is to be asked, -1 for any that is in use. `tag` and `is_paced` are the caller's.
    """

    __slots__ = (
        "deadline", "due", "is_over", "is_paced", "is_plain", "is_streamed", "keys", "lane", "name", "qtype", "sent",
        "server", "tag", "timeout_s", "tries", "why",
    )  # fmt: skip

    def __init__(self, name: bytes, qtype: int, lane: int, timeout_s: float, tag: Any = None) -> None:
        self.name, self.qtype, self.lane, self.timeout_s, self.tag = name, qtype, lane, timeout_s, tag
        self.server = -1
        self.is_paced = True
        self.tries = 0
        self.keys: list[int] = []
        self.deadline = self.due = 0.0
        self.is_over = self.is_plain = self.is_streamed = False
        self.sent = b""  # the message that a stream asks
        self.why = ""


class Datagram(NamedTuple):
    port: int
    server: int
    data: bytes


class RoundTrip:
    """Smoothed time and variance, RFC 6298; every sample is good, since every try has its own id."""

    __slots__ = ("longest_s", "smooth_s", "vary_s", "wait_s")

    def __init__(self, longest_s: float) -> None:
        self.longest_s = self.wait_s = longest_s
        self.smooth_s = self.vary_s = 0.0

    def add(self, took_s: float) -> None:
        if self.smooth_s:
            off_s = took_s - self.smooth_s
            self.vary_s += (abs(off_s) - self.vary_s) / 4
            self.smooth_s += off_s / 8
        else:
            self.smooth_s, self.vary_s = took_s, took_s / 2
        self.wait_s = min(self.longest_s, max(LEAST_WAIT_S, self.smooth_s + 4 * self.vary_s))
