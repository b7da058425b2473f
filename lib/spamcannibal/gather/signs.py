"""Signs of spam in the logs of mail servers: a file of patterns in, addresses and colours out of log lines. Pure.

    [[sign]]
    name = "postfix-pregreet"
    find = "PREGREET "
    match = '{syslog}postfix/postscreen\\[\\d+\\]: PREGREET \\d+ after [\\d.]+ from \\[{addr}\\]:\\d+: '
    colour = "black"
    reason = "talks before the greeting"
    examples = ["..."]

`find` is text that the line holds; it is looked for in a whole block of lines at once, and only lines that hold one are
looked at. `match` (re) must match from the line's beginning: a log line repeats what a peer said, so whatever stands
before the address must be the server's own words or can hold no space. In it {addr} is the address, {host} a host name
or "unknown", {syslog} and {exim} are what the line begins with. A sign counts once an address has shown it `times`
times `within_s`. One with `on = false` waits for its operator.

In `examples` the address to be found is 192.0.2.7 or 2001:db8::7; lines of `others` show no sign.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, TypeVar

from msgspec import Meta, Struct

from spamcannibal.addr import parse_addr
from spamcannibal.checks import LINE_FORM, is_line
from spamcannibal.decode import Checks, Decoder, nearest, shown, shown_key
from spamcannibal.errors import AddrError
from spamcannibal.gather.finder import Finder

SIGNS_LIMIT = 1000
PLACES = {
    "{addr}": r"(?:IPv6:)?(?P<addr>[0-9A-Fa-f:.]{2,45})",
    "{host}": r"[^\s()\[\]]+",
    "{syslog}": r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) \S+ ",
    "{exim}": r"\d{4}-\d\d-\d\d [\d:.]+ (?:[+-]\d{4} )?(?:\[\d+\] )?",
}


class Patterned(Struct, frozen=True):
    """One table of a file of patterns; inherited because that is how msgspec shares fields."""

    name: str
    find: str
    match: str


P = TypeVar("P", bound=Patterned)


class Sign(Patterned, frozen=True):
    """One kind of line, and what it says of the address in it."""

    colour: Literal["black", "white", "yellow", "brown", "nobl"]
    reason: str
    times: Annotated[int, Meta(ge=1, le=1000)] = 1
    within_s: Annotated[float, Meta(ge=1, le=86_400)] = 600
    on: bool = True
    examples: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Shown(NamedTuple):
    """A sign that a line shows of an address."""

    sign: Sign
    addr: bytes
    line: bytes


class Signs:
    """Signs, compiled to be found fast."""

    def __init__(self, signs: Sequence[Sign]) -> None:
        self.all = tuple(sign for sign in signs if sign.on)
        patterns = [(sign, sign.find, compiled(sign.match)) for sign in self.all]
        self._finder: Finder[Sign, bytes] = Finder(patterns, lambda match: addr_of(match["addr"]))

    def look(self, block: bytes) -> Iterator[Shown]:
        """Yield the signs in a block of whole lines, in order; at most one for each text of a line."""
        return (Shown(*found) for found in self._finder.look(block))


def compiled(pattern: str, places: Mapping[str, str] = PLACES) -> re.Pattern[bytes]:
    """Return a pattern with its places filled in; re.error if it is none."""
    for place, meaning in places.items():
        pattern = pattern.replace(place, meaning)
    return re.compile(pattern.encode())


def decode_signs(text: str, file: str, problems: list[str]) -> list[Sign]:
    """Return the signs of a file's text; what is wrong goes into the problems, and leaves its sign out."""
    return decode_tables(text, file, "sign", Sign, CHECKS, _wrong, problems)


def decode_tables(
    text: str,
    file: str,
    section: str,
    kind: type[P],
    checks: Checks,
    wrong: Callable[[P], str],
    problems: list[str],
) -> list[P]:
    """Return the tables [[section]] of a file's text as structs; `wrong` says what is wrong with one's pattern."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"{file}: not TOML: {error}")
        return []
    for key in tables.keys() - {section}:
        problems.append(f"{file}: {shown_key(key)}: unknown section{nearest(key, [section])}")
    found = tables.get(section, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        problems.append(f"{file}: {section}: wrong value, got {shown(found)}, want tables: [[{section}]]")
        return []
    if len(found) > SIGNS_LIMIT:
        problems.append(f"{file}: {section}: got {len(found)}, want at most {SIGNS_LIMIT}")
    made = []
    for i, table in enumerate(found[:SIGNS_LIMIT]):
        before, name = len(problems), f"{section}[{i}]"
        values = {key: (value, file) for key, value in table.items()}
        each = Decoder(checks, problems).table(kind, values, file, name)
        if not isinstance(each, kind) or len(problems) > before:
            continue
        why = wrong(each)
        if why:
            problems.append(f"{file}: {name} ({each.name}).match: {why}")
        else:
            made.append(each)
    return made


def _wrong(sign: Sign) -> str:
    """Say what is wrong with a sign's pattern, "" if nothing is."""
    if sign.match.count("{addr}") != 1:
        return f"got {sign.match.count('{addr}')} of {{addr}}, want one"
    if not sign.match.startswith(("{syslog}", "{exim}")):
        return "want {syslog} or {exim} first, so that nothing of a peer's can stand before"
    try:
        compiled(sign.match)
    except re.error as error:
        return f"not a regular expression: {error}"
    return ""


def addr_of(text: bytes) -> bytes | None:
    """Return the address that a log line names, None if it is none."""
    try:
        return parse_addr(text.decode("ascii"))
    except AddrError:
        return None


CHECKS: Checks = {
    (Sign, "name"): (lambda text: re.fullmatch(r"[a-z0-9-]{1,60}", text) is not None, "small letters, digits and -"),
    (Sign, "find"): (lambda text: len(text) > 3 and "\n" not in text, "at least 4 characters of one line"),
    (Sign, "reason"): (is_line, LINE_FORM),
}
