"""What the spam trap decides: who may come, who is a recipient, what is told, what a catch is. Pure.

| what comes | answer |
|---|---|
| a connection too many, in all, from one source, or from one source in a minute | 421 |
| a recipient that is no trap, whoever asks: this server has no way to send mail on | 550 |
| a trap, from the empty sender: bounces and call-outs are others' answers to a forged sender | 550 |
| a trap | 250 |
| its message | 550 or 250, as the settings say; 552 if too long; 451 if it can't be dealt with now |

A message is a catch once all of it is here, or more than is wanted. One that says by Auto-Submitted that it answers
another mail is none: somebody forged the trap as its sender.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from spamcannibal.addr import format_addr
from spamcannibal.robot.message import Limits, read_header

EVERYBODY = "*"
RECIPIENTS_LIMIT = 100  # RFC 5321, section 4.5.3.1.8, wants as many at least
SOURCES = 10_000  # whose connections are counted; past it the one that was silent longest is forgotten
MINUTE_S = 60.0
OK, NO_BOUNCES = "250 2.1.5 Ok", "550 5.7.1 this address sends no mail, so it gets no bounces"
NO_TRAP = "550 5.1.1 no such recipient; this server sends nothing on"
TOO_MANY = f"452 4.5.3 too many recipients, want at most {RECIPIENTS_LIMIT}"
ENDINGS = {"refuse": "550 5.7.1 this address takes no mail", "accept": "250 2.0.0 Ok"}
TOO_LONG = "552 5.3.4 message too long"
LATER = "451 4.3.0 can't take it now, come back later"
HEADER_LIMITS = Limits(header_bytes=1 << 20)


class Traps:
    """Recipients that nobody should write to: addresses, domains, ".domain" for all below it, "*" for all there are."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._all = frozenset(text.lower() for text in texts)

    def has(self, address: str) -> bool:
        local, _, domain = address.lower().rpartition("@")
        domain = domain.rstrip(".")
        if EVERYBODY in self._all or f"{local}@{domain}" in self._all or domain in self._all:
            return True
        labels = domain.split(".")
        return any("." + ".".join(labels[i:]) in self._all for i in range(1, len(labels)))

    def answer(self, address: str, sender: str, taken: int) -> str:
        """Return the answer to a recipient, after so many that were taken."""
        if not self.has(address):
            return NO_TRAP
        if sender in ("", "<>"):
            return NO_BOUNCES
        return OK if taken < RECIPIENTS_LIMIT else TOO_MANY


class Visit(NamedTuple):
    """Who brings a message: the peer's addr, and what it says in HELO, MAIL and RCPT."""

    addr: bytes
    helo: str
    sender: str
    recipients: tuple[str, ...]


def trace(visit: Visit, hostname: str, date: str) -> bytes:
    """Return the fields that a mail server puts above a message: who brought it, by which sender."""
    helo, sender = (_word(text) for text in (visit.helo, visit.sender))
    literal = format_addr(visit.addr) if len(visit.addr) == 4 else f"IPv6:{format_addr(visit.addr)}"
    return (
        f"Return-Path: <{sender.strip('<>')}>\r\n"
        f"Received: from {helo or 'unknown'} ([{literal}])\r\n\tby {hostname} with SMTP; {date}\r\n"
    ).encode("ascii")


def is_answer(raw: bytes) -> bool:
    """Tell whether a message says that it answers another one by itself (RFC 3834, section 5)."""
    fields, _ = read_header(raw, HEADER_LIMITS)
    said = [value.strip().lower() for name, value in fields if name.lower() == "auto-submitted"]
    return any(value.startswith("auto-replied") for value in said)


def _word(text: str) -> str:
    """Return a peer's word fit for a field."""
    return "".join(char if "!" <= char <= "~" else "?" for char in text[:255])


@dataclass(frozen=True)
class Bounds:
    """Connections at a time, of these from one source, and from one source within a minute."""

    connections: int
    per_source: int
    per_minute: float


class Visitors:
    """The connections there are, and how often each source came lately (keys: an IPv6 source is its network)."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._open: Counter[bytes] = Counter()
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # connections left, and when that was so

    def __len__(self) -> int:
        return self._open.total()

    def come(self, key: bytes, now: float) -> str:
        """Let a source in and return "", or return why not."""
        if len(self) >= self.bounds.connections:
            return "connections"
        if self._open[key] >= self.bounds.per_source:
            return "per_source"
        if not self._admits(key, now):
            return "per_minute"
        self._open[key] += 1
        return ""

    def go(self, key: bytes) -> None:
        """Take that one connection of a source that was let in is over."""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]

    def _admits(self, key: bytes, now: float) -> bool:
        most = self.bounds.per_minute
        left, since = self._left.pop(key, (most, now))
        left = min(most, left + max(0.0, now - since) * most / MINUTE_S)
        is_free = left >= 1.0
        self._left[key] = (left - 1.0 if is_free else left, now)
        if len(self._left) > SOURCES:
            self._left.popitem(last=False)
        return is_free
