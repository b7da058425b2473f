"""Listings as decisions of CrowdSec's API: "ban this address, or range, for so long". Pure.

| of a decision | is |
|---|---|
| id | the number of the listing's newest change |
| origin | spamcannibal |
| scenario | spamcannibal/CODE: what DNS answers, which tells proven from hearsay, and colours |
| scope, value | Ip and an address, or Range and a prefix |
| duration | as Go writes it: 3h59m0s; at most LEASE_S, which bouncer.py renews |

Decisions are what the tarpit refuses. They know no exceptions, so a network that has some is told as the ranges left.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from spamcannibal.addr import format_addr
from spamcannibal.dnsbl.export.entry import Entry

ORIGIN = "spamcannibal"
KIND = "ban"
LEASE_S = 24 * 86_400  # sets of ipset know no longer time: 2,147,483 seconds
IP, RANGE = "Ip", "Range"
WORDS_LIMIT = 100


class Decision(msgspec.Struct, frozen=True):
    """One as it is sent."""

    id: int
    origin: str
    type: str
    scope: str
    value: str
    duration: str
    scenario: str
    simulated: bool = False


class Ban(NamedTuple):
    """What a decision is made of; two that are equal need not be told anew."""

    value: str
    code: bytes
    expiry_ms: int
    seq: int

    @property
    def scope(self) -> str:
        return RANGE if "/" in self.value else IP

    @property
    def scenario(self) -> str:
        return _scenario(self.code)

    def says(self) -> tuple[bytes, int]:
        """Return what a bouncer must hear of if it changes."""
        return self.code, self.expiry_ms


class Filter(NamedTuple):
    """What a bouncer wants; empty is all."""

    scopes: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    containing: tuple[str, ...] = ()
    not_containing: tuple[str, ...] = ()

    @property
    def wants_none(self) -> bool:
        """Tell whether nothing of ours can pass."""
        return (bool(self.origins) and ORIGIN not in self.origins) or (bool(self.types) and KIND not in self.types)

    def takes(self, ban: Ban) -> bool:
        if self.wants_none or (self.scopes and ban.scope.lower() not in self.scopes):
            return False
        if self.containing and not any(word in ban.scenario for word in self.containing):
            return False
        return not any(word in ban.scenario for word in self.not_containing)


def filter_of(given: Mapping[str, str]) -> Filter:
    """Return the filter of a query; names and values compare without case."""
    scopes = _words(given, "scopes") | _words(given, "scope")
    return Filter(
        scopes,
        _words(given, "origins"),
        _words(given, "type"),
        tuple(sorted(_words(given, "scenarios_containing"))),
        tuple(sorted(_words(given, "scenarios_not_containing"))),
    )


def ban_of(entry: Entry) -> Ban:
    """Return the ban of a listed entry, which carries its listing."""
    listing = entry.listing
    return Ban(entry.name, entry.code, listing.expiry_ms if listing else 0, listing.seq if listing else 0)


def encode(bans: Iterable[Ban], now: float, is_over: bool = False) -> bytes:
    """Return decisions as JSON, joined by commas; those that are over have a duration in the past."""
    made = msgspec.json.encode([_decision(ban, now, is_over) for ban in bans])
    return made[1:-1]


def duration(seconds: float) -> str:
    """Return a duration as Go's time.ParseDuration reads it."""
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    minutes, left = divmod(int(rest), 60)
    return f"{sign}{minutes // 60}h{minutes % 60}m{left}s"


def differences(before: Mapping[str, Ban], after: Mapping[str, Ban]) -> tuple[list[Ban], list[Ban]]:
    """Return (new, deleted) between what holds by value.

    What only changed is both, since bouncers keep of two decisions about one value what they heard first.
    """
    new = [ban for value, ban in after.items() if value not in before or before[value].says() != ban.says()]
    deleted = [ban for value, ban in before.items() if value not in after or after[value].says() != ban.says()]
    return new, deleted


def _decision(ban: Ban, now: float, is_over: bool) -> Decision:
    left_s = min(LEASE_S, ban.expiry_ms / 1000 - now) if ban.expiry_ms else LEASE_S
    text = duration(min(-1, left_s) if is_over else max(1, left_s))
    return Decision(ban.seq, ORIGIN, KIND, ban.scope, ban.value, text, ban.scenario)


@lru_cache(1024)
def _scenario(code: bytes) -> str:
    return f"{ORIGIN}/{format_addr(code)}"


def _words(given: Mapping[str, str], name: str) -> frozenset[str]:
    words = (word.strip().lower() for word in given.get(name, "").split(",")[:WORDS_LIMIT])
    return frozenset(word for word in words if word)
