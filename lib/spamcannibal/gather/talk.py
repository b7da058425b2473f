"""One connection's conversation: bytes in, bytes to send out, and whether it is over. Pure.

The first bytes tell the protocol, so one port serves every kind of client:

| begins with | protocol | the connection |
|---|---|---|
| black, white, yellow, brown, nobl, query, explain, status | a line (line.py) | ends with the line's answer |
| NAME= | policy requests of Postfix | stays |
| get | tcp_table of Postfix | stays |
| a digit | socketmap of Postfix | stays |
| { or [ | JSON lines (jsons.py), each answered by a line | stays |
| NUL | a milter's session (milter_session.py) | stays |
| a capital letter, and its first line has HTTP/ | an HTTP request (http.py) | ends |

A line counts only with its newline: what is cut short may name another address. Who can be no reporter may have us keep
STRANGER_BYTES of a request that is not whole yet; the bounds of reports are for reporters.
"""

from collections.abc import Callable

from spamcannibal.errors import WireError
from spamcannibal.gather import http, jsons, postfix
from spamcannibal.gather.desk import STRANGER, Desk
from spamcannibal.gather.line import LINE_LIMIT_BYTES, VERBS, Refused, parse_line
from spamcannibal.gather.milter_session import Session
from spamcannibal.gather.reporters import Peer

_LINES = tuple(f"{verb} ".encode() for verb in VERBS)  # what comes most, and soonest known
JSON_LIMIT_BYTES = 1 << 18  # a line of some 500 reports with reasons
STRANGER_BYTES = postfix.POLICY_LIMIT_BYTES  # the longest question
_CUT = Refused("cut_short", "the connection ended within a line; want LF after it")

# A method of Conversation, not bound to one: that would be a cycle, left to the garbage collector, for each connection.
Step = Callable[["Conversation", bytes], tuple[bytes, bytes] | None]


