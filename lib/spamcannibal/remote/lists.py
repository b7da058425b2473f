"""The catalogue of remote lists: the text of a lists.d/*.toml in, RemoteList structs out. Pure.

    [[list]]
    zone = "bl.example.org"
    url = "https://bl.example.org/"
    weight = 2
    [[list.accept]]
    codes = "127.0.0.2"
    reason = "spam source"
    [[list.accept]]
    codes = "127.0.0.4-127.0.0.7"
    weight = 0.5

| codes | takes |
|---|---|
| 127.0.0.2 | this one answer |
| 127.0.0.4-127.0.0.7 | a range, both ends included |
| 127.0.0.8/29 | a network |
| &0.0.0.4 | every answer with all bits of the mask |

What lists use to say "no" to the one who asks is never taken: 127.0.0.1 and 127.255.255.0/24 by no rule, 127.0.0.255
and 127.0.1.255 only by a rule that names this one answer. A zone of which only some codes are accepted is clear where
it gives others: with the codes the operator says which of its sublists count.
"""

import re
import tomllib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import replace

from spamcannibal.addr import parse_addr, parse_key, split_key
from spamcannibal.checks import LINE_FORM, is_address, is_line, is_name, is_path
from spamcannibal.decode import Checks, Decoder, nearest, shown, shown_key
from spamcannibal.errors import AddrError

Weight = Annotated[float, Meta(ge=-1000, le=1000)]
Seconds = Annotated[float, Meta(ge=0.05, le=120)]

CODES_FORM = "127.x.y.z, FIRST-LAST, a network inside 127/8 or &MASK, and not only the lists' own refusals"
FIRST, LAST = (127 << 24) + 2, (128 << 24) - 1

_NEVER = range((127 << 24) + 0xFFFF00, (127 << 24) + 0x1000000)
_DOUBTFUL = frozenset(((127 << 24) + 0xFF, (127 << 24) + 0x1FF))


class Codes(NamedTuple):
    """The answers from first to last that have all bits of the mask."""

    first: int
    last: int
    mask: int = 0

    def takes(self, code: bytes) -> bool:
        """Tell whether an answer (4 bytes) counts; refusals never do."""
        number = int.from_bytes(code, "big")
        if is_refusal(code) and not (number in _DOUBTFUL and self.first == self.last):
            return False
        return self.first <= number <= self.last and number & self.mask == self.mask


class Accept(Struct, frozen=True):
    """A rule: which answers count, why they are there, and how much (None: as the list)."""

    codes: str
    reason: str = ""
    weight: Weight | None = None


class RemoteList(Struct, frozen=True):
    """A list: how to ask it, what of its answers counts, and what is made of a hit.

    `any` takes every answer inside 127/8 that is no refusal. A keyed zone is asked as ADDRESS.KEY.ZONE with the key of
    `key_file`. Of each family the test points are those of RFC 5782 unless given. `per_s` and `per_day` of 0 are no
    limit, `timeout_s` and `in_flight` of 0 those of the settings. What is `dead` is never asked.
    """

    zone: str
    accept: tuple[Accept, ...] = ()
    any: bool = False
    families: tuple[Literal["ip4", "ip6"], ...] = ("ip4",)
    weight: Weight = 1.0
    code: str = "127.0.0.3"
    error: str = ""
    expires_s: Annotated[float, Meta(ge=60, le=31_536_000)] = 604_800
    key_file: str = ""
    timeout_s: Annotated[float, Meta(ge=0, le=120)] = 0
    in_flight: Annotated[int, Meta(ge=0, le=100_000)] = 0
    per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0
    per_day: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    has_test_points: bool = True
    test_listed: tuple[str, ...] = ()
    test_clear: tuple[str, ...] = ()
    text: bool = True
    url: str = ""
    terms: str = ""
    status: str = ""
    dead: str = ""

    def speaks(self, addr: bytes) -> bool:
        """Tell whether the list has addresses of this one's family."""
        return ("ip4" if len(addr) == 4 else "ip6") in self.families

    def message(self) -> str:
        """Return what is said to the world about a hit."""
        return self.error or f"Blacklisted by: {self.zone}"


