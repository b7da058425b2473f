"""One line of a mail server -> a report, a question, or why it is refused. Pure.

    VERB ADDRESS [key=SECRET] [REASON]      black, white, yellow, brown, nobl: a Report
    query ADDRESS                           Asked: what is said of it
    explain ADDRESS | status                Asked, for operators

Words are separated by one or more spaces, a line ends in LF or CRLF. This is what Exim sends by
`${readsocket{inet:HOST:PORT}{black $sender_host_address\\n}{3s}{}{}}` (reference/exim-gather.md); a session that has no
address gives the verb and a space. The reason and the key are ours; a key is never taken for an address, which a
refusal would tell.

`Report` is the one event type: every adapter (Postfix, HTTP, JSON lines, a log) makes these and nothing else.
"""

from typing import NamedTuple

from spamcannibal.addr import listing_key, parse_addr, parse_key, split_key
from spamcannibal.errors import AddrError

LINE_LIMIT_BYTES = 512  # with its end; the longest address takes 45
REASON_LIMIT = 200  # what a TXT string has room for
VERBS = ("black", "white", "yellow", "brown", "nobl")
QUESTIONS = ("query", "explain", "status")
SHORTEST = {4: 24, 16: 48}  # the widest prefixes that a report may name

_VERBS = {verb.encode(): verb for verb in VERBS}
_QUESTIONS = {verb.encode(): verb for verb in QUESTIONS}


class Report(NamedTuple):
    """What a reporter says of a store key: a colour, and perhaps why."""

    colour: str
    key: bytes
    reason: str = ""


class Said(NamedTuple):
    """A report as it came, with the secret that came with it; `is_peers` if another site says so, not a mail server."""

    report: Report
    secret: str = ""
    is_peers: bool = False


class Asked(NamedTuple):
    """A question; `addr` is empty for status."""

    verb: str
    addr: bytes = b""


class Refused(NamedTuple):
    """Why a report or question is not taken: a counter's name, and the rest of the message."""

    why: str
    detail: str = ""


Line = Said | Asked | Refused


def parse_line(line: bytes, v6_plen: int = 64) -> Line:
    """Return what a line says; `line` is without its LF, an IPv6 host becomes its network of `v6_plen` bits."""
    if len(line) >= LINE_LIMIT_BYTES:
        return Refused("too_long", f"want at most {LINE_LIMIT_BYTES} bytes")
    words = line.removesuffix(b"\r").split(b" ")
    words = [word for word in words if word] if b"" in words else words
    if not words:
        return Refused("empty")
    verb, *rest = words
    if verb in _QUESTIONS:
        return _asked(_QUESTIONS[verb], rest)
    if verb not in _VERBS:
        return Refused("unknown_verb", f"want one of {', '.join(VERBS)}")
    if not rest or rest[0].startswith(b"key="):
        return Refused("no_address")
    secret = ""
    if len(rest) > 1 and rest[1].startswith(b"key="):
        secret = rest.pop(1)[4:].decode("utf-8", "backslashreplace")
    made = make_report(_VERBS[verb], rest[0].decode("latin-1"), b" ".join(rest[1:]).decode("utf-8", "replace"), v6_plen)
    return Said(made, secret) if isinstance(made, Report) else made


def make_report(colour: str, address: str, reason: str, v6_plen: int) -> Report | Refused:
    """Return the report of texts from outside: an address, or a prefix that is not too wide."""
    try:
        if "/" not in address:
            return Report(colour, listing_key(parse_addr(address), v6_plen), clean(reason))
        key = parse_key(address)
    except AddrError as error:
        return Refused("bad_address", str(error))
    addr, plen = split_key(key)
    if plen < SHORTEST[len(addr)]:
        return Refused("wide_prefix", f"got /{plen}, want /{SHORTEST[len(addr)]} or longer")
    return Report(colour, key, clean(reason))


def is_prefix(key: bytes, v6_plen: int = 64) -> bool:
    """Tell whether a report's key is more than a host: a named prefix, which not every reporter may report."""
    size = len(key)
    return size == 5 or (size == 17 and key[16] != v6_plen)


def clean(reason: str) -> str:
    """Return a reason fit for logs and TXT records: printable ASCII, cut."""
    if reason.isascii() and reason.isprintable():
        return reason[:REASON_LIMIT].strip()
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in reason[:REASON_LIMIT]).strip()


def _asked(verb: str, words: list[bytes]) -> Line:
    if verb == "status":
        return Asked(verb)
    if not words:
        return Refused("no_address")
    try:
        return Asked(verb, parse_addr(words[0].decode("latin-1")))
    except AddrError as error:
        return Refused("bad_address", str(error))
