"""Telling secondaries that a zone changed (RFC 1996): when to send, to whom, and what an answer means. Pure.

    notices = Notices(subscriptions, delay_s)
    notices.changed(now)                     something is new: everybody is told after the delay
    for due in notices.due(now, idents):     send a NOTIFY to due.subscription, with due.ident
    notices.answered(subscription, ident, now)
    notices.next_s                           when to look again

Changes that come while one waits go with it, so a secondary hears of us once per `delay_s` at most. What is not
answered is sent again, each time after twice as long, until it is: a secondary that was away for a week is told within
LONGEST_S of its return. A change does not shorten that wait, or a dead secondary would be asked all the time.

| state | waits for | then |
|---|---|---|
| idle | a change | waiting |
| waiting | the delay | asked |
| asked | an answer | idle, or waiting if something changed since it was sent |
| | twice the last wait | asked again, of the serial as it is then |
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from spamcannibal.dnsbl import tsig, wire
from spamcannibal.dnsbl.access import Target
from spamcannibal.dnsbl.stream import soa
from spamcannibal.dnsbl.tsig import Key
from spamcannibal.dnsbl.wire import HEADER, Labels
from spamcannibal.dnsbl.zone import Zone
from spamcannibal.errors import WireError

OPCODE_NOTIFY = 4 << 11
FIRST_S, LONGEST_S = 2.0, 300.0
NEVER = float("inf")
_OWNER = (0xC000 | HEADER.size).to_bytes(2, "big")


class Subscription(NamedTuple):
    """A zone and who is told of its changes."""

    zone: Labels
    target: Target


class Due(NamedTuple):
    subscription: Subscription
    ident: int


@dataclass
class _State:
    at_s: float = NEVER
    wait_s: float = 0.0
    ident: int = -1  # of the NOTIFY that is not answered; -1: none
    is_newer: bool = False


class Notices:
    """What is to be told to whom."""

    def __init__(self, subscriptions: Iterable[Subscription], delay_s: float) -> None:
        self._delay_s = delay_s
        self._states = {subscription: _State() for subscription in subscriptions}

    @property
    def next_s(self) -> float:
        """Return when something is due, infinity for never."""
        return min((state.at_s for state in self._states.values()), default=NEVER)

    @property
    def unanswered(self) -> int:
        """Return how many have been told and did not answer yet."""
        return sum(state.ident >= 0 for state in self._states.values())

    def changed(self, now: float) -> None:
        """Have everybody told."""
        for state in self._states.values():
            if state.ident >= 0:
                state.is_newer = True
            elif state.at_s == NEVER:
                state.at_s = now + self._delay_s

    def due(self, now: float, idents: Iterator[int]) -> Iterator[Due]:
        """Yield what is to be sent now."""
        for subscription, state in self._states.items():
            if state.at_s > now:
                continue
            state.wait_s = min(state.wait_s * 2, LONGEST_S) if state.ident >= 0 else FIRST_S
            state.at_s = now + state.wait_s
            state.ident = next(idents)
            state.is_newer = False
            yield Due(subscription, state.ident)

    def answered(self, subscription: Subscription, ident: int, now: float) -> bool:
        """Take an answer; say whether it was waited for."""
        state = self._states.get(subscription)
        if state is None or state.ident < 0 or state.ident != ident:
            return False
        state.ident = -1
        state.at_s = now + self._delay_s if state.is_newer else NEVER
        return True


def notification(zone: Zone, serial: int, ident: int) -> bytes:
    """Return a NOTIFY: the question is the zone's SOA, the answer that of the new serial."""
    question = wire.pack_name(zone.labels) + wire.SOA.to_bytes(2, "big") + wire.IN.to_bytes(2, "big")
    head = HEADER.pack(ident, OPCODE_NOTIFY | wire.AA, 1, 1, 0, 0)
    return head + question + _OWNER + soa(zone, serial).data


def read_answer(data: bytes, ident: int, zone: Labels, key: Key | None, mac: bytes, now: float) -> int | None:
    """Return the rcode of an answer to our NOTIFY (signed with `mac`, if we have a key), None if it is none."""
    if len(data) < HEADER.size:
        return None
    got, flags, questions, *_ = HEADER.unpack_from(data)
    if got != ident or not flags & wire.QR or flags & wire.OPCODE != OPCODE_NOTIFY:
        return None
    asked = wire.read_name(data, HEADER.size) if questions else None
    if asked is not None and asked[0] != zone:
        return None
    try:
        is_genuine = key is None or tsig.is_authentic(data, key, mac, now)
    except WireError:
        is_genuine = False
    return flags & 15 if is_genuine else None
