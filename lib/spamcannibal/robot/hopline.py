"""One Received field: which address the receiving server itself wrote, in the form of every common mail server.

In: the value as one line. Out: Recorded. A field is mostly text of the sending host's choice: the name it greeted with,
its reverse DNS name, its ident answer, envelope addresses, certificate names. Where the address stands that the server
took from the connection depends on the server:

| server | from part, `*` marks the address | |
|---|---|---|
| sendmail, Postfix, OpenSMTPD, Haraka, Gmail, Courier | `HELO (ident@rdns [*])`, `HELO (HELO x) ([*])` | "bracketed" |
| Exim, with a reverse name; ecelerity | `rdns ([*]:port helo=HELO ident=x)` | "exim" |
| Exim, without | `[*]:port (helo=HELO ident=x)` | "exim" |
| qmail | `rdns (HELO x) (ident@*)`, `rdns (*)` | "qmail" |
| Exchange, Outlook.com | `HELO (*) by name (address)` | "exchange" |
| Yahoo, CommuniGate | `* (EHLO x)`, `[*] (HELO x)` | "bare" |
| fetchmail | `name [*] by name with IMAP (fetchmail` | "fetchmail" |

Why that can't be forged: the address of the connection always stands in the field, in brackets or parentheses, and so
does the server's own `by`. Text that makes another address look like the one leaves the true one somewhere else in the
field. So one more address in brackets, outside the places above and the server's own name, or one more `by`, makes the
field unreadable, and an unreadable field ends the search.
"""

import re
from dataclasses import dataclass, replace

from spamcannibal.robot.hoptext import ADDR, Unread, address, read_literal, refuse_addresses, tokens, without_comments

LINE_LIMIT = 4000  # what a server writes is below 1,000; a certificate's name and two envelope addresses may be long

NETWORK, HANDOVER, LOCAL, HTTP, UNREAD = "network", "handover", "local", "http", "unread"


@dataclass(frozen=True)
class Recorded:
    """What one field says. `kind` tells how the message came to the server that wrote it:

    NETWORK from `from_addr`; HANDOVER within the server's own house (LMTP, a filter); LOCAL from a local program; HTTP
    from a browser; UNREAD can't tell, for the `problem`. `helo` is for show: it may be anything.
    """

    kind: str
    dialect: str = ""
    by_name: str = ""
    by_addr: bytes | None = None
    from_addr: bytes | None = None
    helo: str = ""
    problem: str = ""


_LITERAL = rf"\[({ADDR})\](?::\d{{1,5}})?"

_BRACKETED = re.compile(rf"(?:[^\s()\[\]]+\s+)?{_LITERAL}(?:\s+(?:\(may be forged\)|verified))?", re.IGNORECASE)
_EXIM = re.compile(rf"{_LITERAL}(?:\s+(?:helo|ident|port)=.*)?", re.IGNORECASE)
_EXIM_BARE = re.compile(r"(?:helo|ident|port)=.*", re.IGNORECASE)
_EXIM_HELO = re.compile(rf"\bhelo=\[{ADDR}\](?=\s|$)", re.IGNORECASE)
_EXIM_TAIL = re.compile(r"with\s+(?:e?smtps?a?|utf8e?smtps?a?)\s.{0,120}?\(Exim\s", re.IGNORECASE)
_QMAIL_TAIL = re.compile(r"with\s+(?:\([^()]{0,80}\)\s+)?E?SMTPS?A?\s*(?:\([^()]{0,80}\)\s*)?;")
_EXCHANGE_TAIL = re.compile(r"with\s+(?:mapi|HTTPS|Microsoft SMTP Server)\b")
_PLAIN = re.compile(rf"(?:\S+@)?\[?({ADDR})\]?")
_GREETED = re.compile(r"(?:HELO|EHLO|account)(?:\s.*)?", re.IGNORECASE)
_GREETED_ADDR = re.compile(rf"(?:HELO|EHLO)\s+\[?{ADDR}\]?", re.IGNORECASE)
_FROM_WORD = re.compile(rf"(?:{_LITERAL}|({ADDR}))", re.IGNORECASE)
_BY_COMMENT = re.compile(rf"(?:[^\s()\[\]]+\s+)?(?:\[({ADDR})\]|({ADDR}))", re.IGNORECASE)

_MAIL_DOMAIN = re.compile(r"@\[[^\[\]\s]{2,60}\](?=>)")
_ANY_BY = re.compile(r"(?<![^\s()])by\s", re.IGNORECASE)