class Conversation:
    """`feed` what comes until `is_over`; `is_kept` is true from the first answer of a connection that stays."""

    __slots__ = ("_buffer", "_desk", "_is_known", "_peer", "_step", "is_kept", "is_over")

    def __init__(self, desk: Desk, peer: Peer) -> None:
        self.is_over = False
        self.is_kept = False
        self._desk = desk
        self._peer = peer
        self._buffer = b""
        self._step: Step | None = None
        self._is_known = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what to send."""
        data = self._buffer + data if self._buffer else data
        replies: list[bytes] = []
        while data and not self.is_over:
            if self._step is None:
                self._step = self._chosen(data)
            try:
                taken = self._step(self, data) if self._step else None
            except WireError as error:
                self._malformed(str(error))
                return b"".join(replies)
            if taken is None:
                break
            reply, data = taken
            replies.append(reply)
        if len(data) > STRANGER_BYTES and not (self.is_over or self._desk.may_report(self._peer)):
            self.is_over = True
            self._desk.refuse(self._peer, STRANGER)
        self._buffer = b"" if self.is_over else data
        return b"".join(replies)

    def end(self) -> None:
        """Take that the peer has nothing more to say."""
        if self._buffer and not self.is_over:
            self._desk.refuse(self._peer, _CUT)
        self.is_over = True

    def _chosen(self, data: bytes) -> Step | None:
        """Return what takes the next request of the protocol that begins so; None where more must come."""
        if data.startswith(_LINES) and b"\n" in data[:LINE_LIMIT_BYTES]:
            return Conversation._line
        first = data[:1]
        if first.isupper():
            return _capital(data)
        if first.isdigit():
            return self._keep(Conversation._socketmap)
        if first in (b"{", b"["):
            return self._keep(Conversation._json)
        if first == b"\0":
            session = Session(self._judge)
            return self._keep(lambda talk, data: talk._milter(session, data))
        word = data[:LINE_LIMIT_BYTES].partition(b"\n")[0].partition(b" ")[0]
        if b"=" in word:
            return self._keep(Conversation._policy)
        if word == b"get":
            return self._keep(Conversation._tcp_table)
        return Conversation._line if b"\n" in data or len(data) >= LINE_LIMIT_BYTES else None

    def _keep(self, step: Step) -> Step:
        self._is_known = self._desk.may_ask(self._peer)
        return step

    def _malformed(self, message: str) -> str:
        self.is_over = True
        return self._desk.refuse(self._peer, Refused("malformed", message))

    def _line(self, data: bytes) -> tuple[bytes, bytes]:
        self.is_over = True
        line = parse_line(data[:LINE_LIMIT_BYTES].partition(b"\n")[0], self._desk.manner.v6_plen)
        return self._desk.line(self._peer, line).encode("ascii", "replace") + b"\n", b""

    def _policy(self, data: bytes) -> tuple[bytes, bytes] | None:
        taken = postfix.take_policy(data)
        if taken is None:
            return None
        self.is_kept = True
        return postfix.policy_reply(self._desk.policy(self._peer, taken[0], self._is_known)), taken[1]

    def _socketmap(self, data: bytes) -> tuple[bytes, bytes] | None:
        taken = postfix.take_netstring(data)
        if taken is None:
            return None
        self.is_kept = True
        name, _, key = taken[0].decode("utf-8", "replace").partition(" ")
        return postfix.socketmap_reply(self._desk.lookup(name, key, self._is_known)), taken[1]

    def _tcp_table(self, data: bytes) -> tuple[bytes, bytes] | None:
        line, end, rest = data.partition(b"\n")
        if not end:
            _check_more(data, LINE_LIMIT_BYTES)
            return None
        self.is_kept = True
        key = postfix.parse_tcp_request(line.removesuffix(b"\r"))
        return postfix.tcp_reply(self._desk.lookup("", key, self._is_known)), rest

    def _milter(self, session: Session, data: bytes) -> tuple[bytes, bytes] | None:
        taken = session.step(data)
        self.is_kept = self.is_kept or taken is not None
        self.is_over = session.is_over
        return taken

    def _judge(self, addr: bytes | None) -> tuple[str, str] | None:
        return self._desk.client(addr, self._is_known)

    def _json(self, data: bytes) -> tuple[bytes, bytes] | None:
        line, end, rest = data.partition(b"\n")
        if not end:
            _check_more(data, JSON_LIMIT_BYTES)
            return None
        self.is_kept = True
        if not line.strip():
            return b"", rest
        try:
            answers = self._reports(jsons.parse_reports(jsons.load(line), self._desk.manner.v6_plen), "")
        except WireError as error:
            answers = [self._malformed(str(error))]
        return "".join(f"{answer}\n" for answer in answers).encode("ascii", "replace"), rest

    def _http(self, data: bytes) -> tuple[bytes, bytes] | None:
        try:
            request = http.take_request(data)
            reply = self._answer(request) if request else None
        except http.HttpError as error:
            self._malformed(str(error))
            reply = http.response(error.status, f"{error}\n")
        if reply is None:
            return None
        self.is_over = True
        return reply, b""

    def _answer(self, request: http.Request) -> bytes:
        """Return the response to a request."""
        desk, v6_plen = self._desk, self._desk.manner.v6_plen
        readers = {"/metrics": desk.metrics, "/status": desk.json_status}
        parsers = {"/report": jsons.parse_reports, "/rspamd": jsons.parse_rspamd}
        if request.path in readers:
            if request.method != "GET":
                return http.response(405, "want GET\n", "GET")
            if not desk.may_ask(self._peer):
                return http.response(403, "not for you; see gather.ask\n")
            return http.response(200, readers[request.path]())
        if request.path not in parsers:
            return http.response(404, f"there are {', '.join((*parsers, *readers))}\n")
        if request.method != "POST":
            return http.response(405, "want POST\n", "POST")
        try:
            taken = parsers[request.path](jsons.load(request.body), v6_plen)
        except WireError as error:
            raise http.HttpError(400, str(error)) from None
        answers = self._reports(taken, request.secret)
        refused = [answer for answer in answers if answer.startswith("refused")]
        status = 403 if refused and len(refused) == len(answers) else 200
        return http.response(status, {"taken": len(answers) - len(refused), "refused": refused})

    def _reports(self, taken: list[jsons.Taken], secret: str) -> list[str]:
        return [self._desk.report(self._peer, one, secret) for one in taken]


def _capital(data: bytes) -> Step | None:
    """Return what takes a request that begins with a capital letter: HTTP, or a line whose verb is none."""
    line, end, _ = data[:LINE_LIMIT_BYTES].partition(b"\n")
    if not end and len(data) < LINE_LIMIT_BYTES:
        return None
    return Conversation._http if not end or b" HTTP/" in line else Conversation._line


def _check_more(data: bytes, limit_bytes: int) -> None:
    """Raise WireError if a line that has no end yet is too long already."""
    if len(data) > limit_bytes:
        raise WireError(f"line too long, want at most {limit_bytes} bytes")
