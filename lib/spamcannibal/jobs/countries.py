"""The country of an address, from the text files of Debian's tor-geoipdb (converted from IPFire's location database).

| file | line |
|---|---|
| /usr/share/tor/geoip | FIRST,LAST,CC in decimal numbers: 16777216,16777471,AU |
| /usr/share/tor/geoip6 | FIRST,LAST,CC in IPv6 text: 2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,JP |

# begins a comment; ?? is an unknown country. In: the lines, by whoever opened the files. Out: Countries, 9 MB for
the 662,000 ranges of 2026.
"""

import re
from collections.abc import Iterable, Iterator
from socket import AF_INET6, inet_pton

from spamcannibal.addr import V4_BITS
from spamcannibal.decode import shown
from spamcannibal.errors import ConfigError
from spamcannibal.jobs.spans import Spans

LINES_LIMIT = 10_000_000
PACKAGE = "tor-geoipdb"

_V4 = re.compile(r"([0-9]{1,10}),([0-9]{1,10}),([A-Z]{2}|\?\?)")
_V6 = re.compile(r"([0-9a-fA-F:]{2,39}),([0-9a-fA-F:]{2,39}),([A-Z]{2}|\?\?)")


class Countries:
    """Which country each address belongs to."""

    def __init__(self, v4: Spans, v6: Spans) -> None:
        self._spans = {4: v4, 16: v6}

    def find(self, addr: bytes) -> str | None:
        """Return the two letters of an address's country, None if it is unknown."""
        number = self._spans[len(addr)].find(addr)
        return chr(number >> 8) + chr(number & 0xFF) if number else None

    def memory_bytes(self) -> int:
        """How much memory the ranges take."""
        return sum(spans.memory_bytes() for spans in self._spans.values())


def parse_countries(v4: Iterable[str], v6: Iterable[str], names: tuple[str, str]) -> Countries:
    """Return the countries of the lines of both files, named `names`; ConfigError tells the first wrong line."""
    return Countries(_v4_spans(v4, names[0]), _v6_spans(v6, names[1]))


def _v4_spans(lines: Iterable[str], name: str) -> Spans:
    spans = Spans(4)
    for number, (head, tail, country) in _fields(lines, _V4, name):
        first, last = int(head), int(tail)
        if not first <= last < 1 << V4_BITS:
            raise _wrong(name, number, f"{head},{tail}")
        spans.add(first, last, ord(country[0]) << 8 | ord(country[1]))
    return spans.seal()


def _v6_spans(lines: Iterable[str], name: str) -> Spans:
    spans = Spans(16)
    for number, (head, tail, country) in _fields(lines, _V6, name):
        try:
            first, last = (int.from_bytes(inet_pton(AF_INET6, text), "big") for text in (head, tail))
        except OSError:
            first, last = 1, 0
        if first > last:
            raise _wrong(name, number, f"{head},{tail}")
        spans.add(first, last, ord(country[0]) << 8 | ord(country[1]))
    return spans.seal()


def _fields(lines: Iterable[str], form: re.Pattern[str], name: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (number, fields) of the lines that name a country."""
    match = form.fullmatch
    for number, line in enumerate(lines, 1):
        found = match(line.rstrip("\r\n"))
        if number > LINES_LIMIT:
            raise ConfigError(f"{name}: too long, want at most {LINES_LIMIT} lines")
        if found:
            if found[3] != "??":
                yield number, found.groups()
        elif line.partition("#")[0].strip():
            raise _wrong(name, number, line)


def _wrong(name: str, number: int, got: str) -> ConfigError:
    return ConfigError(f"{name}:{number}: not a range, got {shown(got)}, want FIRST,LAST,CC as {PACKAGE} has it")
