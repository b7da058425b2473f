"""Questions to resolvers: tries, waits, and which datagram answers which. Pure: time and noise come in, bytes go out.

A question is sent to a server from a port, with an id and letters in a case of its own. What comes back is believed if
all of these fit; what does not is counted and otherwise as if it had not come:

| reply | what is done |
|---|---|
| its id is none that is waited for at this port | counted `stray` |
| from another address or port than that asked | never gets here: each port is connected to one server |
| another question | counted `wrong question` |
| the question in another case | asked again over TCP, which is hard to forge without it |
| truncated | asked again over TCP |
| longer than asked for, or malformed | this try failed: the next server, or the same one after a wait |
| an rcode but NOERROR and NXDOMAIN | the same; FORMERR, NOTIMP, BADVERS: without EDNS from then on |
| nothing | the next try after a wait that follows the list's round-trip times (RFC 6298) and doubles each time |

Every try has an id and a port of its own, and all of them are waited for until the question's time is over. A question
ends in a Reply, or in the text of why there is none. The servers are tried in turn; one that left STRIKES tries
unanswered in a row is no longer the first to be asked.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from spamcannibal.errors import WireError
from spamcannibal.remote.query import PAYLOAD_BYTES, mix_case, pack_query, pack_question
from spamcannibal.remote.question import Datagram, Question, RoundTrip, Terms
from spamcannibal.remote.wire import (
    BADVERS,
    FORMERR,
    HEADER_BYTES,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    RCODES,
    Match,
    Reply,
    is_reply,
    is_truncated,
    match,
    read_reply,
)

STRIKES = 8
TIMEOUT = "timeout"
_NO_EDNS = frozenset((FORMERR, NOTIMP, BADVERS))

Outcome = Reply | str


class _Try(NamedTuple):
    question: Question
    server: int
    asked: bytes
    sent_at: float


class Exchange:
    """The questions in flight. `noise(n)` gives random bytes, `port(server)` the number of a port to ask from.

    A port has one server, and numbers of ports are never used twice. The caller takes `out`, `streams` and `done` and
    empties them.
    """

    def __init__(self, terms: Terms, noise: Callable[[int], bytes], port: Callable[[int], int]) -> None:
        self.out: list[Datagram] = []
        self.streams: list[tuple[Question, int]] = []
        self.done: list[tuple[Question, Outcome]] = []
        self.counters: Counter[str] = Counter()
        self.in_flight = 0
        self._terms, self._noise, self._port = terms, noise, port
        self._pending: dict[int, _Try] = {}
        self._heap: list[tuple[float, int, Question]] = []
        self._serial = 0
        self._round_trips: dict[int, RoundTrip] = {}
        self._usable = list(range(terms.servers))
        self._first = 0
        self._strikes = [0] * terms.servers

    def use(self, servers: list[int]) -> None:
        """Ask only these servers from now on, at least one, in their order."""
        self._usable, self._first = servers, 0

    def ask(self, question: Question, now: float) -> None:
        """Take a new question on."""
        question.deadline = now + question.timeout_s
        self.in_flight += 1
        self.counters["asked"] += 1
        self._try(question, now)

    def heard(self, port: int, data: bytes, now: float) -> None:
        """Take a datagram that came to a port from its server."""
        if not is_reply(data):
            self.counters["stray"] += 1
            return
        key = port << 16 | data[0] << 8 | data[1]
        found = self._pending.get(key)
        if found is None:
            self.counters["stray"] += 1
            return
        how = match(data, found.asked)
        if how is Match.OTHER:
            self.counters["wrong question"] += 1
            return
        question = found.question
        self._strikes[found.server] = 0
        self._drop(key)
        if how is Match.OTHER_CASE or is_truncated(data):
            self._stream(found, "truncated" if how is Match.SAME else "other case", now)
        elif len(data) > PAYLOAD_BYTES:
            self.counters["oversize"] += 1
            self._fail(question, "oversize reply", now)
        else:
            self._round_trip(question.lane).add(now - found.sent_at)
            self._judge(question, how, data, found.asked, now)

    def streamed(self, question: Question, data: bytes, now: float) -> None:
        """Take what a stream brought for a question."""
        if question.is_over:
            return
        question.is_streamed = False
        asked = question.sent[HEADER_BYTES : HEADER_BYTES + len(question.name) + 4]
        if not is_reply(data) or data[:2] != question.sent[:2] or match(data, asked) is Match.OTHER:
            self.counters["stray"] += 1
            self._fail(question, "malformed reply", now)
            return
        self._judge(question, match(data, asked), data, asked, now)

    def unstreamed(self, question: Question, why: str, now: float) -> None:
        """Note that a stream failed."""
        if not question.is_over:
            question.is_streamed = False
            self._fail(question, why, now)

    def unsent(self, datagram: Datagram, why: str, now: float) -> None:
        """Note that a datagram could not be sent."""
        key = datagram.port << 16 | int.from_bytes(datagram.data[:2], "big")
        found = self._pending.get(key)
        if found is not None:
            self.counters["unsent"] += 1
            self._drop(key)
            self._fail(found.question, why, now)

    def refused(self, port: int, why: str, now: float) -> None:
        """Note that a port's server is not there, by the network's word: what was asked from this port has failed."""
        self.counters["refused"] += 1
        for key in [key for key in self._pending if key >> 16 == port]:
            if key in self._pending:
                question = self._pending[key].question
                self._drop(key)
                self._fail(question, why, now)

    def tick(self, now: float) -> None:
        """Do what is due: further tries, and the end of questions that waited long enough."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, question = heapq.heappop(heap)
            if question.is_over or question.due != due:
                continue
            if now >= question.deadline:
                self._strike(question)
                self._finish(question, question.why or TIMEOUT)
            elif question.is_streamed:
                self._arm(question, question.deadline)
            else:
                self._strike(question)
                self._try(question, now)

    def next_due(self) -> float | None:
        """Return when `tick` has something to do, None while nothing is in flight."""
        heap = self._heap
        while heap and (heap[0][2].is_over or heap[0][2].due != heap[0][0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def abandon(self) -> None:
        """Forget all questions in flight."""
        for _, _, question in self._heap:
            question.is_over = True
        for one in self._pending.values():
            one.question.is_over = True
        self._pending.clear()
        self._heap.clear()
        self.out.clear()
        self.streams.clear()
        self.done.clear()
        self.in_flight = 0

    def _try(self, question: Question, now: float) -> None:
        """Send a question once more."""
        terms, usable = self._terms, self._usable
        server = question.server if question.server >= 0 else usable[(self._first + question.tries) % len(usable)]
        noise = self._noise(2 + len(question.name))
        name = mix_case(question.name, noise[2:]) if terms.mixed_case else question.name
        asked = pack_question(name, question.qtype)
        port = self._port(server)
        ident = int.from_bytes(noise[:2], "big")
        pending = self._pending
        while port << 16 | ident in pending:
            ident = int.from_bytes(self._noise(2), "big")
        key = port << 16 | ident
        pending[key] = _Try(question, server, asked, now)
        question.keys.append(key)
        question.tries += 1
        self.out.append(Datagram(port, server, pack_query(ident, asked, not question.is_plain)))
        self._arm(question, now + self._wait_s(question) if question.tries < terms.tries else question.deadline)

    def _wait_s(self, question: Question) -> float:
        """Return how long this try may take before the next one."""
        return self._round_trip(question.lane).wait_s * (1 << question.tries - 1)

    def _round_trip(self, lane: int) -> RoundTrip:
        found = self._round_trips.get(lane)
        if found is None:
            found = self._round_trips[lane] = RoundTrip(self._terms.retry_s)
        return found

    def _arm(self, question: Question, due: float) -> None:
        """Wake the question at that time, and at no other."""
        question.due = due = due if due < question.deadline else question.deadline
        self._serial += 1
        heapq.heappush(self._heap, (due, self._serial, question))

    def _stream(self, found: _Try, why: str, now: float) -> None:
        """Have a question asked over TCP, once at a time."""
        self.counters[why] += 1
        question = found.question
        if question.is_streamed:
            return
        question.is_streamed = True
        question.sent = pack_query(int.from_bytes(self._noise(2), "big"), found.asked, not question.is_plain)
        self.streams.append((question, found.server))
        self._arm(question, question.deadline)

    def _judge(self, question: Question, how: Match, data: bytes, asked: bytes, now: float) -> None:
        """End the question by a reply that is its own, or try again where that says nothing."""
        rcode = data[3] & 15
        if how is not Match.BARE:
            try:
                reply = read_reply(data, asked)
            except WireError as error:
                self.counters["malformed"] += 1
                self._fail(question, f"malformed reply: {error}", now)
                return
            if reply.rcode in (NOERROR, NXDOMAIN):
                self._finish(question, reply)
                return
            rcode = reply.rcode
        name = RCODES.get(rcode, f"rcode {rcode}")
        self.counters[name] += 1
        question.is_plain = question.is_plain or rcode in _NO_EDNS
        self._fail(question, name, now)

    def _fail(self, question: Question, why: str, now: float) -> None:
        """Go on after a try that came to nothing: at once with a server not yet asked in this round, else later."""
        question.why = why
        if question.is_streamed:
            return
        if question.tries >= self._terms.tries:
            if not question.keys:
                self._finish(question, why)
            return
        if question.server < 0 and question.tries % len(self._usable):
            self._try(question, now)
        else:
            self._arm(question, now + self._wait_s(question))

    def _strike(self, question: Question) -> None:
        """Count a try that the server left unanswered against it."""
        if not question.keys:
            return
        self.counters[TIMEOUT] += 1
        found = self._pending.get(question.keys[-1])
        if found is None:
            return
        self._strikes[found.server] += 1
        if found.server == self._usable[self._first] and self._strikes[found.server] >= STRIKES:
            self._strikes[found.server] = 0
            self._first = (self._first + 1) % len(self._usable)

    def _drop(self, key: int) -> None:
        """No longer wait for a try."""
        self._pending.pop(key).question.keys.remove(key)

    def _finish(self, question: Question, outcome: Outcome) -> None:
        question.is_over = True
        for key in question.keys:
            del self._pending[key]
        question.keys.clear()
        self.in_flight -= 1
        self.done.append((question, outcome))
