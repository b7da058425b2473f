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
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from spamcannibal.addr import parse_addr
from spamcannibal.checks import LINE_FORM, is_line
from spamcannibal.decode import Checks, Decoder, nearest, shown, shown_key
from spamcannibal.errors import AddrError

LINE_LIMIT_BYTES = 8192
SIGNS_LIMIT = 1000
PLACES = {
    "{addr}": r"(?:IPv6:)?(?P<addr>[0-9A-Fa-f:.]{2,45})",
    "{host}": r"[^\s()\[\]]+",
    "{syslog}": r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) \S+ ",
    "{exim}": r"\d{4}-\d\d-\d\d [\d:.]+ (?:[+-]\d{4} )?(?:\[\d+\] )?",
}


class Sign(Struct, frozen=True):
    """One kind of line, and what it says of the address in it."""

    name: str
    find: str
    match: str
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
        self._by_find: dict[bytes, list[tuple[Sign, re.Pattern[bytes]]]] = {}
        for sign in self.all:
            self._by_find.setdefault(sign.find.encode(), []).append((sign, compiled(sign)))
        # Longer texts first, or one that begins another would hide it.
        finds = sorted(self._by_find, key=lambda find: (-len(find), find))
        self._any = re.compile(b"|".join(map(re.escape, finds))) if finds else None

    def look(self, block: bytes) -> Iterator[Shown]:
        """Yield the signs in a block of whole lines, in order; at most one for each text of a line."""
        if self._any is None:
            return
        done = 0  # a line's texts are all looked at when the first is found
        for found in self._any.finditer(block):
            if found.start() < done:
                continue
            start = block.rfind(b"\n", 0, found.start()) + 1
            end = block.find(b"\n", found.end())
            done = end if end >= 0 else len(block)
            if done - start <= LINE_LIMIT_BYTES:
                yield from self._in_line(block[start:done])

    def _in_line(self, line: bytes) -> Iterator[Shown]:
        for find, signs in self._by_find.items():
            if find not in line:
                continue
            for sign, pattern in signs:
                match = pattern.match(line)
                addr = _addr(match["addr"]) if match else None
                if addr is not None:
                    yield Shown(sign, addr, line)
                    break


def compiled(sign: Sign) -> re.Pattern[bytes]:
    """Return a sign's pattern; re.error if it is none."""
    pattern = sign.match
    for place, meaning in PLACES.items():
        pattern = pattern.replace(place, meaning)
    return re.compile(pattern.encode())


def decode_signs(text: str, file: str, problems: list[str]) -> list[Sign]:
    """Return the signs of a file's text; what is wrong goes into the problems, and leaves its sign out."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"{file}: not TOML: {error}")
        return []
    for key in tables.keys() - {"sign"}:
        problems.append(f"{file}: {shown_key(key)}: unknown section{nearest(key, ['sign'])}")
    found = tables.get("sign", [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        problems.append(f"{file}: sign: wrong value, got {shown(found)}, want tables: [[sign]]")
        return []
    if len(found) > SIGNS_LIMIT:
        problems.append(f"{file}: sign: got {len(found)}, want at most {SIGNS_LIMIT}")
    decoded = (_decode(table, file, f"sign[{i}]", problems) for i, table in enumerate(found[:SIGNS_LIMIT]))
    return [sign for sign in decoded if sign is not None]


def _decode(table: dict[str, Any], file: str, name: str, problems: list[str]) -> Sign | None:
    before = len(problems)
    made = Decoder(CHECKS, problems).table(Sign, {key: (value, file) for key, value in table.items()}, file, name)
    if not isinstance(made, Sign) or len(problems) > before:
        return None
    wrong = _wrong(made)
    if wrong:
        problems.append(f"{file}: {name} ({made.name}).match: {wrong}")
    return None if wrong else made


def _wrong(sign: Sign) -> str:
    """Say what is wrong with a sign's pattern, "" if nothing is."""
    if sign.match.count("{addr}") != 1:
        return f"got {sign.match.count('{addr}')} of {{addr}}, want one"
    if not sign.match.startswith(("{syslog}", "{exim}")):
        return "want {syslog} or {exim} first, so that nothing of a peer's can stand before"
    try:
        compiled(sign)
    except re.error as error:
        return f"not a regular expression: {error}"
    return ""


def _addr(text: bytes) -> bytes | None:
    try:
        return parse_addr(text.decode("ascii"))
    except AddrError:
        return None


CHECKS: Checks = {
    (Sign, "name"): (lambda text: re.fullmatch(r"[a-z0-9-]{1,60}", text) is not None, "small letters, digits and -"),
    (Sign, "find"): (lambda text: len(text) > 3 and "\n" not in text, "at least 4 characters of one line"),
    (Sign, "reason"): (is_line, LINE_FORM),
}
