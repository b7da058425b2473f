"""The never-list: which addresses no writer may ever list, by overlap in either direction.

In: text lines, each a prefix or a keyword, with # comments, and the own addresses of the host. Out: a NeverList, whose
check raises NeverListed for a key that holds, or lies in, anything of it.

| keyword | holds |
|---|---|
| @special | special-purpose ranges: loopback, link-local, multicast, reserved, transition mechanisms |
| @private | private ranges: RFC 1918 and unique local |
| @documentation | documentation ranges; separate, since laboratories and tests list them |
| @resolvers | public DNS resolvers: everybody behind them would suffer |
| @own | the addresses of this host and of its configured names |

Two prefixes are nested or disjoint, never half over each other. So only the outermost rules matter, they are disjoint
intervals, and one bisection finds the only one that can overlap a key, whichever of the two is larger.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Protocol

from spamcannibal.addr import format_key, parse_key, split_key
from spamcannibal.decode import nearest, shown
from spamcannibal.errors import AddrError, ConfigError, NeverListed
from spamcannibal.ranges import DOCUMENTATION, PRIVATE, RESOLVERS, SPECIAL

LINES_LIMIT = 1_000_000

TABLES = {"@special": SPECIAL, "@private": PRIVATE, "@documentation": DOCUMENTATION, "@resolvers": RESOLVERS}
KEYWORDS = (*TABLES, "@own")


class Guard(Protocol):
    """What a writer asks before it lists a key."""

    def check(self, key: bytes) -> None:
        """Raise NeverListed if the key must not be listed."""


def is_forbidden(guard: Guard, key: bytes) -> bool:
    """Tell whether a guard forbids a key."""
    try:
        guard.check(key)
    except NeverListed:
        return True
    return False


class NeverList:
    """Disjoint ranges that must not be listed, each with the rule that says so."""

    def __init__(self, rules: Iterable[tuple[bytes, str]]) -> None:
        """Take (key, rule text) pairs; of nested ones the outermost counts, of equal ones the first."""
        spans = {4: _Spans(), 16: _Spans()}
        widest_first = sorted(((*_span(key), rule) for key, rule in rules), key=lambda span: (span[1], -span[2]))
        for size, first, last, rule in widest_first:
            spans[size].add(first, last, rule)
        self._spans = spans

    def __len__(self) -> int:
        return sum(len(spans.firsts) for spans in self._spans.values())

    def find(self, key: bytes) -> str | None:
        """Return the rule that forbids to list the key, None if none does."""
        size, first, last = _span(key)
        spans = self._spans[size]
        at = bisect_right(spans.firsts, last) - 1
        return spans.rules[at] if at >= 0 and spans.lasts[at] >= first else None

    def check(self, key: bytes) -> None:
        """Raise NeverListed if the key overlaps a rule."""
        rule = self.find(key)
        if rule is not None:
            raise NeverListed(key, rule, format_key(key))


class _Spans:
    """Disjoint intervals of one address family in order, as parallel lists for bisection."""

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.rules: list[str] = []

    def add(self, first: int, last: int, rule: str) -> None:
        """Append an interval unless it lies in the one before; they come in order of first, widest first."""
        if not self.lasts or first > self.lasts[-1]:
            self.firsts.append(first)
            self.lasts.append(last)
            self.rules.append(rule)


def parse_never_list(text: str, own: Iterable[bytes], name: str) -> NeverList:
    """Return the never-list of a file's text; ConfigError holds every wrong line.

    `own` are keys of this host, used where the text says @own; `name` is the file's, for messages and rules.
    """
    own = tuple(own)
    rules: list[tuple[bytes, str]] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if number > LINES_LIMIT:
            problems.append(f"{name}: too long, want at most {LINES_LIMIT} lines")
            break
        try:
            rules += _rules(word, own, f"{name}:{number}")
        except (AddrError, ConfigError) as error:
            problems.append(f"{name}:{number}: {error}")
    if problems:
        raise ConfigError(*problems)
    return NeverList(rules)


def parse_fib_trie(text: str) -> Iterator[bytes]:
    """Yield the IPv4 addresses of this host from the text of /proc/net/fib_trie: leaves marked "/32 host LOCAL"."""
    leaf = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["|--"] and len(words) == 2:
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"] and leaf:
            yield parse_key(leaf)


def parse_if_inet6(text: str) -> Iterator[bytes]:
    """Yield the IPv6 addresses of this host from the text of /proc/net/if_inet6: 32 hexadecimal digits a line."""
    for line in text.splitlines():
        digits = line.partition(" ")[0]
        try:
            addr = bytes.fromhex(digits)
        except ValueError:
            addr = b""
        if len(addr) != 16:
            raise AddrError(f"not a line of if_inet6: got {shown(line)}, want 32 hexadecimal digits first")
        yield addr


def _rules(word: str, own: tuple[bytes, ...], where: str) -> list[tuple[bytes, str]]:
    """Return the (key, rule text) pairs of one line."""
    if not word.startswith("@"):
        key = parse_key(word)
        return [(key, f"{where}: {format_key(key)}")]
    if word == "@own":
        return [(key, f"{where}: @own, {format_key(key)}") for key in own]
    if word not in TABLES:
        raise ConfigError(f"unknown keyword {shown(word)}{nearest(word, KEYWORDS)}")
    return [(parse_key(prefix), f"{where}: {word}, {prefix} ({why})") for prefix, why in TABLES[word]]


def _span(key: bytes) -> tuple[int, int, int]:
    """Return (4 or 16, first address, last address) of a key."""
    addr, plen = split_key(key)
    first = int.from_bytes(addr, "big")
    return len(addr), first, first | ((1 << (len(addr) * 8 - plen)) - 1)
