"""The text of a Received field: words, comments, addresses. Pure; Unread says why something can't be read."""

import re
from collections.abc import Iterator

from spamcannibal.addr import parse_addr
from spamcannibal.errors import AddrError

# An address as servers write it, with the tag of RFC 5321, a zone or a port.
ADDR = r"(?:IPv6:)?[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,20})?"
# Any address in brackets, or at the end of parentheses, whatever stands around it.
_ANY_ADDR = re.compile(rf"\[\s*({ADDR})\s*\]|(?:(?<![^\s(])\(|@)\s*({ADDR})\s*\)", re.IGNORECASE)
_PARENTHESIS = re.compile(r"\\.|[()]")
_WORD = re.compile(r"[^\s()]+")


class Unread(Exception):
    """Why a field can't be read; read_hop turns it into a Recorded."""


def read_literal(text: str) -> bytes | None:
    """Return the addr of an address as servers write it, without brackets; None if it is none."""
    bare = text[5:] if text[:5].lower() == "ipv6:" else text
    bare = bare.partition("%")[0]
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return parse_addr(bare)
    except AddrError:
        return None


def address(text: str) -> bytes:
    """Return an address; a field that has something else in the address's place can't be read."""
    addr = read_literal(text)
    if addr is None:
        raise Unread(f"{text[:60]!r} stands where the address should")
    return addr


def refuse_addresses(text: str) -> None:
    """Refuse a text that should hold no address of a host."""
    for match in _ANY_ADDR.finditer(text):
        if read_literal(match[1] or match[2]) is not None:
            raise Unread(f"holds another address, {match[0][:60]}, in text that the sending host may have chosen")


def tokens(value: str, at: int) -> Iterator[tuple[bool, str, int]]:
    """Yield (is it a comment, text without its parentheses, offset after it) from an offset on."""
    while at < len(value):
        if value[at] == " ":
            at += 1
            continue
        if value[at] == "(":
            end = _comment_end(value, at)
            yield True, value[at + 1 : end - 1].strip(" "), end
        else:
            word = _WORD.match(value, at)
            if not word:
                raise Unread("has a parenthesis too many")
            end = word.end()
            yield False, word[0], end
        at = end


def _comment_end(value: str, at: int) -> int:
    """Return the offset after the comment that starts at `at`."""
    depth = 0
    for match in _PARENTHESIS.finditer(value, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise Unread("has a parenthesis that is not closed")


def without_comments(text: str) -> str:
    """Return a text without its comments; as it is if they are not balanced."""
    try:
        words = [word for is_comment, word, _ in tokens(text, 0) if not is_comment]
    except Unread:
        return text
    return " ".join(words)