def parse_codes(text: str) -> Codes | None:
    """Return the answers that a text names, None if it names none that could count."""
    try:
        codes = _parse_codes(text)
    except AddrError:
        return None
    first, last = max(codes.first, FIRST), min(codes.last, LAST)
    is_alone = codes.first == codes.last and codes.first in _DOUBTFUL
    if not 127 == codes.first >> 24 == codes.last >> 24 or first > last:
        return None
    if not is_alone and all(number in _NEVER for number in (first, last)):
        return None
    return codes


def is_refusal(code: bytes) -> bool:
    """Tell whether an answer is one by which lists refuse, not list."""
    number = int.from_bytes(code, "big")
    return number < FIRST or number in _NEVER or number in _DOUBTFUL


def decode_lists(text: str, file: str, problems: list[str]) -> list[RemoteList]:
    """Return the lists of a file's text; what is wrong goes into the problems, and leaves its list out."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"{file}: not TOML: {error}")
        return []
    for key in tables.keys() - {"list"}:
        problems.append(f"{file}: {shown_key(key)}: unknown section{nearest(key, ['list'])}")
    found = tables.get("list", [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        problems.append(f"{file}: list: wrong value, got {shown(found)}, want tables: [[list]]")
        return []
    decoded = (_decode(table, file, f"list[{i}]", problems) for i, table in enumerate(found))
    return [one for one in decoded if one is not None]


def _decode(table: dict[str, Any], file: str, name: str, problems: list[str]) -> RemoteList | None:
    """Return one list, None if anything is wrong with it."""
    before = len(problems)
    made = Decoder(CHECKS, problems).table(RemoteList, {key: (value, file) for key, value in table.items()}, file, name)
    if not isinstance(made, RemoteList):
        return None
    problems += [f"{file}: {name} ({made.zone}){wrong}" for wrong in _conflicts(made)]
    return replace(made, zone=made.zone.lower()) if len(problems) == before else None


def _conflicts(one: RemoteList) -> Iterable[str]:
    """Yield what no single key can say."""
    if not one.accept and not one.any and not one.dead:
        yield ".accept: missing, want rules, or any = true"
    if one.accept and one.any:
        yield ".any: got true beside accept rules, want one of them"
    if not one.families:
        yield ".families: got none, want ip4, ip6 or both"


def _parse_codes(text: str) -> Codes:
    if text.startswith("&"):
        mask = _number(text[1:])
        if not 0 < mask < 1 << 24:
            raise AddrError("no mask")
        return Codes(FIRST, LAST, mask)
    first, dash, last = text.partition("-")
    if dash:
        return Codes(_number(first), _number(last))
    addr, plen = split_key(parse_key(text))
    if len(addr) != 4:
        raise AddrError("not IPv4")
    start = int.from_bytes(addr, "big")
    return Codes(start, start + (1 << 32 - plen) - 1)


def _number(text: str) -> int:
    addr = parse_addr(text)
    if len(addr) != 4:
        raise AddrError("not IPv4")
    return int.from_bytes(addr, "big")


def _is_code(text: str) -> bool:
    return re.fullmatch(r"127\.[0-9.]+", text) is not None and is_address(text) and not is_refusal(parse_addr(text))


CHECKS: Checks = {
    (Accept, "codes"): (lambda text: parse_codes(text) is not None, CODES_FORM),
    (Accept, "reason"): (is_line, LINE_FORM),
    (RemoteList, "zone"): (is_name, "a domain name without a trailing dot"),
    (RemoteList, "code"): (_is_code, "127.0.0.2 to 127.255.254.255, and none by which lists refuse"),
    (RemoteList, "error"): (is_line, LINE_FORM),
    (RemoteList, "key_file"): (lambda text: text == "" or is_path(text), "a path, or empty"),
    (RemoteList, "test_listed"): (is_address, "an address"),
    (RemoteList, "test_clear"): (is_address, "an address"),
}
