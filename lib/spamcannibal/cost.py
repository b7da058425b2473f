"""What listings would have refused of accepted mail: messages in, counts by entry out. Pure, bounded.

For each message the listings say whether it would have been refused, as core/tarpit.h has it: the longest prefix
decides, exceptions pass. What shadow listings would refuse beside that is counted apart, and so is what mail servers
said against clients that a shadow listing covers.

| of | counted are |
|---|---|
| everything | messages, clients, days |
| an entry that refuses | messages, clients, senders, some of their names, first and last time |

Clients and senders are counted exactly up to a limit; past it a number is a least one.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from spamcannibal.addr import make_key, mask
from spamcannibal.record import EXCLUDED
from spamcannibal.tables import Tables

CLIENTS_LIMIT = 1_000_000
CLIENTS_OF_ENTRY, SENDERS_OF_ENTRY = 10_000, 1000
DAYS_LIMIT = 3660
DAY_MS = 86_400_000

T = TypeVar("T")


@dataclass
class Toll:
    """What one entry would have refused."""

    mails: int = 0
    rejects: int = 0  # what mail servers said against its clients
    clients: set[bytes] = field(default_factory=set)
    senders: set[str] = field(default_factory=set)
    first_ms: int = 0
    last_ms: int = 0


@dataclass
class Day:
    """The messages of a day; what both kinds refuse counts as refused."""

    mails: int = 0
    refused: int = 0
    shadowed: int = 0


class Cost:
    """The counts, for tables that do not change meanwhile."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.mails = self.refused_mails = self.shadowed_mails = self.rejects = 0
        self.clients: set[bytes] = set()
        self.refused_clients: set[bytes] = set()
        self.refused: dict[bytes, Toll] = {}
        self.shadowed: dict[bytes, Toll] = {}
        self.days: dict[int, Day] = {}
        self.first_ms = self.last_ms = 0

    def accepted(self, addr: bytes, sender: str, at_ms: int) -> None:
        """Count a message that was accepted."""
        self.mails += 1
        _add(self.clients, addr, CLIENTS_LIMIT)
        self.first_ms = min(self.first_ms or at_ms, at_ms)
        self.last_ms = max(self.last_ms, at_ms)
        key, shadow = self._entries(addr)
        day = self._day(at_ms)
        day.mails += 1
        if key is not None:
            self.refused_mails += 1
            day.refused += 1
            _add(self.refused_clients, addr, CLIENTS_LIMIT)
            _count(self.refused.setdefault(key, Toll()), addr, sender, at_ms)
        if shadow is not None:
            self.shadowed_mails += key is None
            day.shadowed += key is None
            _count(self.shadowed.setdefault(shadow, Toll()), addr, sender, at_ms)

    def rejected(self, addr: bytes) -> None:
        """Count what a mail server said against a client."""
        self.rejects += 1
        shadow = self._entries(addr)[1]
        if shadow is not None:
            self.shadowed.setdefault(shadow, Toll()).rejects += 1

    def _entries(self, addr: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the entry that refuses an address, and the shadow that would."""
        listing, shadow = self._tables.listings.match(addr), self._tables.shadows.match(addr)
        refuses = listing is not None and not listing[1] >> 4 & EXCLUDED
        if listing is not None and not refuses and shadow is not None and listing[0] >= shadow[0]:
            shadow = None  # the exception would win
        return _key(addr, listing) if refuses else None, _key(addr, shadow)

    def _day(self, at_ms: int) -> Day:
        number = at_ms // DAY_MS
        if number not in self.days and len(self.days) >= DAYS_LIMIT:
            return Day()
        return self.days.setdefault(number, Day())


def _key(addr: bytes, found: tuple[int, int] | None) -> bytes | None:
    return None if found is None else make_key(mask(addr, found[0]), found[0])


def _count(toll: Toll, addr: bytes, sender: str, at_ms: int) -> None:
    toll.mails += 1
    _add(toll.clients, addr, CLIENTS_OF_ENTRY)
    _add(toll.senders, sender, SENDERS_OF_ENTRY)
    toll.first_ms = min(toll.first_ms or at_ms, at_ms)
    toll.last_ms = max(toll.last_ms, at_ms)


def _add(known: set[T], one: T, limit: int) -> None:
    if len(known) < limit:
        known.add(one)
