"""Lists of addresses as others write them -> entries, line by line; a broken line is an entry of its own. Pure.

| form | a line is |
|---|---|
| plain | an address, prefix or range, perhaps `!` before it (an exception) and text after `#` |
| csv | by its header: key, address, cidr, prefix, network or ip; perhaps text, code, expiry_ms, exception |
| rbldnsd | ip4set, ip4trie, ip6trie, combined: `:CODE:TEXT` the default, `!` an exception, `1.2.3` for 1.2.3.0/24 |
| drop | Spamhaus DROP as text: a prefix, `;`, its reference |
| jsonl | an object a line, with the names of csv; Spamhaus DROP as JSON has "cidr" and "sblid" |

`$` in a text stands for the address that is asked for, as in rbldnsd; in the other forms a `$` is itself, so it is
doubled. Sources: rbldnsd(8); spamhaus.org/blocklists/do-not-route-or-peer; RFC 4180.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from spamcannibal.addr import V4_BITS, format_key, make_key, mask, parse_addr, parse_key, range_keys
from spamcannibal.decode import shown
from spamcannibal.errors import AddrError, WireError

LINE_LIMIT = 65_536
HEAD_LINES = 50
TEXT_LIMIT = 1000
YEAR_10000_MS = 253_402_300_800_000


class Entry(NamedTuple):
    """What a line lists, as written: host or network. `code` is empty and `expiry_ms` 0 where it does not say."""

    line: int
    key: bytes
    text: str = ""
    code: bytes = b""
    expiry_ms: int = 0
    is_exception: bool = False


class Broken(NamedTuple):
    """A line that can't be taken, and why."""

    line: int
    reason: str


Line = tuple[int, str]
Entries = Iterator[Entry | Broken]


def guess(head: Iterable[str]) -> str:
    """Return the form that the first lines of a feed have; plain if they show none."""
    for line in (line.strip() for line in head):
        if not line or line.startswith("#"):
            continue
        if line.startswith("{"):
            return "jsonl"
        if line.startswith(";") or re.search(r"\s;\s*SBL", line):
            return "drop"
        if re.match(r":|\$(SOA|NS|TTL|DATASET|TIMESTAMP|MAXRANGE)|\S+\s+:", line):
            return "rbldnsd"
        return "csv" if _key_column(next(csv.reader([line]), [])) else "plain"
    return "plain"


def read(lines: Iterable[str], form: str = "") -> Entries:
    """Yield what each line lists, in order; `form` is one of FORMS, "" to guess it. Memory is that of one line."""
    numbered = iter(enumerate(lines, 1))
    head = list(islice(numbered, HEAD_LINES)) if not form else []
    return FORMS[form or guess(text for _, text in head)](chain(head, numbered))


def _plain(lines: Iterable[Line]) -> Entries:
    for number, line in lines:
        words, _, text = line.partition("#")
        is_exception = words.lstrip().startswith("!")
        yield from _entries(number, words.strip().removeprefix("!").strip(), _dollars(text), is_exception=is_exception)


def _drop(lines: Iterable[Line]) -> Entries:
    for number, line in lines:
        words, _, reference = line.partition(";")
        yield from _entries(number, words.strip(), _dollars(reference))


def _rbldnsd(lines: Iterable[Line]) -> Entries:
    default, dataset = "", ""
    for number, line in ((number, line.strip()) for number, line in lines):
        if line.startswith("$DATASET"):
            dataset = (line.split()[1:] or [""])[0]
        if not line or line[0] in "$#;" or not (dataset or "ip").startswith("ip"):
            continue
        if line.startswith(":"):
            default = line
            continue
        words, _, value = line.removeprefix("!").partition(" ")
        try:
            code, text = _value(value.strip(), default)
        except WireError as error:
            yield Broken(number, str(error))
            continue
        yield from _entries(number, words.strip(), text, code, is_exception=line.startswith("!"), is_short=True)


def _value(value: str, default: str) -> tuple[bytes, str]:
    """Return code and text of an rbldnsd value, `:CODE:TEXT`, `:CODE` or TEXT; CODE may be its last octet alone."""
    whole = _VALUE.fullmatch(default)
    code, text = (whole[1], whole[2]) if whole else ("", "")
    own = _VALUE.fullmatch(value)
    if own:
        code, text = own[1] or code, own[2] if own[2] is not None else text
    elif value.startswith(":"):
        raise WireError(f"not a value: got {shown(value)}, want :127.0.0.2:TEXT")
    elif value:
        text = value
    code = f"127.0.0.{code}" if code and "." not in code else code
    return (parse_addr(code) if code else b""), _clean(text or "")


