"""Accepted mail in the logs of mail servers: a file of patterns in, client addresses and senders out of lines. Pure.

    [[mail]]
    name = "postfix-queued"
    step = "queued"
    find = "(queue active)"
    match = '{syslog}postfix/qmgr\\[\\d+\\]: {id}: from=<{sender}>, size=\\d+, nrcpt=\\d+ \\(queue active\\)'
    examples = ["..."]

`find`, `match` and `others` are those of signs.py. Beside its places {id} is the message's number, {sender} its
envelope sender. A server that tells it all in one line has step "whole". Else the line with the client's address has
"client", and the one that says that the message was taken over, by its number, "queued": what lies between may still
fail, and what is queued again after a delay is counted once.

{sender} has no blanks and no quotes: a quoted one could hold whatever a line goes on with. A pattern may say it in
another way, as (?P<sender>...), where nothing of weight follows.

A number is good for one host, so the host's name in {syslog} belongs to it. Of LIMIT messages at most the client is
remembered until they are queued.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from spamcannibal.gather.finder import Finder
from spamcannibal.gather.signs import PLACES, Patterned, addr_of, compiled, decode_tables

LIMIT = 200_000
SENDER_LIMIT_BYTES = 320
MAIL_PLACES = {
    **PLACES,
    "{syslog}": PLACES["{syslog}"].replace(r" \S+ ", r" (?P<mx>\S+) "),
    "{id}": r"(?P<id>[0-9A-Za-z-]{5,30})",
    "{sender}": r"(?P<sender>[^\s<>\"]*)",
}


class MailSign(Patterned, frozen=True):
    """One kind of line that a mail server writes of mail."""

    step: Literal["whole", "client", "queued"]
    examples: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Mail(NamedTuple):
    """A message that was accepted, and the line that says so; `port` is 0 if that does not tell."""

    addr: bytes
    sender: str
    port: int
    line: bytes


class _Said(NamedTuple):
    number: tuple[bytes, bytes]
    addr: bytes
    sender: str
    port: int


class Mails:
    """What several files say one after another; oldest first."""

    def __init__(self, signs: Sequence[MailSign], limit: int = LIMIT) -> None:
        self.forgotten = 0
        self._limit = limit
        patterns = [(sign, sign.find, compiled(sign.match, MAIL_PLACES)) for sign in signs]
        self._finder: Finder[MailSign, _Said] = Finder(patterns, _said)
        self._clients: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()

    def look(self, block: bytes) -> Iterator[Mail]:
        """Yield the mail that a block of whole lines says was accepted."""
        for sign, said, line in self._finder.look(block):
            if sign.step == "whole":
                if said.addr:
                    yield Mail(said.addr, said.sender, said.port, line)
            elif sign.step == "client":
                self._note(said)
            else:
                addr = self._clients.pop(said.number, b"")
                if addr:
                    yield Mail(addr, said.sender, said.port, line)

    def _note(self, said: _Said) -> None:
        if not said.addr:
            return
        self._clients[said.number] = said.addr
        self._clients.move_to_end(said.number)
        if len(self._clients) > self._limit:
            self._clients.popitem(last=False)
            self.forgotten += 1


def decode_mails(text: str, file: str, problems: list[str]) -> list[MailSign]:
    """Return the patterns of a file's text; what is wrong goes into the problems, and leaves its pattern out."""
    return decode_tables(text, file, "mail", MailSign, {}, _wrong, problems)


def _wrong(sign: MailSign) -> str:
    """Say what is wrong with a pattern, "" if nothing is."""
    wanted = {"whole": ("{addr}",), "client": ("{addr}", "{id}"), "queued": ("{id}",)}[sign.step]
    for place in wanted:
        if sign.match.count(place) != 1:
            return f"got {sign.match.count(place)} of {place}, want one where step is {sign.step}"
    if not sign.match.startswith(("{syslog}", "{exim}")):
        return "want {syslog} or {exim} first, so that nothing of a peer's can stand before"
    try:
        compiled(sign.match, MAIL_PLACES)
    except re.error as error:
        return f"not a regular expression: {error}"
    return ""


def _said(match: re.Match[bytes]) -> _Said | None:
    """Return what a line says; None if its address is none, or this host itself."""
    groups = match.groupdict()
    addr = b""
    if groups.get("addr") is not None:
        found = addr_of(groups["addr"])
        if found is None or (found[:1] == b"\x7f" and len(found) == 4) or found == bytes(15) + b"\1":
            return None
        addr = found
    sender = (groups.get("sender") or b"")[:SENDER_LIMIT_BYTES].decode("utf-8", "backslashreplace")
    return _Said((groups.get("mx") or b"", groups.get("id") or b""), addr, sender, int(groups.get("port") or 0))
