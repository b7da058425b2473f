"""A message to a spam trap in, its answer out: the host that brought it is listed with the message as evidence.

It goes the way of the robot's reports (plan.py): never-list, what stands already, breaker, redaction. Each listing is a
transaction of its own.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate

from spamcannibal.addr import format_addr
from spamcannibal.breaker import Breaker
from spamcannibal.errors import SpamCannibalError
from spamcannibal.events import EventLog
from spamcannibal.robot.plan import Terms, plan_delivery
from spamcannibal.robot.spamtrap import ENDINGS, LATER, TOO_LONG, Traps, Visit, is_answer, trace
from spamcannibal.robot.world import StoredWorld, listing_of
from spamcannibal.store.stores import Store


@dataclass(frozen=True)
class Manner:
    """What the settings say: `source` of listings, our `hostname`, which of ENDINGS messages get."""

    terms: Terms
    source: str = "trap:main"
    hostname: str = "localhost"
    answer: str = "refuse"
    is_observing: bool = False


@dataclass(frozen=True)
class Rules:
    """What can change while a trap runs."""

    traps: Traps
    manner: Manner
    breaker: Callable[[float], Breaker]


class Catcher:
    """Deals with what the traps get; one thread takes at a time, `rules` may be set anew by another."""

    def __init__(self, store: Store, rules: Rules, log: EventLog) -> None:
        self.counts: Counter[str] = Counter()
        self.rules = rules
        self._store = store
        self._log = log
        self._trouble = ""

    def take(self, visit: Visit, raw: bytes, is_cut: bool) -> str:
        """Return what the host is told of its message, of which `is_cut` says that there was more."""
        rules = self.rules
        try:
            self._catch(visit, raw, rules, time.time())
        except SpamCannibalError as error:
            self._fail(str(error))
            return LATER
        except Exception as error:  # the boundary: a message that breaks us stays with who brought it
            self._fail(f"a fault: {type(error).__name__}: {error}")
            return LATER
        self._trouble = ""
        return TOO_LONG if is_cut else ENDINGS[rules.manner.answer]

    def _catch(self, visit: Visit, raw: bytes, rules: Rules, now: float) -> None:
        """List who brought a message, if he may be listed."""
        manner = rules.manner
        if is_answer(raw):
            self._tell("answers", visit, "is not listed: its message answers a mail by itself")
            return
        hidden = replace(manner.terms.rules, addresses=(*manner.terms.rules.addresses, *visit.recipients))
        terms = replace(manner.terms, rules=hidden)
        whole = trace(visit, manner.hostname, formatdate(now, usegmt=True)) + raw
        world = StoredWorld(self._store, rules.breaker, now)
        said, items = plan_delivery(visit.addr, whole, manner.source, terms, world, now)
        if not items:
            self._tell("spared", visit, said)
        elif manner.is_observing:
            self._tell("would_list", visit, said)
        else:
            self._store.list([listing_of(item) for item in items], now)
            self._tell("caught", visit, said)

    def _tell(self, what: str, visit: Visit, said: str) -> None:
        self.counts[what] += 1
        told = {"helo": visit.helo[:100], "sender": visit.sender[:200], "recipients": len(visit.recipients)}
        self._log.emit("CAUGHT", src=format_addr(visit.addr), what=what, said=said, **told)

    def _fail(self, why: str) -> None:
        """Count what can't be dealt with, and say why, once for as long as it stays so."""
        self.counts["deferred"] += 1
        if why != self._trouble:
            self._trouble = why
            self._log.emit("TROUBLE", what="trap", why=why)
