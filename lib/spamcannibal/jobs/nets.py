"""Lists of addresses and networks in the original's syntax, IPv6 too: who is in one, by which line.

    192.0.2.7                       an address
    192.0.2.7 - 198.51.100.200      all from one to another, any two of one family
    192.0.2.0/24                    a prefix; host bits are ignored, as the original did: 192.0.2.20/28 begins at .16
    192.0.2.0/255.255.255.0         the same with a mask, IPv4 only
    2001:db8::/32                   IPv6, likewise

One a line, blanks anywhere, # begins a comment. Every line that is none of these is an error with its number: the
original dropped it silently. So is one that holds all addresses, which is surely a slip.
"""

from collections.abc import Iterator, Mapping

from spamcannibal.addr import V4_BITS, V6_BITS, parse_addr
from spamcannibal.decode import shown
from spamcannibal.errors import AddrError, ConfigError
from spamcannibal.jobs.spans import Spans

LINES_LIMIT = 5_000_000
PROBLEMS_LIMIT = 100

FORMS = "want ADDRESS, FIRST-LAST, ADDRESS/LENGTH or ADDRESS/MASK"


class Nets:
    """Which line of a list holds an address."""

    def __init__(self, spans: Mapping[int, Spans], name: str) -> None:
        """Take the spans by address size; their numbers are lines."""
        self._spans = spans
        self._name = name

    def find(self, addr: bytes) -> str | None:
        """Return "NAME:LINE" of a line that holds an address, None if none does."""
        line = self._spans[len(addr)].find(addr)
        return f"{self._name}:{line}" if line else None


def parse_nets(text: str, name: str) -> Nets:
    """Return the list of a file's text; ConfigError holds every wrong line, up to a hundred. `name` is the file's."""
    problems: list[str] = []
    families = {size: Spans(size) for size in (4, 16)}
    for number, line in _lines(text):
        if number > LINES_LIMIT:
            problems.append(f"{name}: too long, want at most {LINES_LIMIT} lines")
            break
        try:
            size, first, last = parse_range(line)
        except AddrError as error:
            problems.append(f"{name}:{number}: {error}")
            if len(problems) >= PROBLEMS_LIMIT:
                break
            continue
        families[size].add(first, last, number)
    if problems:
        raise ConfigError(*problems)
    return Nets({size: spans.seal() for size, spans in families.items()}, name)


def parse_range(text: str) -> tuple[int, int, int]:
    """Return (4 or 16, first, last) of an address, range or prefix without blanks; AddrError if it is none."""
    if "/" in text:
        size, first, last = _prefix(text)
    elif "-" in text:
        size, first, last = _between(text)
    else:
        addr = parse_addr(text)
        size, first = len(addr), int.from_bytes(addr, "big")
        last = first
    if first == 0 and last == (1 << size * 8) - 1:
        raise AddrError(f"holds every address, got {shown(text)}")
    return size, first, last


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, text without blanks) of each line that says something; a list of all lines would cost 60 MB."""
    start, number = 0, 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        line = "".join(text[start:end].partition("#")[0].split())
        if line:
            yield number, line
        start = end + 1


def _between(text: str) -> tuple[int, int, int]:
    """Return the range FIRST-LAST."""
    head, _, tail = text.partition("-")
    first, last = parse_addr(head), parse_addr(tail)
    if len(first) != len(last):
        raise AddrError(f"a range over both families, got {shown(text)}")
    if first > last:
        raise AddrError(f"a range that ends before it begins, got {shown(text)}")
    return len(first), int.from_bytes(first, "big"), int.from_bytes(last, "big")


def _prefix(text: str) -> tuple[int, int, int]:
    """Return the range ADDRESS/LENGTH or ADDRESS/MASK."""
    host, _, length = text.partition("/")
    addr = parse_addr(host)
    bits = len(addr) * 8
    plen = _mask_length(length) if "." in length and ":" not in host else _length(length)
    if plen is not None and ":" in host and bits == V4_BITS:
        plen -= V6_BITS - V4_BITS  # an IPv4-mapped prefix
    if plen is None or not 0 <= plen <= bits:
        raise AddrError(f"wrong prefix, got {shown(text)}, {FORMS}")
    wild = (1 << (bits - plen)) - 1
    first = int.from_bytes(addr, "big") & ~wild
    return len(addr), first, first | wild


def _length(text: str) -> int | None:
    """Return a prefix length without leading zeros, None if the text is none."""
    if not 1 <= len(text) <= 3 or not (text.isascii() and text.isdecimal()) or (text[0] == "0" and text != "0"):
        return None
    return int(text)


def _mask_length(text: str) -> int | None:
    """Return the prefix length of an IPv4 mask, None if its ones do not all stand before its zeros."""
    wild = ~int.from_bytes(parse_addr(text), "big") & 0xFFFFFFFF
    return V4_BITS - wild.bit_length() if wild & (wild + 1) == 0 else None