def _csv(lines: Iterable[Line]) -> Entries:
    at = [0]

    def texts() -> Iterator[str]:
        for number, line in lines:
            at[0] = number
            yield line

    rows = csv.reader(texts(), strict=True)
    header: list[str] = []
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Broken(at[0], f"not CSV: {error}")
            continue
        if row is None:
            return
        if not row or row[0].startswith("#"):
            continue
        if not header:
            header = [name.strip().lower() for name in row]
            if _key_column(header) is None:
                yield Broken(at[0], f"no header: got {shown(','.join(row))}, want a column named one of {_KEYS}")
                return
            continue
        yield from _object(at[0], dict(zip(header, row, strict=False)))


def _jsonl(lines: Iterable[Line]) -> Entries:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Broken(number, f"not JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Broken(number, f"not an object: got {shown(row)}")
        elif row.get("type") != "metadata":  # the last line of Spamhaus DROP
            yield from _object(number, row)


def _object(number: int, row: dict[str, Any]) -> Entries:
    """Yield what a row of named fields lists."""
    name = _key_column(row)
    if name is None:
        yield Broken(number, f"no address: got {shown(row)}, want one of {_KEYS}")
        return
    text, code, expiry = row.get("text") or row.get("sblid") or "", row.get("code") or "", row.get("expiry_ms") or 0
    is_exception = row.get("exception") in (True, "yes", "true", "1")
    try:
        expiry_ms = int(expiry)
        packed = parse_addr(code) if code else b""
        if not 0 <= expiry_ms < YEAR_10000_MS:
            raise ValueError(f"expiry_ms: got {expiry_ms}, want milliseconds since 1970, before the year 10000")
    except (ValueError, TypeError, OverflowError) as error:
        yield Broken(number, str(error))
        return
    # Our own exports write texts as they are kept, `$` for the address; others' `$` are their own.
    text = _clean(str(text)) if "key" in row else _dollars(str(text))
    yield from _entries(number, str(row[name]).strip(), text, packed, expiry_ms, is_exception)


def _entries(
    number: int,
    words: str,
    text: str,
    code: bytes = b"",
    expiry_ms: int = 0,
    is_exception: bool = False,
    is_short: bool = False,
) -> Entries:
    """Yield the entries of an address, prefix or range; nothing for an empty text."""
    if not words:
        return
    if len(words) > LINE_LIMIT:
        yield Broken(number, f"too long, want at most {LINE_LIMIT} characters")
        return
    try:
        if code and not (len(code) == 4 and code[0] == 127 and code > _NOT_LISTED):
            raise AddrError(f"wrong code: got {format_key(code)}, want 127.0.0.2 to 127.255.255.255")
        keys = _keys(words, is_short)
    except AddrError as error:
        yield Broken(number, str(error))
        return
    for key in keys:
        yield Entry(number, key, text, code, expiry_ms, is_exception)


def _keys(words: str, is_short: bool) -> list[bytes]:
    """Return the keys of an address, a prefix, a range FIRST-LAST, and in rbldnsd's short forms."""
    first, dash, last = words.partition("-")
    if not dash:
        return [_short_key(words) if is_short and ":" not in words else parse_key(words)]
    start = parse_addr(first.strip())
    last = last.strip()
    if is_short and last.isascii() and last.isdigit() and len(start) == 4:
        last = first.strip().rpartition(".")[0] + "." + last
    return range_keys(start, parse_addr(last))


def _short_key(words: str) -> bytes:
    """Return the key of IPv4 text that may leave out last octets ("10.1", "10.1/17"), and have host bits set."""
    host, slash, length = words.partition("/")
    octets = host.split(".")
    plen = int(length) if length.isascii() and length.isdigit() and len(length) < 4 else -1
    addr = parse_addr(".".join([*octets, *["0"] * (4 - len(octets))]))
    if slash and not 0 <= plen <= V4_BITS:
        raise AddrError(f"wrong prefix length: got {shown(words)}, want /0 to /{V4_BITS}")
    plen = plen if slash else 8 * len(octets)
    return make_key(mask(addr, plen), plen)


def _key_column(names: Iterable[str]) -> str | None:
    return next((name for name in names if name.strip().lower() in _KEYS), None)


def _clean(text: str) -> str:
    """Return a text as one line, within the limit."""
    return " ".join(text[:TEXT_LIMIT].split())


def _dollars(text: str) -> str:
    return _clean(text).replace("$", "$$")


_KEYS = ("key", "address", "cidr", "prefix", "network", "ip")
_VALUE = re.compile(r":([0-9.]*)(?::(.*))?")
_NOT_LISTED = bytes((127, 0, 0, 1))

FORMS: dict[str, Callable[[Iterable[Line]], Entries]] = {
    "plain": _plain,
    "csv": _csv,
    "rbldnsd": _rbldnsd,
    "drop": _drop,
    "jsonl": _jsonl,
}
