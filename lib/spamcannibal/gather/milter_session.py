"""A mail server's session with us as its milter: packets in, replies out. Pure.

| stage | may come | then |
|---|---|---|
| NEW | negotiation | READY |
| | quit | over |
| READY | macros, abort, negotiation | READY |
| | a client | DECIDED |
| | quit | over |
| DECIDED | macros, abort, what the client does | DECIDED |
| | quit, with another client to come | READY |
| | quit | over |

Anything else is a WireError, which ends the connection: the server then does what its own settings say for a milter
that fails (Postfix: milter_default_action; Sendmail: the F= of the filter), which should be to accept.

The verdict on a client is final. A server that goes on to tell what he does (version 2 can't leave all of it out) hears
the same again.
"""

from collections.abc import Callable, Mapping
from enum import Enum

from spamcannibal.errors import WireError
from spamcannibal.gather import milter

Judge = Callable[[bytes | None], tuple[str, str] | None]


class Stage(Enum):
    NEW = "before the negotiation"
    READY = "without a client"
    DECIDED = "with a client"


_ENDS = frozenset((milter.QUIT,))
_BETWEEN = frozenset((milter.MACROS, milter.ABORT, milter.QUIT_NC)) | _ENDS
ORDER: Mapping[Stage, frozenset[bytes]] = {
    Stage.NEW: frozenset((milter.NEGOTIATE,)) | _ENDS,
    Stage.READY: frozenset((milter.NEGOTIATE, milter.CONNECT)) | _BETWEEN,
    Stage.DECIDED: milter.EVENTS | _BETWEEN,
}


class Session:
    """`step` until `is_over`; the judge gets a client's addr and returns (act, text), or None to let him in."""

    __slots__ = ("_judge", "_stage", "_verdict", "is_over")

    def __init__(self, judge: Judge) -> None:
        self.is_over = False
        self._judge = judge
        self._stage = Stage.NEW
        self._verdict = milter.accept()

    def step(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take one packet; return the reply, which may be none, and the rest of the bytes."""
        taken = milter.take_packet(data)
        if taken is None:
            return None
        command, body, rest = taken
        if command not in milter.ANSWERS:
            raise WireError(f"milter: unknown command {command!r}")
        if command not in ORDER[self._stage]:
            raise WireError(f"milter: got command {command.decode()} {self._stage.value}")
        return self._answer(command, body), rest

    def _answer(self, command: bytes, body: bytes) -> bytes:
        if command == milter.NEGOTIATE:
            reply = milter.negotiation(milter.parse_offer(body))
            self._stage = Stage.READY
            return reply
        if command == milter.CONNECT:
            refused = self._judge(milter.parse_client(body))
            self._verdict = milter.refusal(*refused) if refused else milter.accept()
            self._stage = Stage.DECIDED
        elif command == milter.QUIT_NC:
            self._stage = Stage.READY
        elif command == milter.QUIT:
            self.is_over = True
        return self._verdict if milter.ANSWERS[command] else b""