_DATE = re.compile(
    r";\s*(?:[A-Za-z]{3},?\s+)?(?:\d{1,2}[\s-]+[A-Za-z]{3}[\s-]+\d{2,4}\s+\d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?"
    r"|[A-Za-z]{3}\s+\d{1,2}\s+\d{1,2}:\d\d:\d\d\s+\d{4})"
    r"(?:\s+(?:[+-]\d{4}|[A-Za-z]{1,5}))?\s*(?:\(.{0,400}\)\s*)?(?:id [0-9A-F.]{1,80})?$"
)
_PROTOCOL = re.compile(r"\bwith\s+(?:\([^()]{0,80}\)\s+)?([A-Za-z0-9]+)")
_NAME = re.compile(r"\[[^\s;()]{1,60}\]|[^\s;()<>\"\[\]]{1,255}")
_NOT_ASKED = re.compile(r"\((?:qmail|nullmailer)\s[^()]{0,60}\binvoked\s+(from\s+network)?[^()]{0,60}\)", re.IGNORECASE)
_USERID = re.compile(r"\((?:Postfix, )?from userid \d{1,10}\)", re.IGNORECASE)
_SUBMITTED = re.compile(r"\(from [^\s()]{1,200}\)\s+by\s", re.IGNORECASE)
_WEB = {"http", "https"}
_INSIDE = {"lmtp", "lmtps", "lmtpa", "lmtpsa", "utf8lmtp", "spamassassin"}
_POLLED = {"pop2", "pop3", "apop", "imap", "pop3s", "imaps"}


def read_hop(value: str) -> Recorded:
    """Return what a Received field's value (one line, blanks collapsed) says; UNREAD with the problem if unclear."""
    if len(value) > LINE_LIMIT:
        return Recorded(UNREAD, problem=f"longer than {LINE_LIMIT} characters")
    if not value.isprintable():
        return Recorded(UNREAD, problem="holds control characters")
    try:
        return _read(value)
    except Unread as error:
        return Recorded(UNREAD, problem=str(error))


def _read(value: str) -> Recorded:
    asked = _NOT_ASKED.match(value)
    if asked and _DATE.fullmatch(value, asked.end()):
        return Recorded(HANDOVER if asked[1] else LOCAL, "qmail")
    lower = value.lower()
    if lower.startswith("by "):
        return _without_from(value)
    if _SUBMITTED.match(value):
        return _local(value, "sendmail")
    if not lower.startswith("from "):
        raise Unread('starts with neither "from" nor "by"')
    head = _Head(value)
    recorded = _network(head) or _addressless(head)
    return replace(recorded, by_name=head.by_name, by_addr=head.by_addr, helo=head.helo)


class _Head:
    """The part from `from` to `by NAME (comments)`, taken apart; `tail` is what follows."""

    def __init__(self, value: str) -> None:
        at = 5
        self.helo = value[at:].partition(" ")[0]
        self.literals: list[str] = []
        self.comments: list[str] = []
        for is_comment, text, end in tokens(value, at + len(self.helo)):
            if is_comment:
                self.comments.append(text)
            elif text.lower() == "by":
                self.by_name, self.by_addr, self.tail = _by(value, end)
                break
            elif _FROM_WORD.fullmatch(text):
                self.literals.append(text)
            else:
                raise Unread(f"{text[:40]!r} stands where an address or `by` should")
        else:
            raise Unread("has no `by`")
        _check_tail(self.tail)


def _by(value: str, at: int) -> tuple[str, bytes | None, str]:
    """Return (name, address, rest) of what follows `by`."""
    while value[at : at + 1] == " ":
        at += 1
    name = _NAME.match(value, at)
    if not name:
        raise Unread("has no name after `by`")
    at = name.end()
    addr = read_literal(name[0].strip("[]"))
    for is_comment, text, end in tokens(value, at):
        if not is_comment:
            break
        own = _BY_COMMENT.fullmatch(text)
        if own:
            addr = read_literal(own[1] or own[2]) or addr
        else:
            refuse_addresses(f"({text})")
        at = end
    return name[0].strip("[]").rstrip(".").lower(), addr, value[at:].strip(" ")


def _check_tail(tail: str) -> None:
    """Refuse what follows `by` if the sending host may have put it there to look like a hop."""
    if not _DATE.search(tail):
        raise Unread("has no date at its end")
    if _ANY_BY.search(without_comments(tail)):
        raise Unread("has a second `by`: the sending host may have written one")
    refuse_addresses(_MAIL_DOMAIN.sub("", tail))


