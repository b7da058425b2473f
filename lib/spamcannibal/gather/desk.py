"""Who asks and who reports, and what they get to hear: the meaning behind every protocol of talk.py. Pure.

Reports go to the sink; questions are answered from memory (standing.py). Only peers of `ask` get answers: to others
everybody looks unlisted, so that a mail server with a wrong setting loses no mail.

Postfix says by `policy_context` what it wants; Exim and others by the verb:

| policy_context | what happens |
|---|---|
| empty | a listed client gets the action of `act` (dunno, reject, defer) |
| dunno, reject, defer | it gets this action |
| black, white, yellow, brown, nobl, and perhaps a reason | the client is reported so; the action is DUNNO |

A milter hears of a client when he connects: one that is listed gets `milter_act`.

An authenticated client (sasl_username) is neither refused nor reported. The names of socketmap are reject and defer
(the action), colour, text; all but colour know listed clients only.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spamcannibal.addr import covers, format_addr, format_key, listing_key, parse_addr
from spamcannibal.errors import AddrError
from spamcannibal.gather.line import VERBS, Asked, Line, Refused, Said, make_report
from spamcannibal.gather.postfix import ACTIONS, access
from spamcannibal.gather.reporters import LOCAL, Peer
from spamcannibal.gather.sink import Sink
from spamcannibal.gather.standing import Found, Standing

DUNNO = ACTIONS["dunno"]
QUIET = frozenset(("empty", "no_address"))  # Exim without an address, port probes: counted, but nobody's mistake
NOTHING = "none"
STRANGER = Refused("stranger", "no reporter of the settings fits this address or key")
Complain = Callable[[Peer, str, str], None]


@dataclass(frozen=True)
class Manner:
    """How questions are answered: `ask` are keys or "local", `text` has $ for the address."""

    ask: tuple[bytes | str, ...] = ()
    act: str = "dunno"
    text: str = "$ is listed for sending spam"
    v6_plen: int = 64
    is_observing: bool = False
    milter_act: str = "reject"


class Desk:
    """Answers for all connections; for one thread."""

    def __init__(
        self, sink: Sink, standing: Standing, manner: Manner, clock: Callable[[], float], complain: Complain
    ) -> None:
        self.sink = sink
        self.standing = standing
        self.manner = manner
        self.status: Callable[[], Mapping[str, Any]] = dict
        self.metrics: Callable[[], str] = str
        self._clock = clock
        self._complain = complain

    def may_ask(self, peer: Peer) -> bool:
        """Tell whether a peer gets answers."""
        if not peer.addr:
            return LOCAL in self.manner.ask
        return any(covers(net, peer.addr) for net in self.manner.ask if isinstance(net, bytes))

    def may_report(self, peer: Peer) -> bool:
        """Tell whether a peer can be a reporter."""
        return bool(self.sink.reporters.near(peer))

    def report(self, peer: Peer, taken: Said | Refused, secret: str = "") -> str:
        """Take a report of a peer, who may have said his key before; return what to answer."""
        if isinstance(taken, Refused):
            return self.refuse(peer, taken)
        reporter = self.sink.reporters.find(peer, taken.secret or secret)
        if reporter is None:
            return self.refuse(peer, STRANGER)
        if taken.is_peers and reporter.name not in self.sink.tally.terms.peers:
            why = f"another site's word would pass for our own; want peer = true for the reporter {reporter.name}"
            return self.refuse(peer, Refused("not_a_peer", why))
        outcome = self.sink.take(taken.report, reporter, self._clock())
        if outcome.why:
            self._complain(peer, outcome.why, f"{format_key(taken.report.key)}: {outcome.detail}")
            return f"refused: {outcome.detail}"
        if outcome.decision is None:
            return "ok"
        return f"ok would be {outcome.decision.colour}" if self.manner.is_observing else f"ok {outcome.decision.colour}"

    def refuse(self, peer: Peer, refused: Refused) -> str:
        """Count what can't be taken; return what to answer."""
        self.sink.refuse(refused.why)
        if refused.why not in QUIET:
            self._complain(peer, refused.why, refused.detail)
        return f"refused: {refused.detail or refused.why}"

    def line(self, peer: Peer, line: Line) -> str:
        """Answer one line, with another one (a document for status)."""
        if not isinstance(line, Asked):
            return self.report(peer, line)
        self.sink.counts["questions"] += 1
        if not self.may_ask(peer):
            return NOTHING
        if line.verb == "status":
            return self.json_status()
        return self._query(line.addr) if line.verb == "query" else self._explain(line.addr)

    def policy(self, peer: Peer, attributes: Mapping[str, str], is_known: bool) -> str:
        """Return the action for a request of Postfix's smtpd; `is_known` is may_ask of the peer."""
        self.sink.counts["policy"] += 1
        word, _, reason = attributes.get("policy_context", "").partition(" ")
        address = attributes.get("client_address", "")
        if attributes.get("sasl_username"):
            return DUNNO
        if word in VERBS:
            made = make_report(word, address, reason, self.manner.v6_plen)
            self.report(peer, made if isinstance(made, Refused) else Said(made))
            return DUNNO
        listed = self._listed(address) if is_known else None
        act = word if word in ACTIONS else self.manner.act
        return DUNNO if listed is None else access(act, listed)

    def client(self, addr: bytes | None, is_known: bool) -> tuple[str, str] | None:
        """Return act and text for a client that a milter hears of, None to let him in; local ones have no addr."""
        self.sink.counts["milter"] += 1
        act = self.manner.milter_act
        if addr is None or not is_known or act == "dunno":
            return None
        listed = self._listed(format_addr(addr))
        return None if listed is None else (act, listed)

    def lookup(self, name: str, key: str, is_known: bool) -> str | None:
        """Return the value of a key in one of our maps, None if it has none; "" is the map of tcp_table."""
        self.sink.counts["lookups"] += 1
        if not is_known:
            return None
        if name == "colour":
            found = self._found(key)
            return found.colour if found else None
        listed = self._listed(key)
        if listed is None or name == "text":
            return listed
        act = name or self.manner.act
        return access(act, listed) if act in ACTIONS else None

    def json_status(self) -> str:
        """Return the status as a line of JSON."""
        return json.dumps(self.status())

    def _query(self, addr: bytes) -> str:
        found = self.standing.find(addr)
        if found is None:
            return NOTHING
        return f"{found.colour} {self._text(found, format_addr(addr))}" if found.colour == "black" else found.colour

    def _explain(self, addr: bytes) -> str:
        """Say what stands for an address, and what the reports so far amount to."""
        account = self.sink.explain(listing_key(addr, self.manner.v6_plen), self._clock())
        return f"{self._query(addr)}; reports: {account.text if account else NOTHING}"

    def _found(self, address: str) -> Found | None:
        try:
            return self.standing.find(parse_addr(address))
        except AddrError:  # a host name, or "unknown"
            return None

    def _listed(self, address: str) -> str | None:
        """Return the text for an address that is refused, None for any other."""
        found = self._found(address)
        return self._text(found, address) if found is not None and found.colour == "black" else None

    def _text(self, found: Found, address: str) -> str:
        return (found.text or self.manner.text).replace("$", address)