def _network(head: _Head) -> Recorded | None:
    """Return the hop of a connection, None if no address of one was recorded."""
    if head.literals:
        return _polled(head)
    found = _address_word(head)
    others: list[str] = []
    for text in head.comments:
        taken = _address_comment(head, text)
        if taken:
            found.append(taken)
        else:
            others.append(text)
    # After an address only its own comment may tell another one: what stands between may close and open comments.
    is_late = others[:1] == head.comments[:1] and len(others) < len(head.comments)
    if len(found) > 1 or (is_late and _word_addr(head.helo) is not None):
        raise Unread("holds more than one address that may be the sender's")
    if found and found[0][0] == "qmail" and others[:1] == head.comments[:1] and _GREETED_ADDR.fullmatch(others[0]):
        del others[0]
    for text in others:
        refuse_addresses(f"({_EXIM_HELO.sub('', text)})")
    if not found:
        return None
    return Recorded(HTTP if _protocol_of(head.tail) in _WEB else NETWORK, found[0][0], from_addr=found[0][1])


def _address_comment(head: _Head, text: str) -> tuple[str, bytes] | None:
    """Return (dialect, address) of a comment that holds nothing but the address, as some server writes it."""
    if _GREETED.fullmatch(text) or _EXIM_BARE.fullmatch(text):
        return None
    for dialect, pattern in (("bracketed", _BRACKETED), ("exim", _EXIM)):
        match = pattern.fullmatch(text)
        if match:
            refuse_addresses(_EXIM_HELO.sub("", text[match.end(1) + 1 :]) + ")")
            return dialect, address(match[1])
    match = _PLAIN.fullmatch(text)
    dialect = _plain_dialect(head) if match else ""
    return (dialect, address(match[1])) if match and dialect else None


def _plain_dialect(head: _Head) -> str:
    """Return which server it is, of those that write an address in parentheses without brackets; "" if none."""
    if _EXCHANGE_TAIL.match(head.tail):
        return "exchange"
    return "qmail" if any(map(_GREETED.fullmatch, head.comments)) or _QMAIL_TAIL.match(head.tail) else ""


def _address_word(head: _Head) -> list[tuple[str, bytes]]:
    """Return the address that stands right after `from`, of servers that put it there and the greeting elsewhere."""
    addr = _word_addr(head.helo)
    if addr is None:
        return []
    first = head.comments[0] if head.comments else ""
    is_exim = _EXIM_BARE.fullmatch(first) or (not first and _EXIM_TAIL.match(head.tail))
    if head.helo.startswith("[") and is_exim:
        return [("exim", addr)]
    return [("bare", addr)] if _GREETED.fullmatch(first) else []


def _word_addr(word: str) -> bytes | None:
    """Return the address that a word is, in brackets or bare."""
    match = _FROM_WORD.fullmatch(word)
    return read_literal(match[1] or match[2]) if match else None


def _polled(head: _Head) -> Recorded:
    """Return the hop of a mailbox that was polled by fetchmail, which names the server with its address."""
    addr = _word_addr(head.literals[0])
    is_polled = re.match(r"with\s+\w+\s+\(fetchmail-", head.tail) and _protocol_of(head.tail) in _POLLED
    if len(head.literals) > 1 or head.comments or not is_polled or addr is None:
        raise Unread("has an address where the sending host may have written it")
    return Recorded(NETWORK, "fetchmail", from_addr=addr)


def _addressless(head: _Head) -> Recorded:
    """Return the hop of something else than a connection."""
    protocol = _protocol_of(head.tail)
    if protocol in _INSIDE:
        return Recorded(HANDOVER, protocol)
    if protocol == "local":
        return Recorded(LOCAL, "exim")
    if protocol in _WEB:
        return Recorded(HTTP, "http")
    raise Unread("holds no address that the receiving server wrote")


def _without_from(value: str) -> Recorded:
    """Return the hop of a field that names no sending host: handed in locally, or passed on inside a large service."""
    name, addr, tail = _by(value, 3)
    _check_tail(tail)
    if _USERID.search(value[3:]) and not _PROTOCOL.search(value):
        return Recorded(LOCAL, "postfix", name, addr)
    if addr is not None and read_literal(name) and re.match(r"with\s+SMTP\s+id\s", tail):
        return Recorded(HANDOVER, "gmail", name, addr)
    if _protocol_of(tail) in _WEB:
        return Recorded(HTTP, "http", name, addr)
    if _protocol_of(tail) in _INSIDE:
        return Recorded(HANDOVER, _protocol_of(tail), name, addr)
    raise Unread("names no sending host")


def _local(value: str, dialect: str) -> Recorded:
    """Return the hop of a message that a program on the server itself handed in."""
    name, addr, tail = _by(value, value.lower().index(") by ") + 4)
    _check_tail(tail)
    return Recorded(LOCAL, dialect, name, addr)


def _protocol_of(tail: str) -> str:
    match = _PROTOCOL.match(tail)
    return match[1].lower() if match else ""
